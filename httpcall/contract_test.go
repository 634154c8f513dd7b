package httpcall_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// attempts retries at once, up to n attempts in all.
func attempts(n int) backstay.Middleware {
	return retry.New(retry.Config{MaxAttempts: n, Backoff: retry.NoPause(), NoBudget: true})
}

// scribble is a middleware that changes all that a request has.
func scribble() backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			r, ok := backstay.Request[*http.Request](call)
			if !ok {
				return errors.New("scribble: no request")
			}
			r.Header.Add("Scribble", "x")
			r.Header["Values"][0] = "other"
			r.Host, r.Method = "other.example", http.MethodPut
			r.URL.Path, r.URL.RawQuery = "/other", "token=1"
			return next(ctx, call)
		}
	})
}

// H-1
func TestCallersRequestIsNeverChanged(t *testing.T) {
	failing := errors.New("GetBody: no")
	for _, row := range []struct {
		name    string
		steps   []step
		stack   []backstay.Middleware
		getBody func() (io.ReadCloser, error)
		config  httpcall.Config
	}{
		{name: "a success", steps: []step{status(200)}},
		{name: "retries", steps: []step{status(503), reset, status(200)}, stack: []backstay.Middleware{attempts(3)}},
		{name: "no success", steps: []step{hangUp}, stack: []backstay.Middleware{attempts(3)}},
		{name: "changes above retry", steps: []step{status(503), status(200)}, stack: []backstay.Middleware{scribble(), attempts(2)}},
		{name: "changes under retry", steps: []step{status(503), status(200)}, stack: []backstay.Middleware{attempts(2), scribble()}},
		{name: "changes in both places", steps: []step{status(503), status(200)}, stack: []backstay.Middleware{scribble(), attempts(2), scribble()}},
		{name: "a body that is copied", steps: []step{status(503), status(200)}, stack: []backstay.Middleware{attempts(2)}, config: httpcall.Config{BufferBody: 100}},
		{name: "GetBody that fails", steps: []step{status(503)}, stack: []backstay.Middleware{attempts(2)}, getBody: func() (io.ReadCloser, error) { return nil, failing }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := serve(t, row.steps...)
			req := request(t, http.MethodPut, s.url()+"?q=1", "body")
			req.Header = http.Header{"Values": {"one", "two"}, "Empty": nil}
			req.Trailer = http.Header{"Late": nil}
			req.TransferEncoding = []string{"chunked"}
			req.ContentLength = -1
			if row.getBody != nil {
				req.GetBody = row.getBody
			}
			if row.config.BufferBody > 0 {
				req.GetBody = nil
			}
			before, header, address := *req, req.Header.Clone(), *req.URL
			row.config.Base = base(t)
			rt := httpcall.NewTransport(backstay.New(row.stack...), row.config)
			resp, err := rt.RoundTrip(req)
			answer(t, resp, err)

			if req.Body != before.Body || (req.GetBody == nil) != (before.GetBody == nil) {
				t.Errorf("RoundTrip changed Body or GetBody")
			}
			if !reflect.DeepEqual(req.Header, header) {
				t.Errorf("RoundTrip made Header %v, want %v", req.Header, header)
			}
			if *req.URL != address || req.URL != before.URL {
				t.Errorf("RoundTrip made URL %v, want %v", req.URL, &address)
			}
			if !reflect.DeepEqual(req.Trailer, http.Header{"Late": nil}) {
				t.Errorf("RoundTrip made Trailer %v, want an empty Late", req.Trailer)
			}
			after := *req
			after.Body, before.Body, after.GetBody, before.GetBody = nil, nil, nil, nil
			if !reflect.DeepEqual(after, before) {
				t.Errorf("RoundTrip made the request %+v, want %+v", after, before)
			}
		})
	}
}

// H-1
func TestAttemptsHaveHeadersOfTheirOwn(t *testing.T) {
	s := serve(t, status(503), status(503), status(200))
	under := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			r, _ := backstay.Request[*http.Request](call)
			r.Header.Add("Attempt", string(rune('0'+call.Attempt)))
			r.URL.RawQuery += string(rune('0' + call.Attempt))
			return next(ctx, call)
		}
	})
	resp, err := over(t, attempts(3), under).RoundTrip(request(t, "GET", s.url()+"?a=", ""))
	answer(t, resp, err)
	for i, a := range s.arrived() {
		want := string(rune('1' + i))
		if got := a.Header.Values("Attempt"); len(got) != 1 || got[0] != want || a.URL.RawQuery != "a="+want {
			t.Errorf("attempt %d had the header %v and the query %q, want %q alone", i+1, got, a.URL.RawQuery, want)
		}
	}
}

// H-1: the trailer is filled in while the body is read.
func TestRequestTrailersAreSent(t *testing.T) {
	trailers := make(chan http.Header, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		trailers <- r.Trailer
	}))
	defer srv.Close()
	req := request(t, "PUT", srv.URL, "body")
	req.ContentLength = -1
	req.Trailer = http.Header{"Sum": nil}
	req.Body = &atEnd{req.Body, func() { req.Trailer.Set("Sum", "42") }}
	resp, err := over(t).RoundTrip(req)
	answer(t, resp, err)
	if got := (<-trailers).Get("Sum"); got != "42" {
		t.Errorf("the server got the trailer Sum %q, want 42", got)
	}
}

// atEnd calls f when the body has been read.
type atEnd struct {
	io.ReadCloser
	f func()
}

func (b *atEnd) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.f()
	}
	return n, err
}

// A tracked body knows how often it was closed, and tells a late Close too.
type tracked struct {
	io.Reader
	closes atomic.Int32
	closed chan struct{}
}

func track(r io.Reader) *tracked { return &tracked{Reader: r, closed: make(chan struct{})} }

func (c *tracked) Close() error {
	if c.closes.Add(1) == 1 {
		close(c.closed)
	}
	return nil
}

// check waits for the Close, and for goroutines that might do it again.
func (c *tracked) check(t *testing.T, what string) {
	t.Helper()
	select {
	case <-c.closed:
	case <-time.After(5 * time.Second):
		t.Fatalf("%s was never closed", what)
	}
	if n := c.closes.Load(); n != 1 {
		t.Errorf("%s was closed %d times, want once", what, n)
	}
}

// bodies gives bodies and counts what becomes of them.
type bodies struct {
	mu    sync.Mutex
	given []*tracked
	text  string
	err   error
	after int // so many calls of GetBody fail not
}

func (b *bodies) getBody() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil && len(b.given) >= b.after {
		return nil, b.err
	}
	c := track(strings.NewReader(b.text))
	b.given = append(b.given, c)
	return c, nil
}

func reject(err error) backstay.Middleware {
	return backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(context.Context, *backstay.Call) error { return err }
	})
}

// rejectFrom lets so many attempts pass.
func rejectFrom(n int, do func() error) backstay.Middleware {
	var passed atomic.Int32
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			if int(passed.Add(1)) >= n {
				return do()
			}
			return next(ctx, call)
		}
	})
}

func openBreaker() backstay.Middleware {
	b := breaker.New(breaker.Config{Name: "orders"})
	b.ForceOpen()
	return b
}

// H-2
func TestRequestBodyIsClosedOnce(t *testing.T) {
	no := errors.New("no")
	spent := retry.NewBudget(retry.BudgetConfig{Ratio: 0.0001, PerSecond: -1})
	for spent.Withdraw() {
	}
	panics := func() error { panic("middleware") }
	small := loadbalance.New(loadbalance.RoundRobin(), "127.0.0.1:1")
	stack := func(m ...backstay.Middleware) []backstay.Middleware { return m }
	for _, row := range []struct {
		name   string
		steps  []step
		stack  []backstay.Middleware
		base   http.RoundTripper // of its own
		gone   bool              // the context is cancelled before
		noBody error             // of GetBody
		url    string
		panics bool
	}{
		{name: "success", steps: []step{status(200)}},
		{name: "success after retries", steps: []step{status(503), reset, status(200)}, stack: stack(attempts(3))},
		{name: "failure after retries", steps: []step{reset}, stack: stack(attempts(3))},
		{name: "503 after retries", steps: []step{status(503)}, stack: stack(attempts(3))},
		{name: "no retry for want of budget", steps: []step{status(503)}, stack: stack(retry.New(retry.Config{Budget: spent}))},
		{name: "an open breaker", stack: stack(attempts(3), openBreaker())},
		{name: "a breaker that opens", steps: []step{status(503)}, stack: stack(attempts(3), breaker.New(breaker.Config{Name: "orders", ConsecutiveFailures: 1}))},
		{name: "rejected by a middleware", stack: stack(reject(no))},
		{name: "rejected under retry", stack: stack(attempts(3), reject(no))},
		{name: "the second attempt rejected", steps: []step{status(503)}, stack: stack(attempts(3), rejectFrom(2, func() error { return no }))},
		{name: "no way to the endpoint", base: unreachable{}, stack: stack(pick("10.0.0.1:80"))},
		{name: "an endpoint that refuses", stack: stack(attempts(3), small)},
		{name: "already cancelled", gone: true},
		{name: "already cancelled, with retry", gone: true, stack: stack(attempts(3))},
		{name: "GetBody fails", steps: []step{status(503)}, noBody: no, stack: stack(attempts(3))},
		{name: "a middleware that looks at the request", steps: []step{status(503), status(200)}, stack: stack(scribble(), attempts(3))},
		{name: "a panic above", stack: stack(rejectFrom(1, panics), attempts(3)), panics: true},
		{name: "a panic under retry", stack: stack(attempts(3), rejectFrom(1, panics)), panics: true},
		{name: "a panic of the second attempt", steps: []step{status(503)}, stack: stack(attempts(3), rejectFrom(2, panics)), panics: true},
		{name: "a panic of the base", base: panicking{}, stack: stack(attempts(3)), panics: true},
		{name: "a bad URL", url: "gopher://example", stack: stack(attempts(3))},
		{name: "a timeout", steps: []step{stall}, stack: stack(attempts(2), timeout.Attempt(20*time.Millisecond))},
	} {
		for _, kind := range []string{"GetBody", "plain", "BufferBody"} {
			t.Run(row.name+"/"+kind, func(t *testing.T) {
				leak.Check(t)
				s := serve(t, append(row.steps, status(200))...)
				if len(row.steps) == 1 {
					s.steps = row.steps
				}
				cfg := httpcall.Config{Base: row.base}
				if cfg.Base == nil {
					cfg.Base = base(t)
				}
				original := track(strings.NewReader("body"))
				fresh := bodies{text: "body", err: row.noBody}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if row.gone {
					cancel()
				}
				req := request(t, http.MethodPut, s.url(), "").WithContext(ctx)
				if row.url != "" {
					req.URL, _ = url.Parse(row.url)
				}
				req.Header.Set("Values", "x")
				req.Body, req.ContentLength = original, 4
				switch kind {
				case "GetBody":
					req.GetBody = fresh.getBody
				case "BufferBody":
					cfg.BufferBody = 100
				}
				func() {
					defer func() {
						if p := recover(); (p != nil) != row.panics {
							t.Errorf("RoundTrip panicked with %v, want a panic: %v", p, row.panics)
						}
					}()
					resp, err := httpcall.NewTransport(backstay.New(row.stack...), cfg).RoundTrip(req)
					answer(t, resp, err)
				}()
				original.check(t, "the caller's body")
				for _, b := range fresh.given {
					b.check(t, "a body of GetBody")
				}
			})
		}
	}
}

// pick sets an endpoint and, unlike a balancer, does not say so.
func pick(endpoint string) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			call.Try(endpoint, nil)
			return next(ctx, call)
		}
	})
}

// unreachable is a base that no endpoint can be reached with.
type unreachable struct{}

func (unreachable) RoundTrip(*http.Request) (*http.Response, error) { panic("sent") }

// panicking is a base that does not even close the request's body.
type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("base") }

// H-2: the body is still read when the response is there.
func TestRequestBodyOfAnEarlyResponseIsClosedOnce(t *testing.T) {
	for _, kind := range []string{"plain", "BufferBody", "GetBody", "GetBody of the second attempt"} {
		t.Run(kind, func(t *testing.T) {
			leak.Check(t)
			first := kind == "GetBody of the second attempt"
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first {
					first = false
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				http.NewResponseController(w).EnableFullDuplex()
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush()
				io.Copy(w, r.Body)
			}))
			defer srv.Close()
			out, in := io.Pipe()
			sent := track(out)
			req := request(t, http.MethodPut, srv.URL, "")
			req.Body, req.ContentLength = sent, -1
			cfg := httpcall.Config{Base: base(t)}
			switch kind {
			case "BufferBody":
				cfg.BufferBody = 100
			case "GetBody":
				req.GetBody = func() (io.ReadCloser, error) { panic("not asked for") }
			case "GetBody of the second attempt":
				req.Body = track(strings.NewReader("body"))
				req.GetBody = func() (io.ReadCloser, error) { return sent, nil }
			}
			rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(3)), cfg)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if n := sent.closes.Load(); n != 0 {
				t.Errorf("RoundTrip closed the body %d times while it is read, want 0", n)
			}
			go func() {
				io.WriteString(in, "echo")
				in.Close()
			}()
			if got := answer(t, resp, nil); got != "200 echo" {
				t.Errorf("the response is %q, want the echo", got)
			}
			sent.check(t, "the body")
			req.Body.(*tracked).check(t, "the caller's body")
			rt.CloseIdleConnections()
		})
	}
}

// broken is a base that returns what it is.
type broken struct {
	resp *http.Response
	err  error
}

func (b broken) RoundTrip(*http.Request) (*http.Response, error) { return b.resp, b.err }

// H-3, H-5
func TestBrokenBasesAreMadeGood(t *testing.T) {
	no := errors.New("no")
	body := track(strings.NewReader("x"))
	for _, row := range []struct {
		name string
		base broken
		ok   bool
	}{
		{"neither response nor error", broken{}, false},
		{"both", broken{&http.Response{StatusCode: 200, Body: body}, no}, false},
		{"both, without a body", broken{&http.Response{StatusCode: 200}, no}, false},
		{"no body", broken{&http.Response{StatusCode: 200}, nil}, true},
		{"no body, failed", broken{&http.Response{StatusCode: 503}, nil}, true},
		{"no header", broken{&http.Response{StatusCode: 503, Body: http.NoBody}, nil}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(3)), httpcall.Config{Base: row.base, BodyIdle: time.Minute, Classify: func(resp *http.Response) backstay.Class {
				if resp.Body == nil {
					t.Errorf("Classify was given a response without a body")
				}
				return httpcall.ClassifyStatus(resp.StatusCode)
			}})
			req := request(t, http.MethodPost, "http://orders.example", "")
			resp, err := rt.RoundTrip(req)
			if (resp == nil) != (err != nil) || (err == nil) != row.ok {
				t.Fatalf("RoundTrip() = %v, %v, want a response: %v", resp, err, row.ok)
			}
			if resp != nil && (resp.Body == nil || resp.Request != req) {
				t.Errorf("RoundTrip() gave Body %v and Request %p, want a body and %p", resp.Body, resp.Request, req)
			}
			if resp != nil {
				answer(t, resp, nil)
			}
		})
	}
	body.check(t, "the body of a response beside an error")
}

// H-3, H-5
func TestResultsOfMiddlewareAreMadeGood(t *testing.T) {
	no := errors.New("no")
	result := func(resp *http.Response, err error) backstay.Middleware {
		return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				next(ctx, call) // fails
				backstay.SetResult(call, resp)
				return err
			}
		})
	}
	swallow := backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(context.Context, *backstay.Call) error { return nil }
	})
	for _, row := range []struct {
		name string
		with backstay.Middleware
		ok   bool
	}{
		{"no result", swallow, false},
		{"a nil response", result(nil, nil), false},
		{"a response without a body", result(&http.Response{StatusCode: 200}, nil), true},
		{"a nil response and an error", result(nil, no), false},
		{"a response without a body and an error", result(&http.Response{StatusCode: 200}, no), false},
	} {
		for _, above := range []backstay.Middleware{nothing, timeout.Call(time.Minute)} {
			rt := httpcall.NewTransport(backstay.New(above, attempts(2), row.with), httpcall.Config{Base: broken{nil, no}})
			req := request(t, http.MethodGet, "http://orders.example", "")
			resp, err := rt.RoundTrip(req)
			if (resp == nil) != (err != nil) || (err == nil) != row.ok {
				t.Fatalf("%s: RoundTrip() = %v, %v, want a response: %v", row.name, resp, err, row.ok)
			}
			if resp != nil && (resp.Body == nil || resp.Request != req) {
				t.Errorf("%s: RoundTrip() gave Body %v and Request %p, want a body and %p", row.name, resp.Body, resp.Request, req)
			}
		}
	}
}

var nothing = backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func { return next })

// H-3, H-5
func TestAnyStatusIsAResponse(t *testing.T) {
	for _, code := range []int{200, 204, 304, 404, 408, 421, 429, 500, 501, 503, 599} {
		s := serve(t, status(code))
		req := request(t, http.MethodPut, s.url(), "body")
		resp, err := over(t, timeout.Call(5*time.Second), attempts(2)).RoundTrip(req)
		if err != nil || resp.StatusCode != code {
			t.Fatalf("RoundTrip() = %v, %v, want status %d", resp, err, code)
		}
		if resp.Request != req || resp.Body == nil {
			t.Errorf("the response to %d has Request %p and Body %v, want %p and a body", code, resp.Request, resp.Body, req)
		}
		answer(t, resp, nil)
	}
}

// H-4, H-46
func TestStormLeavesNothingBehind(t *testing.T) {
	leak.Check(t)
	var n atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		switch n.Add(1) % 7 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, strings.Repeat("unavailable ", 100))
		case 1:
			c, _, _ := w.(http.Hijacker).Hijack()
			sever(c)
		case 2:
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		case 3:
			<-r.Context().Done()
		default:
			w.Write(sent)
		}
	})
	var servers []string
	for range 3 {
		srv := httptest.NewServer(handler)
		defer srv.Close()
		servers = append(servers, srv.Listener.Addr().String())
	}
	balancer := loadbalance.New(loadbalance.RoundRobin(), append(servers, vacant(t))...)
	rt := over(t,
		timeout.Call(2*time.Second),
		attempts(3),
		balancer,
		breaker.NewGroup(breaker.Config{Name: "storm", ConsecutiveFailures: 50, Cooldown: time.Millisecond}, breaker.ByEndpoint),
		timeout.Attempt(20*time.Millisecond),
	)
	var callers sync.WaitGroup
	for g := range 64 {
		callers.Go(func() {
			for i := range 15 {
				ctx, cancel := context.WithCancel(t.Context())
				stop := func() bool { return true }
				if (g+i)%5 == 0 {
					stop = time.AfterFunc(time.Duration(i)*time.Millisecond, cancel).Stop
				}
				r := request(t, []string{"GET", "PUT", "POST"}[i%3], "http://orders.example", strings.Repeat("b", i*100)).WithContext(ctx)
				resp, err := rt.RoundTrip(r)
				if (resp == nil) == (err == nil) {
					t.Errorf("RoundTrip() = %v, %v, want one of them", resp, err)
				}
				if resp != nil {
					if i%2 == 0 {
						io.Copy(io.Discard, resp.Body)
					}
					resp.Body.Close()
				}
				stop()
				cancel()
			}
		})
	}
	callers.Wait()
	for _, e := range balancer.Nodes() {
		if got := e.InFlight(); got != 0 {
			t.Errorf("%s has %d attempts in flight after all calls, want 0", e.Address(), got)
		}
	}
	rt.CloseIdleConnections()
}

// H-4
func TestBodyThatIsNeverClosedEndsWithTheCall(t *testing.T) {
	leak.Check(t)
	s := serve(t, then(raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), stall))
	rt := over(t, timeout.Call(50*time.Millisecond))
	resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(resp.Body)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading past the deadline = %v, want DeadlineExceeded", err)
	}
}

// H-4
func TestBodyMayBeClosedTwiceAndReadAfter(t *testing.T) {
	leak.Check(t)
	srv := httptest.NewServer(http.HandlerFunc(ok))
	defer srv.Close()
	balancer := loadbalance.New(loadbalance.RoundRobin(), srv.Listener.Addr().String())
	rt := over(t, balancer)
	for range 2 {
		resp, err := rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := balancer.Nodes()[0].InFlight(); got != 1 {
			t.Errorf("InFlight() with the body open = %d, want 1", got)
		}
		for range 2 {
			if err := resp.Body.Close(); err != nil {
				t.Errorf("Close() = %v, want nil", err)
			}
		}
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("Read() after Close() = %d, %v, want an error", n, err)
		}
		if got := balancer.Nodes()[0].InFlight(); got != 0 {
			t.Errorf("InFlight() after Close() = %d, want 0", got)
		}
	}
	rt.CloseIdleConnections()
}

// closer is a base that counts CloseIdleConnections.
type closer struct {
	http.RoundTripper
	calls *atomic.Int32
}

func (c closer) CloseIdleConnections() { c.calls.Add(1) }

// H-6
func TestCloseIdleConnectionsPassesThrough(t *testing.T) {
	var calls atomic.Int32
	rt := httpcall.NewTransport(nil, httpcall.Config{Base: closer{calls: &calls}})
	(&http.Client{Transport: rt}).CloseIdleConnections()
	if got := calls.Load(); got != 1 {
		t.Errorf("the base's CloseIdleConnections was called %d times, want 1", got)
	}
	httpcall.NewTransport(nil, httpcall.Config{Base: broken{}}).CloseIdleConnections() // has none

	s := serve(t, status(200))
	rt = over(t, loadbalance.New(loadbalance.RoundRobin(), s.address()))
	for range 2 {
		resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", ""))
		answer(t, resp, err)
		rt.CloseIdleConnections()
	}
	if got := s.connections(); got != 2 {
		t.Errorf("two calls with CloseIdleConnections between used %d connections to the endpoint, want 2", got)
	}
}

// H-7
func TestRedirectsAreCallsOfTheirOwn(t *testing.T) {
	s := serve(t,
		status(503),
		status(307, "Location: /next", "Set-Cookie: a=1"),
		status(503),
		status(200),
	)
	var calls atomic.Int32
	count := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			calls.Add(1)
			return next(ctx, call)
		}
	})
	rt := over(t, count, attempts(2))
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Transport: rt, Jar: jar}
	resp, err := client.Do(request(t, http.MethodPut, s.url(), "body"))
	if got := answer(t, resp, err); got != "200 OK" || calls.Load() != 2 {
		t.Errorf("a redirected PUT = %s in %d calls, want 200 OK in 2", got, calls.Load())
	}
	var got []string
	for _, a := range s.arrived() {
		got = append(got, a.URL.Path+" "+a.Header.Get("Cookie")+" "+a.body)
	}
	want := []string{"/path  body", "/path  body", "/next a=1 body", "/next a=1 body"}
	if !slices.Equal(got, want) {
		t.Errorf("the server got %q, want %q", got, want)
	}

	s = serve(t, status(302, "Location: /next"))
	resp, err = rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))
	answer(t, resp, err)
	if len(s.arrived()) != 1 || resp.StatusCode != 302 {
		t.Errorf("RoundTrip of a redirect = %d after %d requests, want 302 after 1", resp.StatusCode, len(s.arrived()))
	}
}
