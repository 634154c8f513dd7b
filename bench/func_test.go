// Package bench measures backstay beside its peers, in one process, and shows
// where they behave differently. It is a module of its own, so that nobody who
// imports backstay downloads them.
package bench

import (
	"context"
	"testing"
	"time"

	avast "github.com/avast/retry-go/v4"
	"github.com/cenkalti/backoff/v4"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	failsafetimeout "github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// Every library is told the same: 3 attempts with pauses from 50 ms to 1 s, a
// breaker that opens at half of at least 20 calls failing within 10 s, and 2 s
// for the call.
const (
	attempts   = 3
	firstPause = 50 * time.Millisecond
	maxPause   = time.Second
	callLimit  = 2 * time.Second
	rate       = 0.5
	minCalls   = 20
	window     = 10 * time.Second
)

type function = func(ctx context.Context, n int) (int, error)

// noop is the call that costs nothing.
func noop(_ context.Context, n int) (int, error) { return n, nil }

// done takes ctx.Done(), as a call over a network does: a timeout that puts off
// its timer until then has to start it.
func done(ctx context.Context, n int) (int, error) {
	_ = ctx.Done()
	return n, nil
}

// A funcStack is what one library makes of a function.
type funcStack struct {
	what, library string
	call          function
	rejects       bool
}

func funcStacks() []funcStack {
	return []funcStack{
		{what: "none", library: "bare", call: noop},
		{what: "timeout", library: "context.WithTimeout", call: withTimeout(noop)},
		{what: "timeout", library: "backstay", call: wrap(noop, timeout.Call(callLimit))},
		{what: "timeout", library: "failsafe", call: failsafed(noop, failsafeTimeout())},
		{what: "retry", library: "backstay", call: wrap(noop, ourRetry())},
		{what: "retry", library: "failsafe", call: failsafed(noop, failsafeRetry())},
		{what: "retry", library: "backoff", call: backedOff(noop)},
		{what: "retry", library: "retry-go", call: retryGo(noop)},
		{what: "breaker", library: "backstay", call: wrap(noop, ourBreaker())},
		{what: "breaker", library: "failsafe", call: failsafed(noop, failsafeBreaker())},
		{what: "breaker", library: "gobreaker", call: broken(noop, bareBreaker())},
		{what: "retry+breaker+timeout", library: "backstay", call: whole(noop)},
		{what: "retry+breaker+timeout", library: "failsafe", call: failsafeWhole(noop)},
		{what: "retry+breaker+timeout", library: "backoff+gobreaker", call: byHand(noop)},
		{what: "timeout,done", library: "context.WithTimeout", call: withTimeout(done)},
		{what: "timeout,done", library: "backstay", call: wrap(done, timeout.Call(callLimit))},
		{what: "timeout,done", library: "failsafe", call: failsafed(done, failsafeTimeout())},
		{what: "retry+breaker+timeout,done", library: "backstay", call: whole(done)},
		{what: "retry+breaker+timeout,done", library: "failsafe", call: failsafeWhole(done)},
		{what: "retry+breaker+timeout,done", library: "backoff+gobreaker", call: byHand(done)},
		{what: "reject", library: "backstay", call: wrap(noop, ourOpenBreaker()), rejects: true},
		{what: "reject", library: "failsafe", call: failsafed(noop, failsafeOpenBreaker()), rejects: true},
		{what: "reject", library: "gobreaker", call: broken(noop, bareOpenBreaker()), rejects: true},
	}
}

func BenchmarkFunc(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for _, s := range funcStacks() {
		b.Run(s.what+"/"+s.library, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.call(ctx, 1); (err != nil) != s.rejects {
					b.Fatalf("the call returned %v", err)
				}
			}
		})
	}
}

func BenchmarkFuncParallel(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for _, s := range funcStacks() {
		b.Run(s.what+"/"+s.library, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.call(ctx, 1); (err != nil) != s.rejects {
						b.Errorf("the call returned %v", err)
						return
					}
				}
			})
		})
	}
}

// backstay

func wrap(f function, stack ...backstay.Middleware) function {
	return backstay.Wrap(backstay.New(stack...), "op", f)
}

func whole(f function) function {
	return wrap(f, timeout.Call(callLimit), ourRetry(), ourBreaker())
}

func ourRetry() backstay.Middleware {
	return retry.New(retry.Config{MaxAttempts: attempts, Backoff: retry.Exponential(firstPause, maxPause)})
}

func ourBreaker() *breaker.Breaker {
	return breaker.New(breaker.Config{FailureRate: rate, MinCalls: minCalls, Window: window})
}

func ourOpenBreaker() *breaker.Breaker {
	b := ourBreaker()
	b.ForceOpen()
	return b
}

// failsafe-go: the Executor is made once, and takes each call's context.

func failsafed(f function, policies ...failsafe.Policy[int]) function {
	executor := failsafe.With(policies...)
	return func(ctx context.Context, n int) (int, error) {
		return executor.WithContext(ctx).GetWithExecution(func(exec failsafe.Execution[int]) (int, error) {
			return f(exec.Context(), n)
		})
	}
}

func failsafeWhole(f function) function {
	return failsafed(f, failsafeTimeout(), failsafeRetry(), failsafeBreaker())
}

func failsafeTimeout() failsafe.Policy[int] { return failsafetimeout.New[int](callLimit) }

func failsafeRetry() failsafe.Policy[int] {
	return retrypolicy.NewBuilder[int]().WithMaxAttempts(attempts).WithBackoff(firstPause, maxPause).Build()
}

func failsafeBreaker() circuitbreaker.CircuitBreaker[int] {
	return circuitbreaker.NewBuilder[int]().WithFailureRateThreshold(rate, minCalls, window).Build()
}

func failsafeOpenBreaker() failsafe.Policy[int] {
	b := failsafeBreaker()
	b.Open()
	return b
}

// cenkalti/backoff: a BackOff serves one call at a time, so each makes its own.

func backedOff(f function) function {
	return func(ctx context.Context, n int) (int, error) {
		return backoff.RetryWithData(func() (int, error) { return f(ctx, n) }, pauses(ctx))
	}
}

func pauses(ctx context.Context) backoff.BackOff {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(maxPause))
	return backoff.WithContext(backoff.WithMaxRetries(b, attempts-1), ctx)
}

// avast/retry-go

func retryGo(f function) function {
	return func(ctx context.Context, n int) (int, error) {
		return avast.DoWithData(func() (int, error) { return f(ctx, n) }, avast.Context(ctx), avast.Attempts(attempts),
			avast.Delay(firstPause), avast.MaxDelay(maxPause), avast.DelayType(avast.FullJitterBackoffDelay))
	}
}

// sony/gobreaker

func broken(f function, b *gobreaker.CircuitBreaker[int]) function {
	return func(ctx context.Context, n int) (int, error) {
		return b.Execute(func() (int, error) { return f(ctx, n) })
	}
}

func bareBreaker() *gobreaker.CircuitBreaker[int] {
	return gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
		Interval:     window,
		BucketPeriod: window / 10,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.Requests >= minCalls && float64(c.TotalFailures) >= rate*float64(c.Requests)
		},
	})
}

func bareOpenBreaker() *gobreaker.CircuitBreaker[int] {
	b := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
		Timeout:     time.Hour,
		ReadyToTrip: func(gobreaker.Counts) bool { return true },
	})
	_, _ = b.Execute(func() (int, error) { return 0, context.DeadlineExceeded })
	return b
}

// The standard library, and what is written by hand with the bare parts.

func withTimeout(f function) function {
	return func(ctx context.Context, n int) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		return f(ctx, n)
	}
}

func byHand(f function) function { return withTimeout(backedOff(broken(f, bareBreaker()))) }
