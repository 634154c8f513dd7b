package telemetry_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

// T-15
func TestRetryFactsAreOnTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		n := 0
		fn := func(context.Context) (int, error) {
			n++
			switch n {
			case 1:
				return 0, &backstay.Error{Err: errCallee, Type: "joe@example.com"}
			case 2:
				return 0, &backstay.Error{Err: errCallee, Type: "429", Class: backstay.Throttled, RetryAfter: time.Hour}
			}
			return 0, errCallee
		}
		p := backstay.New(retry.New(retry.Config{Backoff: retry.Constant(250 * time.Millisecond), MaxRetryAfter: 2 * time.Hour}))
		_, _ = backstay.Do(t.Context(), telemetry.Observe(p, r.config()), "op", fn)

		a := r.attempts(t, 3)
		want(t, a[0], "resilience.retry.reason", "", "resilience.retry.delay", "", "resilience.retry.delay_source", "", "resilience.retry.suppressed_reason", "")
		want(t, a[1], "resilience.retry.reason", "_OTHER", "resilience.retry.delay", "0.25", "resilience.retry.delay_source", "backoff", "resilience.retry.suppressed_reason", "")
		want(t, a[2], "resilience.retry.reason", "429", "resilience.retry.delay_source", "retry_after", "resilience.retry.suppressed_reason", "attempts")
		if pause := a[2].StartTime.Sub(a[1].EndTime); pause < time.Hour {
			t.Errorf("the second pause is %v on the trace, want an hour or more", pause)
		}
	})
}

// T-15
func TestReasonForNoRetryIsOnTheAttempt(t *testing.T) {
	for _, row := range []struct {
		reason string
		cfg    retry.Config
		unsafe bool
		err    error
	}{
		{"not_idempotent", threeTries, true, errCallee},
		{"budget", retry.Config{Budget: retry.NewBudget(retry.BudgetConfig{Ratio: -1, PerSecond: 1e-9})}, false, errCallee},
		{"deadline", retry.Config{Backoff: retry.Constant(time.Hour)}, false, errCallee},
		{"", threeTries, false, retry.Permanent(errCallee)},
	} {
		r := record(t)
		base := func(*http.Request) (*http.Response, error) { return nil, row.err }
		send(t, client(telemetry.Observe(backstay.New(timeout.Call(time.Minute), retry.New(row.cfg)), r.config()), base, func(c *backstay.Call) { c.Unsafe = row.unsafe }), get(t, "http://a.example/"))
		want(t, r.attempts(t, 1)[0], "resilience.retry.suppressed_reason", row.reason)
		want(t, r.call(t), "resilience.retry.suppressed_reason", "")
	}
}

// T-15
func TestReasonForNoRetryIsOnTheCallWhereThereIsNoAttempt(t *testing.T) {
	r := record(t)
	n := 0
	secondRejected := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			if n++; n == 2 {
				return &backstay.Error{Err: errCallee, Type: "circuit_open", NotSent: true}
			}
			return next(ctx, call)
		}
	})
	p := telemetry.Observe(backstay.New(retry.New(threeTries), secondRejected), r.config())
	_, _ = backstay.Do(t.Context(), p, "op", func(context.Context) (int, error) { return 0, errCallee })
	want(t, r.attempts(t, 1)[0], "resilience.retry.suppressed_reason", "")
	want(t, r.call(t), "resilience.retry.suppressed_reason", "circuit_open", "resilience.call.outcome", "circuit_open")
}

// T-15
func TestBreakerThatOpensIsAnEventOnTheAttempt(t *testing.T) {
	r := record(t)
	b := breaker.New(breaker.Config{Name: "orders", ConsecutiveFailures: 2})
	p := telemetry.Observe(backstay.New(retry.New(threeTries), b), r.config())
	_, _ = backstay.Do(t.Context(), p, "op", func(context.Context) (int, error) { return 0, errCallee })

	a := r.attempts(t, 2)
	if n := len(a[0].Events); n != 0 {
		t.Errorf("the first attempt has %d events, want 0", n)
	}
	if len(a[1].Events) != 1 {
		t.Fatalf("the attempt that opened the breaker has events %v, want 1", a[1].Events)
	}
	e := a[1].Events[0]
	if e.Name != "resilience.circuit_breaker.transition" {
		t.Errorf("event is %q, want resilience.circuit_breaker.transition", e.Name)
	}
	for key, want := range map[string]string{
		"resilience.circuit_breaker.name":           "orders",
		"resilience.circuit_breaker.state":          "open",
		"resilience.circuit_breaker.previous_state": "closed",
	} {
		if got := textIn(e.Attributes, key); got != want {
			t.Errorf("event has %s = %q, want %q", key, got, want)
		}
	}
	want(t, a[1], "resilience.retry.suppressed_reason", "circuit_open")
	want(t, r.call(t), "resilience.call.outcome", "circuit_open", "resilience.call.attempts", "2")
}

// T-15
func TestEventIsOnTheAttemptThatCausedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		b := breaker.New(breaker.Config{ConsecutiveFailures: 1})
		_, _ = backstay.Do(t.Context(), telemetry.Observe(backstay.New(hedge{}, b), r.config()), "op", func(ctx context.Context) (int, error) {
			if n, _ := telemetry.AttemptNumber(ctx); n == 2 {
				return 0, errCallee
			}
			<-time.After(time.Hour)
			return 0, nil
		})
		<-time.After(time.Hour)
		for _, s := range append(r.attempts(t, 2), r.call(t)) {
			wanted := 0
			if text(s, "error.type") != "" && s.SpanKind == trace.SpanKindClient {
				wanted = 1
			}
			if len(s.Events) != wanted {
				t.Errorf("%v span with error.type %q has %d events, want %d", s.SpanKind, text(s, "error.type"), len(s.Events), wanted)
			}
		}
	})
}

// T-15
func TestRejectionIsAnEventOnTheCall(t *testing.T) {
	r := record(t)
	b := breaker.New(breaker.Config{Name: "orders"})
	b.ForceOpen()
	_, _ = backstay.Do(t.Context(), telemetry.Observe(backstay.New(b), r.config()), "op", func(context.Context) (int, error) { return 0, nil })
	r.attempts(t, 0)
	events := r.call(t).Events
	if len(events) != 1 || events[0].Name != "resilience.rejected" {
		t.Fatalf("the call has events %v, want one resilience.rejected", events)
	}
	for key, want := range map[string]string{"error.type": "circuit_open", "resilience.circuit_breaker.name": "orders"} {
		if got := textIn(events[0].Attributes, key); got != want {
			t.Errorf("event has %s = %q, want %q", key, got, want)
		}
	}
}

// Attempts that overlap do not get each other's facts: the hedge starts while
// the first branch pauses before its retry.
func TestOverlappingAttemptsKeepTheirFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		retries := retry.New(retry.Config{Backoff: retry.Constant(1500 * time.Millisecond)})
		p := telemetry.Observe(backstay.New(hedge{}, retries), r.config())
		_, err := backstay.Do(t.Context(), p, "op", func(ctx context.Context) (int, error) {
			switch n, _ := telemetry.AttemptNumber(ctx); n {
			case 1:
				return 0, &backstay.Error{Err: errCallee, Type: "503"} // pauses to 1.5 s
			case 2:
				<-time.After(time.Hour) // the hedge, from 1 s on
			}
			return 0, nil
		})
		if err != nil {
			t.Fatalf("call() = %v, want nil", err)
		}
		<-time.After(time.Hour)
		var reasons []string
		for _, s := range r.attempts(t, 3) {
			if reason := text(s, "resilience.retry.reason"); reason != "" {
				reasons = append(reasons, s.StartTime.Sub(r.call(t).StartTime).String()+" "+reason)
			}
		}
		if len(reasons) != 1 || reasons[0] != "1.5s 503" {
			t.Errorf("attempts with a reason: %v, want [1.5s 503]", reasons)
		}
	})
}
