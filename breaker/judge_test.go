package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// What a call said of the callee, found out with two failures before it: a
// failure opens the breaker, and a success makes a third one harmless.
const (
	isSuccess  = "success"
	isFailure  = "failure"
	isExcluded = "excluded"
)

// verdict returns how a breaker made with cfg takes the call.
func verdict(t *testing.T, cfg breaker.Config, call func(b *breaker.Breaker)) string {
	t.Helper()
	cfg.ConsecutiveFailures = 3
	var told string
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(cfg)
		counted := func(context.Context) error { return &backstay.Error{Err: errSick, Class: backstay.Broken} }
		for range 2 {
			_ = do(t.Context(), b, counted)
		}
		call(b)
		if b.State() == Open {
			told = isFailure
			return
		}
		_ = do(t.Context(), b, counted)
		told = isSuccess
		if b.State() == Open {
			told = isExcluded
		}
	})
	return told
}

func classed(c backstay.Class) error { return &backstay.Error{Err: errSick, Class: c} }

func TestErrorsAreJudgedByTheirClass(t *testing.T) {
	for _, row := range []struct {
		err  error
		want string
	}{
		{nil, isSuccess},
		{errSick, isFailure},
		{classed(backstay.Transient), isFailure},
		{classed(backstay.Broken), isFailure},
		{classed(backstay.Permanent), isSuccess},
		{classed(backstay.Throttled), isExcluded},
		{classed(backstay.Pending), isSuccess},
		{classed(backstay.Canceled), isExcluded},
		{context.Canceled, isExcluded},
		{context.DeadlineExceeded, isFailure}, // not our caller's: some timeout further in
		{fmt.Errorf("inner: %w", &breaker.OpenError{}), isExcluded},
		{fmt.Errorf("%w, after %w", breaker.ErrOpen, errSick), isExcluded},
		{&retry.Error{Err: errSick, Earlier: []error{&breaker.OpenError{}}}, isFailure},
	} {
		wrapped := verdict(t, breaker.Config{}, func(b *breaker.Breaker) { _ = do(context.Background(), b, after(0, row.err)) })
		if wrapped != row.want {
			t.Errorf("Do() that ends with %v counted as %s, want %s", row.err, wrapped, row.want)
		}
		allowed := verdict(t, breaker.Config{}, func(b *breaker.Breaker) {
			done, _ := b.Allow()
			done(row.err)
		})
		if allowed != row.want {
			t.Errorf("done(%v) counted as %s, want %s", row.err, allowed, row.want)
		}
	}
}

func TestFailureTakesThePlaceOfTheClass(t *testing.T) {
	special := errors.New("special")
	cfg := breaker.Config{Failure: func(err error) bool {
		if errors.Is(err, context.Canceled) || errors.Is(err, breaker.ErrOpen) {
			t.Errorf("Failure(%v) was asked, want it not to be", err)
		}
		return errors.Is(err, special) || backstay.Classify(err) == backstay.Broken
	}}
	for _, row := range []struct {
		err  error
		want string
	}{
		{special, isFailure},
		{&backstay.Error{Err: special, Class: backstay.Permanent}, isFailure},
		{&backstay.Error{Err: special, Class: backstay.Throttled}, isFailure},
		{classed(backstay.Throttled), isExcluded},
		{errSick, isSuccess},
		{context.Canceled, isExcluded},
		{&breaker.OpenError{}, isExcluded},
	} {
		if got := verdict(t, cfg, func(b *breaker.Breaker) { _ = do(context.Background(), b, after(0, row.err)) }); got != row.want {
			t.Errorf("Do() that ends with %v counted as %s, want %s", row.err, got, row.want)
		}
	}
}

// untilDone waits for the end of its context.
func untilDone(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// B-10
func TestTheEndOfTheCallersContext(t *testing.T) {
	deadline := func(d time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), d)
		}
	}
	cancelAt := func(d time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(d, cancel)
			return ctx, cancel
		}
	}
	ioTimeout := func(ctx context.Context) error { <-ctx.Done(); return os.ErrDeadlineExceeded }
	answersLate := func(ctx context.Context) error { <-ctx.Done(); return errSick }
	refusesLate := func(ctx context.Context) error { <-ctx.Done(); return classed(backstay.Permanent) }
	for _, row := range []struct {
		name      string
		slowAfter time.Duration
		ctx       func() (context.Context, context.CancelFunc)
		f         func(context.Context) error
		want      string
	}{
		{"canceled early", 0, cancelAt(ms), untilDone, isExcluded},
		{"canceled late", 0, cancelAt(time.Minute), untilDone, isExcluded},
		{"canceled late, though slow", 100 * ms, cancelAt(time.Minute), untilDone, isExcluded},
		{"canceled, failing", 0, cancelAt(ms), answersLate, isExcluded},
		{"short deadline", 0, deadline(999 * ms), untilDone, isExcluded},
		{"long deadline", 0, deadline(s), untilDone, isFailure},
		{"below the slow threshold", 5 * s, deadline(4 * s), untilDone, isExcluded},
		{"at the slow threshold", 100 * ms, deadline(100 * ms), untilDone, isFailure},
		{"short deadline of a connection", 0, deadline(ms), ioTimeout, isExcluded},
		{"long deadline of a connection", 0, deadline(s), ioTimeout, isFailure},
		{"a failure at a short deadline", 0, deadline(ms), answersLate, isFailure},
		{"an answer at a long deadline", 0, deadline(s), refusesLate, isSuccess},
	} {
		got := verdict(t, breaker.Config{SlowAfter: row.slowAfter}, func(b *breaker.Breaker) {
			ctx, cancel := row.ctx()
			defer cancel()
			_ = do(ctx, b, row.f)
		})
		if got != row.want {
			t.Errorf("%s: counted as %s, want %s", row.name, got, row.want)
		}
	}
}

// B-10
func TestAnAttemptsTimeoutIsAFailure(t *testing.T) {
	got := verdict(t, breaker.Config{}, func(b *breaker.Breaker) {
		_ = do(context.Background(), backstay.New(b, timeout.Attempt(ms)), untilDone)
	})
	if got != isFailure {
		t.Errorf("attempt timeout counted as %s, want failure", got)
	}
}

// The end of a timeout.Call is a failure of the callee unless little of its
// time was left, whether the policy or those around it had used it up.
//
// B-10
func TestTheEndOfACallsTimeout(t *testing.T) {
	after := func(d time.Duration) backstay.Middleware {
		return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				take(d)
				call.Waited()
				return next(ctx, call)
			}
		})
	}
	causeOfCaller := func(cause error) func(backstay.Func) backstay.Func {
		return func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				ctx, cancel := context.WithTimeoutCause(ctx, 100*ms, cause)
				defer cancel()
				return next(ctx, call)
			}
		}
	}
	cause := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	limit := timeout.Call(100 * ms)
	for _, row := range []struct {
		name      string
		slowAfter time.Duration
		above     backstay.Middleware
		f         func(context.Context) error
		want      string
	}{
		{"all of it", 0, limit, untilDone, isFailure},
		{"all of it, told by the cause", 0, limit, cause, isFailure},
		{"half of it", 0, backstay.New(limit, after(50*ms)), untilDone, isFailure},
		{"less than half", 0, backstay.New(limit, after(51*ms)), untilDone, isExcluded},
		{"less than half, but slow", 40 * ms, backstay.New(limit, after(51*ms)), untilDone, isFailure},
		{"less than half, but a second", 0, backstay.New(timeout.Call(3*s), after(2*s)), untilDone, isFailure},
		{"another's cause", 0, backstay.MiddlewareFunc(causeOfCaller(errSick)), untilDone, isExcluded},
		{"another's timeout", 0, backstay.MiddlewareFunc(causeOfCaller(&backstay.Error{Err: errSick, Type: "timeout"})), untilDone, isExcluded},
	} {
		within := verdict(t, breaker.Config{SlowAfter: row.slowAfter}, func(b *breaker.Breaker) {
			_ = do(context.Background(), backstay.New(row.above, b), row.f)
		})
		if within != row.want {
			t.Errorf("%s: counted as %s, want %s", row.name, within, row.want)
		}
		around := verdict(t, breaker.Config{SlowAfter: row.slowAfter}, func(b *breaker.Breaker) {
			_ = do(context.Background(), row.above, func(ctx context.Context) error { return do(ctx, b, row.f) })
		})
		if around != row.want {
			t.Errorf("%s, of a policy around: counted as %s, want %s", row.name, around, row.want)
		}
	}
}

// B-10
func TestARejectionInsideDoesNotCount(t *testing.T) {
	limiter := backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(context.Context, *backstay.Call) error { return errors.New("limiter: full") }
	})
	nested := breaker.New(breaker.Config{})
	nested.ForceOpen()
	for name, inside := range map[string]backstay.Middleware{"limiter": limiter, "nested breaker": nested} {
		got := verdict(t, breaker.Config{Failure: func(error) bool { return true }}, func(b *breaker.Breaker) {
			if err := do(context.Background(), backstay.New(b, inside), after(0, nil)); err == nil {
				t.Errorf("Do() with a %s = nil, want its rejection", name)
			}
		})
		if got != isExcluded {
			t.Errorf("rejection by a %s counted as %s, want excluded", name, got)
		}
	}
}

// B-10
func TestALostHedgeDoesNotCount(t *testing.T) {
	got := verdict(t, breaker.Config{}, func(b *breaker.Breaker) {
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Minute, func() { cancel(errors.New("hedge: another attempt was faster")) })
		_ = do(ctx, b, untilDone)
	})
	if got != isExcluded {
		t.Errorf("lost hedge counted as %s, want excluded", got)
	}
}
