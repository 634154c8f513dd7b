package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

var threeTries = retry.Config{Backoff: retry.NoPause()}

// T-1, T-2
func TestAttemptsAreSiblingsUnderTheCall(t *testing.T) {
	r := record(t)
	do := client(telemetry.Observe(backstay.New(retry.New(threeTries)), r.config()), answer(503, 502, 200), nil)
	send(t, do, get(t, "http://orders.example/v1/orders/7"))

	call, attempts := r.call(t), r.attempts(t, 3)
	if call.Name != "orders.Get" || call.Parent.IsValid() {
		t.Errorf("call span %q has parent %v, want orders.Get with none", call.Name, call.Parent.SpanID())
	}
	for _, a := range call.Attributes {
		if strings.HasPrefix(string(a.Key), "http.") {
			t.Errorf("call span has %s, want no http attributes", a.Key)
		}
	}
	for i, a := range attempts {
		if a.Name != "GET" || a.Parent.SpanID() != call.SpanContext.SpanID() {
			t.Errorf("attempt %d is %q under %v, want GET under %v", i+1, a.Name, a.Parent.SpanID(), call.SpanContext.SpanID())
		}
		want(t, a, "http.request.resend_count", []string{"", "1", "2"}[i])
	}
}

// T-2
func TestHedgedAttemptsOverlapAsSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		do := backstay.Wrap(telemetry.Observe(backstay.New(hedge{}), r.config()), "op", func(ctx context.Context, _ int) (int, error) {
			n, _ := telemetry.AttemptNumber(ctx)
			if n == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			<-time.After(time.Second)
			return 2, nil
		})
		if v, err := do(t.Context(), 0); v != 2 || err != nil {
			t.Fatalf("call() = %d, %v, want 2, nil", v, err)
		}
		synctest.Wait()
		call, attempts := r.call(t), r.attempts(t, 2)
		a, b := attempts[0], attempts[1]
		if !a.StartTime.Before(b.EndTime) || !b.StartTime.Before(a.EndTime) {
			t.Errorf("attempts lasted %v to %v and %v to %v, want an overlap", a.StartTime, a.EndTime, b.StartTime, b.EndTime)
		}
		for _, s := range attempts {
			if s.Parent.SpanID() != call.SpanContext.SpanID() || s.Status.Code != codes.Unset || text(s, "error.type") != "" {
				t.Errorf("attempt has parent %v, status %v, error.type %q; want %v, Unset and none", s.Parent.SpanID(), s.Status.Code, text(s, "error.type"), call.SpanContext.SpanID())
			}
		}
		want(t, call, "resilience.call.attempts", "2", "resilience.call.outcome", "success")
	})
}

// A hedge makes two attempts, the second a second after the first, and takes
// the first success.
type hedge struct{}

func (hedge) Traits() backstay.Traits { return backstay.Traits{Forks: true} }

func (hedge) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		type end struct {
			*backstay.Call
			err error
		}
		ends := make(chan end, 2)
		for range 2 {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			go func() { ends <- end{f, next(ctx, f)} }()
			<-time.After(time.Second)
		}
		won := <-ends
		cancel()
		call.Adopt(won.Call)
		go func() {
			lost := <-ends
			lost.Discard(context.Canceled)
		}()
		return won.err
	}
}

var errCallee = errors.New("a secret of joe@example.com")

func TestOutcomes(t *testing.T) {
	typed := func(c backstay.Class, typ string) error { return &backstay.Error{Err: errCallee, Class: c, Type: typ} }
	open := breaker.New(breaker.Config{Name: "b"})
	open.ForceOpen()
	noBudget := retry.NewBudget(retry.BudgetConfig{Ratio: -1, PerSecond: 1e-9})
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, row := range []struct {
		name, outcome, errorType, attempts string
		policy                             []backstay.Middleware
		fn                                 func(context.Context) error
	}{
		{"success", "success", "", "1", nil, always(nil)},
		{"permanent", "non_retryable", "_OTHER", "1", []backstay.Middleware{retry.New(threeTries)}, always(typed(backstay.Permanent, ""))},
		{"broken, no retry", "non_retryable", "tls", "1", nil, always(typed(backstay.Broken, "tls"))},
		{"attempts", "attempts_exhausted", "connection_reset", "3", []backstay.Middleware{retry.New(threeTries)}, always(typed(backstay.Transient, "connection_reset"))},
		{"no retry", "attempts_exhausted", "_OTHER", "1", nil, always(errCallee)},
		{"budget", "budget_exhausted", "_OTHER", "1", []backstay.Middleware{retry.New(retry.Config{Budget: noBudget, Backoff: retry.NoPause()})}, always(errCallee)},
		{"deadline", "deadline", "timeout", "1", []backstay.Middleware{timeout.Call(time.Second), retry.New(threeTries)}, slow},
		{"attempt's deadline, no retry", "deadline", "timeout", "1", []backstay.Middleware{timeout.Attempt(time.Second)}, slow},
		{"pause too long", "deadline", "_OTHER", "1", []backstay.Middleware{timeout.Call(time.Second), retry.New(retry.Config{Backoff: retry.Constant(time.Minute)})}, always(errCallee)},
		{"breaker", "circuit_open", "circuit_open", "0", []backstay.Middleware{open}, always(nil)},
		{"breaker under retry", "circuit_open", "circuit_open", "0", []backstay.Middleware{retry.New(threeTries), open}, always(nil)},
		{"limiter", "rate_limited", "rate_limited", "0", []backstay.Middleware{reject("rate_limited")}, always(nil)},
		{"no endpoint", "no_endpoint", "no_endpoint", "0", []backstay.Middleware{reject("no_endpoint")}, always(nil)},
		{"limiter that says it in its event", "rate_limited", "_OTHER", "0", []backstay.Middleware{rejectUntyped("rate_limited")}, always(nil)},
		{"waited too long for a turn", "deadline", "timeout", "0", []backstay.Middleware{retry.New(threeTries), reject("timeout")}, always(nil)},
		{"fallback", "success", "", "1", []backstay.Middleware{fallback}, always(errCallee)},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				p := telemetry.Observe(backstay.New(row.policy...), r.config())
				_, _ = backstay.Do(t.Context(), p, "op", func(ctx context.Context) (int, error) { return 0, row.fn(ctx) })
				s := r.call(t)
				want(t, s, "resilience.call.outcome", row.outcome, "error.type", row.errorType, "resilience.call.attempts", row.attempts)
				if failed := row.errorType != ""; failed != (s.Status.Code == codes.Error) {
					t.Errorf("status of the call = %v, want Error: %v", s.Status.Code, failed)
				}
			})
		})
	}
}

func always(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

// reject turns calls away with an error that says why.
func reject(reason string) backstay.Middleware {
	return rejection(reason, &backstay.Error{Err: errCallee, Type: reason, NotSent: true})
}

func rejectUntyped(reason string) backstay.Middleware { return rejection(reason, errCallee) }

func rejection(reason string, err error) backstay.Middleware {
	return backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(_ context.Context, call *backstay.Call) error {
			call.Emit(backstay.Event{Kind: backstay.EventReject, Reason: reason, Err: err})
			return err
		}
	})
}

var fallback = backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if next(ctx, call) != nil {
			backstay.SetResult(call, 1)
		}
		return nil
	}
})

// T-6
func TestCancellationByTheCallerIsNoError(t *testing.T) {
	for _, late := range []bool{false, true} {
		r := record(t)
		ctx, cancel := context.WithCancel(t.Context())
		p := telemetry.Observe(backstay.New(retry.New(retry.Config{Backoff: retry.Constant(time.Hour)})), r.config())
		_, err := backstay.Do(ctx, p, "op", func(ctx context.Context) (int, error) {
			cancel()
			if late {
				return 0, fmt.Errorf("reset: %w", errCallee) // whatever the callee made of it
			}
			return 0, ctx.Err()
		})
		if err == nil {
			t.Fatal("call() = nil, want an error")
		}
		for _, s := range append(r.attempts(t, 1), r.call(t)) {
			if s.Status.Code != codes.Unset || text(s, "error.type") != "" {
				t.Errorf("late=%v: span %v has status %v, error.type %q, want Unset and none", late, s.SpanKind, s.Status.Code, text(s, "error.type"))
			}
		}
		want(t, r.call(t), "resilience.call.outcome", "canceled")
	}
}

// T-6
func TestCancellationWhileAResponseIsAFailureOrIsRead(t *testing.T) {
	for _, status := range []int{503, 200} {
		r := record(t)
		ctx, cancel := context.WithCancel(t.Context())
		base := func(req *http.Request) (*http.Response, error) {
			resp := response(status, "")
			resp.Body = cutBody{ctx}
			if status == 503 {
				cancel()
			}
			return resp, nil
		}
		resp, err := client(telemetry.Observe(nil, r.config()), base, nil)(get(t, "http://a.example/").WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_, _ = resp.Body.Read(nil)
		s := r.call(t)
		if want(t, s, "resilience.call.outcome", "canceled", "error.type", ""); s.Status.Code != codes.Unset {
			t.Errorf("after %d the call has status %v, want Unset", status, s.Status.Code)
		}
	}
}

// A cutBody fails when its context ends.
type cutBody struct{ ctx context.Context }

func (b cutBody) Read([]byte) (int, error) { return 0, b.ctx.Err() }
func (b cutBody) Close() error             { return nil }

// T-6
func TestWhatHappensAboveASuccessIsNotTheAttemptsFailure(t *testing.T) {
	loses := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			err = next(ctx, f)
			f.Discard(context.Canceled) // as a hedge does with one that came second
			return err
		}
	})
	panics := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			_ = next(ctx, call)
			panic("boom")
		}
	})
	for name, m := range map[string]backstay.Middleware{"loses": loses, "panics": panics} {
		r := record(t)
		func() {
			defer func() { _ = recover() }()
			_, _ = backstay.Do(t.Context(), telemetry.Observe(backstay.New(m), r.config()), "op", func(context.Context) (int, error) { return 0, nil })
		}()
		if s := r.attempts(t, 1)[0]; s.Status.Code != codes.Unset {
			t.Errorf("%s: attempt has status %v, want Unset", name, s.Status.Code)
		}
	}
}

// T-6
func TestCallThatSucceedsOnARetryHasNoError(t *testing.T) {
	r := record(t)
	send(t, client(telemetry.Observe(backstay.New(retry.New(threeTries)), r.config()), answer(503, 200), nil), get(t, "http://a.example/"))
	s, attempts := r.call(t), r.attempts(t, 2)
	if s.Status.Code != codes.Unset || text(s, "error.type") != "" {
		t.Errorf("call span has status %v, error.type %q, want Unset and none", s.Status.Code, text(s, "error.type"))
	}
	want(t, s, "resilience.call.outcome", "success", "resilience.call.attempts", "2")
	if attempts[0].Status.Code != codes.Error || attempts[1].Status.Code != codes.Unset {
		t.Errorf("attempts have statuses %v and %v, want Error and Unset", attempts[0].Status.Code, attempts[1].Status.Code)
	}
}

func TestSpansLastUntilTheBodyIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		resp, err := client(telemetry.Observe(nil, r.config()), answer(200), nil)(get(t, "http://a.example/"))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(r.memory.GetSpans()); n != 0 {
			t.Fatalf("%d spans have ended before the body was closed, want 0", n)
		}
		<-time.After(time.Minute)
		resp.Body.Close()
		for _, s := range append(r.attempts(t, 1), r.call(t)) {
			if took := s.EndTime.Sub(s.StartTime); took != time.Minute {
				t.Errorf("span %v took %v, want 1m0s", s.SpanKind, took)
			}
		}
	})
}

func TestBodyThatBreaksIsAnError(t *testing.T) {
	r := record(t)
	base := func(*http.Request) (*http.Response, error) {
		resp := response(200, "")
		resp.Body = brokenBody{}
		return resp, nil
	}
	resp, err := client(telemetry.Observe(nil, r.config()), base, nil)(get(t, "http://a.example/"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = resp.Body.Read(make([]byte, 1))
	for _, s := range append(r.attempts(t, 1), r.call(t)) {
		if want(t, s, "error.type", "connection_reset"); s.Status.Code != codes.Error {
			t.Errorf("span %v has status %v, want Error", s.SpanKind, s.Status.Code)
		}
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) {
	return 0, &backstay.Error{Err: errCallee, Type: "connection_reset"}
}
func (brokenBody) Close() error { return nil }

// A pause before the next attempt is no part of the attempt before it, nor is
// the time that the middleware above takes.
func TestAttemptEndsWhereItReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		linger := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				defer func() { <-time.After(time.Minute) }()
				return next(ctx, call)
			}
		})
		_, _ = backstay.Do(t.Context(), telemetry.Observe(backstay.New(linger), r.config()), "op", func(context.Context) (int, error) {
			<-time.After(time.Second)
			return 0, nil
		})
		a, c := r.attempts(t, 1)[0], r.call(t)
		if at, call := a.EndTime.Sub(a.StartTime), c.EndTime.Sub(c.StartTime); at != time.Second || call != 61*time.Second {
			t.Errorf("attempt and call took %v and %v, want 1s and 1m1s", at, call)
		}
	})
}

func TestPanicAndGoexitEndTheSpans(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for _, p := range []*backstay.Policy{nil, backstay.New(retry.New(threeTries))} {
			r := record(t)
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				_, _ = backstay.Do(t.Context(), telemetry.Observe(p, r.config()), "op", func(context.Context) (int, error) {
					end()
					return 0, nil
				})
			}()
			if got := <-done; name == "panic" && got != "boom" {
				t.Errorf("the caller recovered %v, want boom", got)
			}
			for _, s := range append(r.attempts(t, 1), r.call(t)) {
				if want(t, s, "error.type", "_OTHER"); s.Status.Code != codes.Error {
					t.Errorf("%s: span %v has status %v, want Error", name, s.SpanKind, s.Status.Code)
				}
			}
		}
	}
}

func TestNestedCallIsUnderTheAttempt(t *testing.T) {
	r := record(t)
	inner := telemetry.Observe(nil, r.config())
	_, _ = backstay.Do(t.Context(), inner, "outer", func(ctx context.Context) (int, error) {
		return backstay.Do(ctx, inner, "inner", func(context.Context) (int, error) { return 0, nil })
	})
	parents := map[trace.SpanID]string{}
	for _, s := range r.memory.GetSpans() {
		parents[s.SpanContext.SpanID()] = fmt.Sprint(s.Name, " ", s.SpanKind)
	}
	for _, s := range r.memory.GetSpans() {
		got := parents[s.Parent.SpanID()]
		wanted := map[string]string{"outer internal": "", "outer client": "outer internal", "inner internal": "outer client", "inner client": "inner internal"}[fmt.Sprint(s.Name, " ", s.SpanKind)]
		if got != wanted {
			t.Errorf("%s %v is under %q, want %q", s.Name, s.SpanKind, got, wanted)
		}
		if s.SpanKind == trace.SpanKindInternal {
			want(t, s, "resilience.call.attempts", "1")
		}
	}
}

// An attempt that a sampler drops still hides its call from the calls inside.
func TestAttemptInsideADroppedOneIsNotTheOuterCalls(t *testing.T) {
	r := record(t, sdktrace.WithSampler(dropAttempts{}))
	inner := backstay.New(telemetry.Attempt(r.config()))
	_, _ = backstay.Do(t.Context(), telemetry.Observe(nil, r.config()), "outer", func(ctx context.Context) (int, error) {
		return backstay.Do(ctx, inner, "inner", func(context.Context) (int, error) { return 0, nil })
	})
	want(t, r.call(t), "resilience.call.attempts", "1")
}

type dropAttempts struct{}

func (dropAttempts) Description() string { return "dropAttempts" }

func (dropAttempts) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.Kind == trace.SpanKindClient {
		return sdktrace.SamplingResult{Decision: sdktrace.Drop}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

func TestPolicyReads(t *testing.T) {
	p := telemetry.Observe(backstay.New(timeout.Call(time.Second)), telemetry.Config{})
	if got, want := p.String(), "telemetry > timeout(1s) > telemetry(attempt)"; got != want {
		t.Errorf("Observe(p).String() = %s, want %s", got, want)
	}
	retries := retry.New(retry.Config{})
	for _, stack := range [][]backstay.Middleware{
		{retries, telemetry.Call(telemetry.Config{})},
		{telemetry.Attempt(telemetry.Config{}), retries},
	} {
		if err := backstay.Check(stack...); err == nil {
			t.Errorf("Check(%v) = nil, want an error", stack)
		}
	}
}
