package httpcall_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// connections counts the connections that a server accepts.
func connections(srv *httptest.Server) *atomic.Int32 {
	var n atomic.Int32
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
	return &n
}

// H-20
func TestDiscardedResponsesLeaveTheConnectionInUse(t *testing.T) {
	const calls, failures = 20, 3
	for _, row := range []struct {
		name string
		fail http.HandlerFunc
		most int32 // connections
	}{
		{"without a body", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, 1},
		{"with a short body", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
		}, 1},
		{"with 60 KiB", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, strings.Repeat("x", 60<<10), http.StatusServiceUnavailable)
		}, 1},
		{"in chunks", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			w.(http.Flusher).Flush()
			io.WriteString(w, "unavailable")
		}, 1},
		{"with trailers", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Sum")
			w.WriteHeader(503)
			io.WriteString(w, "unavailable")
			w.Header().Set("Sum", "42")
		}, 1},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(503)
			z := gzip.NewWriter(w)
			io.WriteString(z, "unavailable")
			z.Close()
		}, 1},
		{"too long to be read", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, strings.Repeat("x", 1<<20), http.StatusServiceUnavailable)
		}, calls*failures + 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			leak.Check(t)
			var n atomic.Int32
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%(failures+1) != 0 {
					row.fail(w, r)
					return
				}
				ok(w, r)
			}))
			conns := connections(srv)
			srv.Start()
			defer srv.Close()
			b := base(t)
			b.DisableCompression = false
			rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(failures+1)), httpcall.Config{Base: b})
			for range calls {
				resp, err := rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
				if got := answer(t, resp, err); got != "200 ok" {
					t.Fatalf("RoundTrip() = %s, want 200 ok", got)
				}
			}
			if got := n.Load(); got != calls*(failures+1) {
				t.Errorf("%d requests arrived, want %d", got, calls*(failures+1))
			}
			if got := conns.Load(); row.most == 1 && got != 1 || got > row.most || row.most > 1 && got < calls {
				t.Errorf("%d calls with %d discarded responses used %d connections, want %d", calls, failures, got, row.most)
			}
			rt.CloseIdleConnections()
		})
	}
}

// H-20: over HTTP/2 nothing is read of a discarded response, for closing it
// costs its stream and not the connection.
func TestDiscardedResponsesAreOnlyClosedOverHTTP2(t *testing.T) {
	leak.Check(t)
	var n atomic.Int32
	gone := make(chan struct{}, 3)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 3 {
			ok(w, r)
			return
		}
		w.WriteHeader(503)
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the body hangs until the stream is reset
		gone <- struct{}{}
	}))
	conns := connections(srv)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	spied := &readSpy{RoundTripper: srv.Client().Transport}
	rt := httpcall.NewTransport(backstay.New(attempts(4)), httpcall.Config{Base: spied})
	resp, err := rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
	if err != nil || resp.ProtoMajor != 2 {
		t.Fatalf("RoundTrip() = %v, %v, want HTTP/2", resp, err)
	}
	if got := spied.reads.Load(); got != 0 {
		t.Errorf("discarded responses were read from %d times over HTTP/2, want 0", got)
	}
	if got := answer(t, resp, err); got != "200 ok" || conns.Load() != 1 {
		t.Errorf("after 3 discarded responses = %s over %d connections, want 200 ok over 1", got, conns.Load())
	}
	for range 3 {
		<-gone
	}
	srv.Client().CloseIdleConnections()
}

// A readSpy counts the reads of response bodies.
type readSpy struct {
	http.RoundTripper
	reads atomic.Int32
}

func (s *readSpy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &spiedBody{resp.Body, s}
	}
	return resp, err
}

type spiedBody struct {
	io.ReadCloser
	spy *readSpy
}

func (b *spiedBody) Read(p []byte) (int, error) {
	b.spy.reads.Add(1)
	return b.ReadCloser.Read(p)
}

// H-20: the body of a discarded response may hang.
func TestHungBodyDoesNotHoldUpTheRetry(t *testing.T) {
	head := "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 100\r\n"
	for _, row := range []struct {
		name  string
		first string
	}{
		{"at its begin", head + "\r\n"},
		{"in the middle", head + "\r\nhalf"},
		{"in a chunk", "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
		{"before the gzip header", head + "Content-Encoding: gzip\r\n\r\n"},
		{"in the gzip header", head + "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08"},
		{"after the gzip header", head + "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"},
	} {
		t.Run(row.name, func(t *testing.T) {
			leak.Check(t)
			s := serve(t, then(raw(row.first), stall), status(200))
			b := base(t)
			b.DisableCompression = false
			rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(2), timeout.Attempt(30*time.Second)), httpcall.Config{Base: b})
			start := time.Now()
			resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))
			if got := answer(t, resp, err); got != "200 OK" {
				t.Errorf("RoundTrip() = %s, want 200 OK", got)
			}
			if took := time.Since(start); took > 5*time.Second { // of 50 ms; the machine may be busy
				t.Errorf("the retry took %v, want about 50ms", took)
			}
		})
	}
}

// H-20: also where Close does not end a Read that waits.
func TestDiscardedResponsesAreClosedBeforeTheNextAttempt(t *testing.T) {
	var previous *tracked
	sends := 0
	b := roundTripper(func(r *http.Request) (*http.Response, error) {
		if previous != nil && previous.closes.Load() != 1 {
			t.Errorf("attempt %d was sent with the response before it closed %d times, want once", sends+1, previous.closes.Load())
		}
		sends++
		previous = track(strings.NewReader("unavailable"))
		return &http.Response{StatusCode: 503, ProtoMajor: 1 + sends%2, Body: previous}, nil
	})
	rt := httpcall.NewTransport(backstay.New(attempts(4)), httpcall.Config{Base: b})
	resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", ""))
	if err != nil || sends != 4 || previous.closes.Load() != 0 {
		t.Errorf("the last of %d responses is closed %d times, want the last of 4 open: %v", sends, previous.closes.Load(), err)
	}
	answer(t, resp, err)
}

// H-21
func TestUpgradedConnectionIsWrittenTo(t *testing.T) {
	leak.Check(t)
	echo := func(_ *script, c *exchange) bool {
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, c.in)
		return false
	}
	for _, row := range []struct {
		name string
		with []backstay.Middleware
		idle time.Duration
	}{
		{"alone", nil, 0},
		{"held by a timeout", []backstay.Middleware{timeout.Call(time.Minute), attempts(3), timeout.Attempt(30 * time.Second)}, 0},
		{"with BodyIdle", []backstay.Middleware{timeout.Call(time.Minute)}, time.Minute},
	} {
		s := serve(t, echo)
		balancer := loadbalance.New(loadbalance.RoundRobin(), s.address())
		rt := httpcall.NewTransport(backstay.New(append(row.with, balancer)...), httpcall.Config{Base: base(t), BodyIdle: row.idle})
		if row.name == "held by a timeout" {
			rt = httpcall.NewTransport(backstay.New(row.with[0], row.with[1], balancer, row.with[2]), httpcall.Config{Base: base(t)})
		}
		req := request(t, http.MethodGet, s.url(), "")
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		w, ok := resp.Body.(io.Writer)
		if !ok || resp.StatusCode != 101 {
			t.Fatalf("%s: the body of the %d is a %T, want a 101 with an io.Writer", row.name, resp.StatusCode, resp.Body)
		}
		in := bufio.NewReader(resp.Body)
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
			if got, err := in.ReadString('\n'); got != fmt.Sprintf("line %d\n", i) {
				t.Errorf("%s: the echo is %q, %v, want line %d", row.name, got, err, i)
			}
		}
		if got := balancer.Nodes()[0].InFlight(); got != 1 {
			t.Errorf("%s: InFlight() = %d while the connection is open, want 1", row.name, got)
		}
		resp.Body.Close()
		if got := balancer.Nodes()[0].InFlight(); got != 0 {
			t.Errorf("%s: InFlight() = %d after Close, want 0", row.name, got)
		}
		rt.CloseIdleConnections()
	}
}

// H-22
func TestResponsesWithoutBodyAreNotRead(t *testing.T) {
	for _, row := range []struct {
		method string
		status int
	}{
		{"HEAD", 200}, {"HEAD", 503}, {"GET", 204}, {"GET", 304},
	} {
		s := serve(t, status(row.status))
		spied := &readSpy{RoundTripper: base(t)}
		every := httpcall.Config{Base: noBodyKept{spied}, Classify: always(backstay.Transient)}
		balancer := loadbalance.New(loadbalance.RoundRobin(), s.address())
		every.PerEndpoint = func(string) http.RoundTripper { return every.Base }
		rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(3), balancer), every)
		resp, err := rt.RoundTrip(request(t, row.method, s.url(), ""))
		if err != nil || resp.StatusCode != row.status {
			t.Fatalf("%s: RoundTrip() = %v, %v, want %d", row.method, resp, err, row.status)
		}
		if spied.reads.Load() != 0 || s.connections() != 1 || len(s.arrived()) != 3 {
			t.Errorf("%s %d: %d reads in %d requests over %d connections, want 0 in 3 over 1", row.method, row.status, spied.reads.Load(), len(s.arrived()), s.connections())
		}
		if got := balancer.Nodes()[0].InFlight(); got != 0 {
			t.Errorf("%s %d: InFlight() = %d before Close, want 0: there is no body", row.method, row.status, got)
		}
		if b, err := io.ReadAll(resp.Body); len(b) != 0 || err != nil {
			t.Errorf("%s %d: the body is %q, %v, want none", row.method, row.status, b, err)
		}
		resp.Body.Close()
		resp.Body.Close()
	}
}

// noBodyKept leaves http.NoBody as it is, which readSpy wraps.
type noBodyKept struct{ *readSpy }

func (n noBodyKept) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.readSpy.RoundTrip(r)
	if err == nil && resp.Body.(*spiedBody).ReadCloser == http.NoBody {
		resp.Body = http.NoBody
	}
	return resp, err
}

// H-22
func TestResponseTrailersArrive(t *testing.T) {
	for _, two := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Sum")
			io.WriteString(w, "body")
			w.Header().Set("Sum", "42")
		}))
		srv.EnableHTTP2 = two
		srv.StartTLS()
		defer srv.Close()
		rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(2)), httpcall.Config{Base: srv.Client().Transport})
		resp, err := rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, announced := resp.Trailer["Sum"]; !announced {
			t.Errorf("HTTP/%d: Trailer is %v before the body was read, want Sum announced", resp.ProtoMajor, resp.Trailer)
		}
		trailer := resp.Trailer
		answer(t, resp, nil)
		if got := trailer.Get("Sum"); got != "42" {
			t.Errorf("HTTP/%d: the trailer Sum is %q after the body, want 42", resp.ProtoMajor, got)
		}
	}
}

// H-23
func TestLastResponseIsReturnedUnread(t *testing.T) {
	var n int
	spied := &readSpy{}
	s := serve(t, func(s *script, c *exchange) bool {
		n++
		return raw(fmt.Sprintf("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nattempt %d", n))(s, c)
	})
	spied.RoundTripper = base(t)
	before := int32(-1)
	last := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			before = spied.reads.Load()
			return next(ctx, call)
		}
	})
	rt := httpcall.NewTransport(backstay.New(timeout.Call(time.Minute), attempts(3), last), httpcall.Config{Base: spied})
	resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if got := spied.reads.Load() - before; got != 0 {
		t.Errorf("the last response was read from %d times, want 0", got)
	}
	if got := answer(t, resp, err); got != "503 attempt 3" {
		t.Errorf("RoundTrip() = %s, want 503 attempt 3", got)
	}

	// An error before it changes nothing.
	s = serve(t, reset, hangUp, status(503))
	resp, err = over(t, attempts(3)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if got := answer(t, resp, err); got != "503 Service Unavailable" {
		t.Errorf("RoundTrip() = %s, want 503 Service Unavailable", got)
	}
}

// H-24, H-25
func TestLastErrorIsReturnedWithTheEarlierOnes(t *testing.T) {
	closing := "Connection: close" // or net/http would send the next request again by itself
	s := serve(t, status(503, closing), reset, status(429, closing), hangUp)
	start := time.Now()
	resp, err := over(t, timeout.Call(time.Minute), attempts(4)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if resp != nil {
		t.Fatalf("RoundTrip() = %v, want an error", resp)
	}
	e, ok := errors.AsType[*retry.Error](err)
	if !ok || e.Attempts != 4 || e.Elapsed <= 0 || e.Elapsed > time.Since(start) {
		t.Fatalf("RoundTrip() = %#v, want a *retry.Error of 4 attempts with its time", err)
	}
	if !errors.Is(e.Err, io.EOF) {
		t.Errorf("the last failure is %v, want EOF", e.Err)
	}
	var statuses []int
	for _, earlier := range e.Earlier {
		if status, ok := errors.AsType[*httpcall.StatusError](earlier); ok {
			statuses = append(statuses, status.Status)
		}
	}
	if len(e.Earlier) != 3 || fmt.Sprint(statuses) != "[503 429]" {
		t.Errorf("the earlier failures are %v with the statuses %v, want 3 with 503 and 429", e.Earlier, statuses)
	}
	if _, ok := errors.AsType[*httpcall.StatusError](err); !ok {
		t.Errorf("errors.As does not reach the earlier status")
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("errors.Is does not reach EOF in %v", err)
	}
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "read" {
		t.Errorf("errors.As does not reach the reset in %v", err)
	}
}

// H-25: the earlier responses are closed.
func TestEarlierResponsesAreClosed(t *testing.T) {
	early := track(strings.NewReader("unavailable"))
	sends := 0
	b := roundTripper(func(*http.Request) (*http.Response, error) {
		if sends++; sends == 1 {
			return &http.Response{StatusCode: 503, Body: early}, nil
		}
		return nil, io.EOF
	})
	rt := httpcall.NewTransport(backstay.New(attempts(2)), httpcall.Config{Base: b})
	if resp, err := rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", "")); resp != nil || !errors.Is(err, io.EOF) {
		t.Errorf("RoundTrip() = %v, %v, want EOF", resp, err)
	}
	early.check(t, "the earlier response")
}

// H-24
func TestTextOfErrorsHasNoSecrets(t *testing.T) {
	const secretURL = "https://user:passw0rd@auth.example/token?client_secret=s3cret&q=a%20b#fr4gment"
	const canceled, alive = true, false
	for _, row := range []struct {
		name   string
		cancel bool // while the request is under way
		err    error
		is     error
	}{
		{"an url.Error", alive, &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}, io.EOF},
		{"wrapped", alive, fmt.Errorf("oauth2: cannot fetch token: %w", &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}), io.EOF},
		{"nested", alive, &url.Error{Op: "Get", URL: "http://orders.example/?token=s3cret", Err: &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}}, io.EOF},
		{"joined", alive, errors.Join(errors.New("no token"), &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}), io.EOF},
		{"two joined", alive, errors.Join(&url.Error{Op: "Get", URL: "http://a.example/", Err: io.EOF}, &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}), io.EOF},
		{"a URL that cannot be parsed", alive, &url.Error{Op: "parse", URL: "https://user:passw0rd@auth example/?s3cret", Err: io.EOF}, io.EOF},
		{"a cancelled call", canceled, &url.Error{Op: "Post", URL: secretURL, Err: context.Canceled}, context.Canceled},
		{"a cancelled call that ends otherwise", canceled, &url.Error{Op: "Post", URL: secretURL, Err: io.EOF}, io.EOF},
	} {
		for _, stack := range [][]backstay.Middleware{nil, {attempts(2)}} {
			ctx, cancel := context.WithCancel(t.Context())
			b := roundTripper(func(*http.Request) (*http.Response, error) {
				if row.cancel {
					cancel()
				}
				return nil, row.err
			})
			rt := httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: b})
			_, err := rt.RoundTrip(request(t, http.MethodGet, "http://orders.example/?token=s3cret", "").WithContext(ctx))
			cancel()
			for _, secret := range []string{"passw0rd", "s3cret", "user", "fr4gment"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the text is %q, want it without %s", row.name, err, secret)
				}
			}
			if !errors.Is(err, row.is) {
				t.Errorf("%s: %v is not %v", row.name, err, row.is)
			}
			if _, ok := errors.AsType[*url.Error](err); !ok {
				t.Errorf("%s: errors.As does not reach the url.Error", row.name)
			}
		}
	}
	_, err := over(t, attempts(2)).RoundTrip(request(t, http.MethodGet, "http://user:passw0rd@"+vacant(t)+"/?token=s3cret", ""))
	if text := err.Error(); strings.Contains(text, "passw0rd") || strings.Contains(text, "s3cret") || !strings.Contains(text, "2 attempts") {
		t.Errorf("the text of a refused call is %q, want it without secrets and with 2 attempts", text)
	}
}

// H-22: informational responses do not end the attempt, nor does the caller
// see them as the result.
func TestEarlyHintsAreNotTheResponse(t *testing.T) {
	hints := raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	s := serve(t, then(hints, status(503)), then(hints, hints, status(200)))
	resp, err := over(t, attempts(2)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if got := answer(t, resp, err); got != "200 OK" || len(s.arrived()) != 2 {
		t.Errorf("RoundTrip() = %s after %d requests, want 200 OK after 2", got, len(s.arrived()))
	}
}

// H-4, H-20: net/http does not close a compressed body of which it waits for the
// beginning. Nothing of it outlives the call all the same, though the caller's
// context goes on.
func TestHungCompressedBodyEndsWithTheCall(t *testing.T) {
	for _, row := range []struct {
		name  string
		cfg   httpcall.Config
		stack []backstay.Middleware
	}{
		{"retry alone", httpcall.Config{}, []backstay.Middleware{attempts(2)}},
		{"BodyIdle", httpcall.Config{BodyIdle: time.Hour}, []backstay.Middleware{attempts(2)}},
		{"timeout.Attempt", httpcall.Config{}, []backstay.Middleware{attempts(2), timeout.Attempt(time.Hour)}},
		{"timeout.WholeAttempt", httpcall.Config{}, []backstay.Middleware{attempts(2), timeout.WholeAttempt(time.Hour)}},
		{"timeout.Call", httpcall.Config{}, []backstay.Middleware{timeout.Call(time.Hour), attempts(2)}},
	} {
		gone := make(chan struct{})
		hung := raw("HTTP/1.1 503 Service Unavailable\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
		s := serve(t, func(s *script, c *exchange) bool {
			defer close(gone)
			return hung(s, c) && stall(s, c)
		}, status(200))
		row.cfg.Base = base(t)
		row.cfg.Base.(*http.Transport).DisableCompression = false
		rt := httpcall.NewTransport(backstay.New(row.stack...), row.cfg)
		resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), "").WithContext(context.Background()))
		if got := answer(t, resp, err); got != "200 OK" {
			t.Errorf("%s: RoundTrip() = %s, want 200 OK", row.name, got)
		}
		select {
		case <-gone:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: 5s after the call the discarded response is still read, want its connection closed", row.name)
		}
	}
}

// H-20: many callers share what discarded responses leave.
func TestDiscardsOfManyCallersDoNotMix(t *testing.T) {
	leak.Check(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, r.URL.Path)
	}))
	defer srv.Close()
	again := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			if r, _ := backstay.Request[*http.Request](call); call.Attempt == 3 {
				r.URL.RawQuery = "ok"
			}
			return next(ctx, call)
		}
	})
	rt := over(t, attempts(3), again)
	var callers sync.WaitGroup
	for g := range 16 {
		callers.Go(func() {
			for i := range 20 {
				path := fmt.Sprintf("/%d/%d", g, i)
				resp, err := rt.RoundTrip(request(t, http.MethodGet, srv.URL+path, ""))
				if got := answer(t, resp, err); got != "200 "+path {
					t.Errorf("RoundTrip(%s) = %s, want 200 and the path", path, got)
				}
			}
		})
	}
	callers.Wait()
	rt.CloseIdleConnections()
}
