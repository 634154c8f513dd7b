package httpcall_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

const orders = "orders.example:80"

// drip answers with a header at once and then a byte after each pause.
func drip(pauses ...time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for _, d := range pauses {
			pause(r.Context(), d)
			io.WriteString(w, ".")
			w.(http.Flusher).Flush()
		}
	}
}

// hang never answers: a handler that returned would, and over TLS its answer
// can cross the client's goodbye.
func hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// H-26
func TestAttemptTimeoutLeavesASlowBodyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, drip(time.Second, time.Second, time.Second, time.Second), orders)
		rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{}), timeout.Attempt(500*time.Millisecond))
		start := time.Now()
		_, body, err := fetch(t.Context(), rt)
		if body != "...." || err != nil || time.Since(start) != 4*time.Second {
			t.Errorf("a body that takes 4s under Attempt(500ms) = %q, %v after %v, want all of it", body, err, time.Since(start))
		}
	})
}

// H-26
func TestAttemptTimeoutCutsLateHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, http.HandlerFunc(hang), orders)
		rt := m.transport(t, httpcall.Config{}, timeout.Attempt(500*time.Millisecond))
		start := time.Now()
		_, _, err := fetch(t.Context(), rt)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 500*time.Millisecond {
			t.Errorf("a hanging server under Attempt(500ms) = %v after %v, want DeadlineExceeded after 500ms", err, time.Since(start))
		}
	})
}

// H-26
func TestAttemptContextLivesAsLongAsTheBody(t *testing.T) {
	for name, end := range map[string]func(*http.Response){
		"end of the body": func(r *http.Response) { io.Copy(io.Discard, r.Body) },
		"close":           func(r *http.Response) { r.Body.Close() },
		"read error":      func(r *http.Response) { io.Copy(io.Discard, r.Body) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					drip(time.Second)(w, r)
					if name == "read error" {
						panic(http.ErrAbortHandler)
					}
				}), orders)
				var attempt context.Context
				rt := m.transport(t, httpcall.Config{}, timeout.Attempt(500*time.Millisecond), seeContext(&attempt))
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+orders, nil)
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				<-time.After(900 * time.Millisecond)
				if attempt.Err() != nil {
					t.Errorf("before the %s the attempt's context has ended: %v", name, attempt.Err())
				}
				if _, ok := attempt.Deadline(); ok {
					t.Error("after the headers the attempt's context has a deadline, want none")
				}
				end(resp)
				if attempt.Err() == nil {
					t.Errorf("after the %s the attempt's context is alive, want it to have ended", name)
				}
			})
		})
	}
}

// seeContext gives to the context of each attempt.
func seeContext(to *context.Context) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			*to = ctx
			return next(ctx, call)
		}
	})
}

// H-26
func TestWholeAttemptIncludesTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, drip(300*time.Millisecond, 300*time.Millisecond), orders)
		rt := m.transport(t, httpcall.Config{}, timeout.WholeAttempt(500*time.Millisecond))
		start := time.Now()
		status, body, err := fetch(t.Context(), rt)
		if status != 200 || body != "." || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 500*time.Millisecond {
			t.Errorf("a body that takes 600ms under WholeAttempt(500ms) = %d, %q, %v after %v, want half of it, DeadlineExceeded after 500ms", status, body, err, time.Since(start))
		}
	})
}

// H-26
func TestBodyIdleLimitsTheWaitsNotTheBody(t *testing.T) {
	const s = time.Second
	for _, row := range []struct {
		pauses []time.Duration
		body   string
		took   time.Duration
		fails  bool
	}{
		{[]time.Duration{s, s, s, s, s}, ".....", 5 * s, false},
		{[]time.Duration{s, s, 3 * s, s}, "..", 4 * s, true},
		{[]time.Duration{3 * s}, "", 2 * s, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, drip(row.pauses...), orders)
			rt := m.transport(t, httpcall.Config{BodyIdle: 2 * s}, timeout.Attempt(s))
			start := time.Now()
			_, body, err := fetch(t.Context(), rt)
			idle, is := errors.AsType[*httpcall.IdleError](err)
			if body != row.body || is != row.fails || !is && err != nil || time.Since(start) != row.took {
				t.Errorf("pauses of %v with BodyIdle 2s = %q, %v after %v, want %q after %v, an error: %v", row.pauses, body, err, time.Since(start), row.body, row.took, row.fails)
			}
			if is && (idle.Limit != 2*s || !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err)) {
				t.Errorf("the error %v has the limit %v, DeadlineExceeded %v, Timeout %v, want 2s, true, true", err, idle.Limit, errors.Is(err, context.DeadlineExceeded), isTimeout(err))
			}
		})
	}
}

// While net/http waits for the first bytes of a compressed body, closing it
// waits too.
//
// H-26
func TestBodyIdleEndsACompressedBodyThatNeverBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			hang(w, r)
		}), orders)
		rt := m.transport(t, httpcall.Config{BodyIdle: time.Second})
		start := time.Now()
		_, _, err := fetch(t.Context(), rt)
		if _, ok := errors.AsType[*httpcall.IdleError](err); !ok || time.Since(start) != time.Second {
			t.Errorf("reading = %v after %v, want an IdleError after 1s", err, time.Since(start))
		}
	})
}

// H-26, H-21
func TestBodyIdleLeavesUpgradedConnectionsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, nil)
		conns := m.listen(orders)
		go func() {
			c := <-conns
			r := bufio.NewReader(c)
			readRequest(c, r)
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := r.ReadString('\n')
			<-time.After(time.Hour)
			io.WriteString(c, line)
			c.Close()
		}()
		rt := m.transport(t, httpcall.Config{BodyIdle: time.Second}, timeout.Attempt(time.Second))
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+orders, nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("RoundTrip = %v, %v, want a 101", resp, err)
		}
		defer resp.Body.Close()
		w, ok := resp.Body.(io.Writer)
		if !ok {
			t.Fatalf("the body of a 101 is a %T, want an io.Writer", resp.Body)
		}
		io.WriteString(w, "hello\n")
		if b, err := io.ReadAll(resp.Body); string(b) != "hello\n" || err != nil {
			t.Errorf("an hour later the connection brought %q, %v, want hello", b, err)
		}
	})
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// A function that answers requests in place of a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// H-27
func TestAttemptHasTheSoonerDeadline(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct{ caller, call, want time.Duration }{
		{0, 0, 500 * ms},
		{300 * ms, 0, 300 * ms},
		{10_000 * ms, 0, 500 * ms},
		{0, 200 * ms, 200 * ms},
		{100 * ms, 200 * ms, 100 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			base := roundTripper(func(r *http.Request) (*http.Response, error) {
				at, ok := r.Context().Deadline()
				if got := at.Sub(start); !ok || got != row.want {
					t.Errorf("caller %v, call %v, attempt 500ms: the base sees a deadline in %v (%v), want %v", row.caller, row.call, got, ok, row.want)
				}
				return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
			})
			ctx := t.Context()
			if row.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, row.caller)
				defer cancel()
			}
			stack := []backstay.Middleware{timeout.Attempt(500 * ms)}
			if row.call > 0 {
				stack = []backstay.Middleware{timeout.Call(row.call)}
			}
			rt := httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: base})
			if _, _, err := fetch(ctx, rt); err != nil {
				t.Error(err)
			}
		})
	}
}

// H-28
func TestAttemptTimeoutLooksTheSameOverHTTP1AndHTTP2(t *testing.T) {
	leak.Check(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Proto != proto {
				t.Errorf("the server was asked over %s, want %s", r.Proto, proto)
			}
			hang(w, r)
		}))
		srv.EnableHTTP2 = proto == "HTTP/2.0"
		srv.StartTLS()
		defer srv.Close()
		base := &http.Transport{TLSClientConfig: trusting(srv), ForceAttemptHTTP2: true}
		for name, stack := range map[string][]backstay.Middleware{
			"once":    {timeout.Attempt(50 * time.Millisecond)},
			"retried": {retry.New(retry.Config{MaxAttempts: 2, Backoff: retry.NoPause()}), timeout.Attempt(50 * time.Millisecond)},
			"whole":   {timeout.WholeAttempt(50 * time.Millisecond)},
			"call":    {timeout.Call(50 * time.Millisecond)},
		} {
			t.Run(proto+" "+name, func(t *testing.T) {
				rt := httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: base})
				defer rt.CloseIdleConnections()
				_, err := (&http.Client{Transport: rt}).Get(srv.URL)
				checkTimeout(t, err)
				if u, ok := err.(*url.Error); !ok || !u.Timeout() {
					t.Errorf("Get = %#v, want a *url.Error with Timeout() true", err)
				}
				checkTimeout(t, errors.Unwrap(err))
			})
		}
	}
}

func checkTimeout(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("errors.Is(%v, context.DeadlineExceeded) = false, want true", err)
	}
	if n, ok := err.(net.Error); !ok || !n.Timeout() {
		t.Errorf("%#v is no net.Error with Timeout() true", err)
	}
	if e, ok := errors.AsType[*timeout.Error](err); !ok || e.Limit != 50*time.Millisecond {
		t.Errorf("%v has no *timeout.Error of 50ms in it", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Errorf("errors.Is(%v, context.Canceled) = true, want false: nobody cancelled", err)
	}
}

func trusting(srv *httptest.Server) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return &tls.Config{RootCAs: pool}
}

// H-29, H-31
func TestCanceledCallTellsTheCauseAndTheLastFailure(t *testing.T) {
	errShutdown := errors.New("shutting down")
	for _, row := range []struct {
		name   string
		cancel time.Duration
		stack  []backstay.Middleware
		failed bool // an attempt has
		server http.HandlerFunc
	}{
		{"before the call", 0, []backstay.Middleware{retry.New(retry.Config{})}, false, hang},
		{"in the only attempt", 3 * time.Second, nil, false, hang},
		{"in the first attempt", 3 * time.Second, []backstay.Middleware{retry.New(retry.Config{})}, false, hang},
		{"in the second attempt", 3 * time.Second, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.Constant(time.Second)})}, true, failThen(1, 503, hang)},
		{"in a pause", 3 * time.Second, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.Constant(20 * time.Second)})}, true, failThen(1, 503, hang)},
		{"under timeouts", 3 * time.Second, []backstay.Middleware{timeout.Call(time.Hour), retry.New(retry.Config{Backoff: retry.Constant(time.Second)}), timeout.Attempt(time.Minute)}, true, failThen(1, 503, hang)},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, row.server, orders)
				rt := m.transport(t, httpcall.Config{}, row.stack...)
				ctx, cancel := context.WithCancelCause(t.Context())
				if row.cancel == 0 {
					cancel(errShutdown)
				} else {
					time.AfterFunc(row.cancel, func() { cancel(errShutdown) })
				}
				start := time.Now()
				_, _, err := fetch(ctx, rt)
				if took := time.Since(start); took != row.cancel {
					t.Errorf("a call cancelled after %v returned after %v", row.cancel, took)
				}
				if !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("RoundTrip = %v, want context.Canceled and not DeadlineExceeded", err)
				}
				if !errors.Is(err, errShutdown) {
					t.Errorf("RoundTrip = %v, want the cause in it, %v", err, errShutdown)
				}
				if e, ok := errors.AsType[*httpcall.StatusError](err); ok != row.failed || ok && e.Status != 503 {
					t.Errorf("RoundTrip = %v, has the failure before it: %v, want %v", err, ok, row.failed)
				}
			})
		})
	}
}

// A cause may be the error of something else, with details of its own.
//
// H-10
func TestCauseOfACancellationDoesNotSayNotSent(t *testing.T) {
	shutdown := &backstay.Error{Err: errors.New("shutting down"), Class: backstay.Transient, NotSent: true}
	for _, cause := range []error{
		shutdown,
		&backstay.Error{Err: fmt.Errorf("shutting down: %w", context.Canceled), NotSent: true},
		errors.New("stream error: stream ID 1; REFUSED_STREAM"),
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, http.HandlerFunc(hang), orders)
			var last spy
			rt := m.transport(t, httpcall.Config{}, &last)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			_, _, err := fetch(ctx, rt)
			if got := backstay.Classify(last.err); got != backstay.Canceled || backstay.NotSent(last.err) || !errors.Is(err, cause) {
				t.Errorf("a request that is cancelled with %#v: %v is %v, NotSent %v, want the cause in it, canceled, false", cause, err, got, backstay.NotSent(last.err))
			}
		})
	}
}

// Bases say in different ways that the context of a request has ended.
//
// H-28, H-29
func TestEndOfTheContextIsRecognisedHoweverTheBaseSaysIt(t *testing.T) {
	errShutdown := errors.New("shutting down")
	for name, say := range map[string]func(context.Context) error{
		"the error":          context.Context.Err,
		"the cause":          context.Cause,
		"an error around it": func(ctx context.Context) error { return &url.Error{Op: "Get", URL: "x", Err: ctx.Err()} },
		"canceled":           func(context.Context) error { return context.Canceled },
		"a text":             func(context.Context) error { return errors.New("net/http: request canceled") },
	} {
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, say(r.Context())
		})
		for _, d := range []time.Duration{20 * time.Second, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				rt := httpcall.NewTransport(backstay.New(timeout.Attempt(d)), httpcall.Config{Base: base})
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Second, func() { cancel(errShutdown) })
				_, _, err := fetch(ctx, rt)
				_, timedOut := errors.AsType[*timeout.Error](err)
				switch {
				case d < 10*time.Second && (!timedOut || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errShutdown)):
					t.Errorf("a base that returns %s when the attempt's time is up: %v, want a *timeout.Error", name, err)
				case d > 10*time.Second && (timedOut || !errors.Is(err, context.Canceled) || !errors.Is(err, errShutdown)):
					t.Errorf("a base that returns %s when its caller has given up: %v, want Canceled and the cause", name, err)
				}
			})
		}
	}
}

// failThen answers n requests with status and leaves the others to next.
func failThen(n, status int, next http.HandlerFunc) http.HandlerFunc {
	turn := make(chan int, 1)
	turn <- 0
	return func(w http.ResponseWriter, r *http.Request) {
		i := <-turn
		turn <- i + 1
		if i < n {
			w.WriteHeader(status)
			fmt.Fprintf(w, "failure %d", i+1)
			return
		}
		next(w, r)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }

// H-30
func TestPauseThatReachesTheDeadlineIsNotMade(t *testing.T) {
	for name, row := range map[string]struct {
		backoff    retry.Backoff
		retryAfter string
		stack      []backstay.Middleware
	}{
		"backoff":          {retry.Constant(2 * time.Second), "", nil},
		"at the deadline":  {retry.Constant(time.Second), "", nil},
		"Retry-After":      {retry.NoPause(), "1", nil},
		"under a timeout":  {retry.Constant(2 * time.Second), "", []backstay.Middleware{timeout.Call(time.Second)}},
		"timeout.Call out": {retry.NoPause(), "1", []backstay.Middleware{timeout.Call(time.Second)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if row.retryAfter != "" {
						w.Header().Set("Retry-After", row.retryAfter)
					}
					failThen(1, 503, ok)(w, r)
				}), orders)
				ctx := t.Context()
				if row.stack == nil {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Second)
					defer cancel()
				}
				rt := m.transport(t, httpcall.Config{}, append(row.stack, retry.New(retry.Config{Backoff: row.backoff}))...)
				start := time.Now()
				status, body, err := fetch(ctx, rt)
				if status != 503 || body != "failure 1" || err != nil || time.Since(start) != 0 {
					t.Errorf("RoundTrip = %d %q, %v after %v, want the 503 at once", status, body, err, time.Since(start))
				}
			})
		})
	}
}

// H-31
func TestPauseEndsWhenTheDeadlineOfTheCallerComesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, failThen(1, 503, ok), orders)
		rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{Backoff: retry.Constant(20 * time.Second)}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, cancel)
		start := time.Now()
		_, _, err := fetch(ctx, rt)
		if !errors.Is(err, context.Canceled) || time.Since(start) != 7*time.Second {
			t.Errorf("RoundTrip = %v after %v, want context.Canceled after 7s", err, time.Since(start))
		}
	})
}

// H-32
func TestClientTimeoutIsTheDeadlineOfTheCall(t *testing.T) {
	stack := []backstay.Middleware{
		retry.New(retry.Config{MaxAttempts: 10, Backoff: retry.Constant(500 * time.Millisecond)}),
		timeout.Attempt(500 * time.Millisecond),
	}
	t.Run("no pause beyond it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, failThen(100, 503, ok), orders)
			client := &http.Client{Transport: m.transport(t, httpcall.Config{}, stack...), Timeout: 1200 * time.Millisecond}
			start := time.Now()
			resp, err := client.Get("http://" + orders)
			if err != nil || resp.StatusCode != 503 || time.Since(start) != time.Second {
				t.Fatalf("Get = %v, %v after %v, want the last 503, after two pauses", resp, err, time.Since(start))
			}
			if b, err := io.ReadAll(resp.Body); string(b) != "failure 3" || err != nil {
				t.Errorf("its body = %q, %v, want that of the third attempt", b, err)
			}
			resp.Body.Close()
		})
	})
	t.Run("the last attempt ends with it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, http.HandlerFunc(hang), orders)
			client := &http.Client{Transport: m.transport(t, httpcall.Config{}, stack...), Timeout: 1200 * time.Millisecond}
			start := time.Now()
			_, err := client.Get("http://" + orders)
			if u, ok := errors.AsType[*url.Error](err); !ok || !u.Timeout() || time.Since(start) != 1200*time.Millisecond {
				t.Errorf("Get = %v after %v, want a timeout after 1.2s", err, time.Since(start))
			}
		})
	})
}

// refusals collects why calls were not tried again.
type refusals struct{ reasons []string }

func (r *refusals) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		call.Watch(r)
		return next(ctx, call)
	}
}

func (r *refusals) Observe(_ *backstay.Call, e backstay.Event) {
	if e.Kind == backstay.EventGiveUp {
		r.reasons = append(r.reasons, e.Reason)
	}
}

// A retry is refused by the first check that it fails, and what the later ones
// would have cost is not spent: GetBody is not called, the budget is not
// charged, no time passes. The result is always the real one.
//
// H-33
func TestRefusedRetryReturnsTheRealResult(t *testing.T) {
	for _, row := range []struct {
		reason     string
		pause      time.Duration
		attempts   int
		replayable bool
		funds      int // retries that the budget allows
		gets, left int // calls of GetBody, and what is left of the funds
	}{
		{"deadline", time.Minute, 3, true, 2, 0, 2},
		{"attempts", 0, 2, true, 2, 1, 1},
		{"body_not_replayable", 0, 3, false, 2, 0, 2},
		{"budget", 0, 3, true, 0, 1, 0},
		{"budget", 0, 3, true, 1, 2, 0},
	} {
		t.Run(fmt.Sprintf("%+v", row), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					w.WriteHeader(503)
					io.WriteString(w, "busy")
				}), orders)
				budget := retry.NewBudget(retry.BudgetConfig{PerSecond: 2})
				for range 2 - row.funds {
					budget.Withdraw()
				}
				why := new(refusals)
				rt := m.transport(t, httpcall.Config{}, why,
					retry.New(retry.Config{MaxAttempts: row.attempts, Budget: budget, Backoff: retry.Constant(row.pause)}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+orders, strings.NewReader("work"))
				gets := 0
				if get := req.GetBody; row.replayable {
					req.GetBody = func() (io.ReadCloser, error) { gets++; return get() }
				} else {
					req.GetBody = nil
				}
				start := time.Now()
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 503 {
					t.Fatalf("RoundTrip = %v, %v, want the 503", resp, err)
				}
				defer resp.Body.Close()
				if b, err := io.ReadAll(resp.Body); string(b) != "busy" || err != nil {
					t.Errorf("its body = %q, %v, want it unread", b, err)
				}
				if len(why.reasons) != 1 || why.reasons[0] != row.reason {
					t.Errorf("refused because of %v, want %s", why.reasons, row.reason)
				}
				if gets != row.gets {
					t.Errorf("GetBody was called %d times, want %d", gets, row.gets)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("the call took %v, want no time", took)
				}
				if left := int(budget.Balance()); left != row.left {
					t.Errorf("the budget has %d retries left, want %d", left, row.left)
				}
			})
		})
	}
}

// H-33
func TestBreakerThatOpenedInThePauseIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := 0
		m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served++
			w.WriteHeader(503)
		}), orders)
		b := breaker.New(breaker.Config{})
		rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{Backoff: retry.Constant(2 * time.Second)}), b)
		time.AfterFunc(time.Second, b.ForceOpen)
		_, _, err := fetch(t.Context(), rt)
		if e, ok := errors.AsType[*httpcall.StatusError](err); !errors.Is(err, breaker.ErrOpen) || !ok || e.Status != 503 {
			t.Errorf("RoundTrip = %v, want ErrOpen and the 503 before it", err)
		}
		if served != 1 {
			t.Errorf("the server was asked %d times, want once", served)
		}
	})
}

// H-29: whatever the cause says of itself, a cancellation is one.
func TestCauseOfACancellationDoesNotDecideItsClass(t *testing.T) {
	cause := &backstay.Error{Err: errors.New("gone"), Class: backstay.Transient}
	ctx, cancel := context.WithCancelCause(t.Context())
	rt := httpcall.NewTransport(nil, httpcall.Config{Base: roundTripper(func(r *http.Request) (*http.Response, error) {
		cancel(cause)
		return nil, r.Context().Err()
	})})
	req, err := http.NewRequestWithContext(ctx, "GET", "http://orders.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = rt.RoundTrip(req); backstay.Classify(err) != backstay.Canceled || !errors.Is(err, cause) {
		t.Errorf("RoundTrip = %v of class %v, want the cause, canceled", err, backstay.Classify(err))
	}
}

// H-8, H-9: a POST may be made again elsewhere if its time was up before it was
// sent.
func TestRequestWhoseTimeIsUpIsNotSent(t *testing.T) {
	reached := false
	rt := httpcall.NewTransport(nil, httpcall.Config{Base: roundTripper(func(*http.Request) (*http.Response, error) {
		reached = true
		return nil, context.Canceled
	})})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", "http://orders.example/", strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = rt.RoundTrip(req); reached || !backstay.NotSent(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("RoundTrip of a cancelled POST reached the base: %v, with %v, want no and not sent", reached, err)
	}
}
