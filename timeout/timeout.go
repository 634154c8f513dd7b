package timeout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/deadline"
)

// Call returns a middleware that ends a whole call after d: all its attempts,
// the pauses between them, and reading the result to the end of the body or
// stream. A caller's deadline that is sooner holds instead.
//
// It panics unless d is positive.
func Call(d time.Duration) backstay.Middleware { return &call{newLimit("call", "Call", d)} }

type call struct{ *limit }

func (t *call) String() string          { return fmt.Sprintf("timeout(%v)", t.after) }
func (t *call) Traits() backstay.Traits { return backstay.Traits{PerCall: true, CallTimeout: t.after} }

func (t *call) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if at, sooner := t.deadline(ctx, call); sooner {
			return t.whole(ctx, call, at, next)
		}
		return next(ctx, call)
	}
}

// Attempt returns a middleware that ends an attempt that has not answered
// after d: with headers or a first message where the answer has a body or
// stream, which may then take as long as the call has.
//
// It panics unless d is positive.
func Attempt(d time.Duration) backstay.Middleware {
	return &attempt{limit: newLimit("attempt", "Attempt", d)}
}

// WholeAttempt is like Attempt, and the time includes the body or stream.
//
// It panics unless d is positive.
func WholeAttempt(d time.Duration) backstay.Middleware {
	return &attempt{limit: newLimit("attempt", "WholeAttempt", d), body: true}
}

type attempt struct {
	*limit
	body bool // counts too
}

func (t *attempt) String() string { return fmt.Sprintf("attempt(%v)", t.after) }

func (t *attempt) Traits() backstay.Traits {
	return backstay.Traits{PerAttempt: true, AttemptTimeout: t.after}
}

func (t *attempt) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		at, sooner := t.deadline(ctx, call)
		switch {
		case !sooner:
			return next(ctx, call)
		case call.Held() && !t.body:
			return t.answer(ctx, call, at, next)
		default:
			return t.whole(ctx, call, at, next)
		}
	}
}

// A limit is how long something may take.
type limit struct {
	scope string
	after time.Duration
	cause error // of the contexts that end by it
}

func newLimit(scope, function string, d time.Duration) *limit {
	if d <= 0 {
		panic(fmt.Sprintf("timeout: %s(%v) would fail every call; give a positive duration, or leave it out for no limit", function, d))
	}
	return &limit{scope, d, &Error{Scope: scope, Limit: d}}
}

// deadline returns when the limit is reached, and whether that is before ctx
// ends anyway.
func (l *limit) deadline(ctx context.Context, call *backstay.Call) (time.Time, bool) {
	now := time.Now()
	call.BeganAt(now)
	at := now.Add(l.after)
	d, ok := ctx.Deadline()
	return at, !ok || at.Before(d)
}

// whole limits the time to the end of the call.
func (l *limit) whole(ctx context.Context, call *backstay.Call, at time.Time, next backstay.Func) error {
	c := deadline.New(ctx, at, &l.cause)
	if call.Held() {
		call.OnDone(func(error) { c.Finish() })
	} else {
		defer c.Finish()
	}
	return l.explain(next(c, call), c)
}

// answer limits the time to the answer of a call whose result lives on: the
// context must too.
func (l *limit) answer(ctx context.Context, call *backstay.Call, at time.Time, next backstay.Func) error {
	c := deadline.NewStoppable(ctx, at, l.cause)
	call.OnDone(func(error) { c.Finish() })
	err := next(c, call)
	if !c.Stop() && (err == nil || answered(call)) {
		return &Error{Scope: l.scope, Limit: l.after} // the answer cannot be read: its context has ended
	}
	return l.explain(err, c)
}

// answered reports whether the call has a result, which a failure such as a 503
// has too.
func answered(call *backstay.Call) bool {
	_, ok := backstay.Result[any](call)
	return ok
}

// explain returns err, the end of what ran under c, as an Error where it is a
// timeout: c ended by its own deadline, and err is the function's way to say
// so. Another error that arrives late is still the real one.
func (l *limit) explain(err error, c interface{ Expired() bool }) error {
	if err == nil || !interrupted(err) || !c.Expired() {
		return err
	}
	if t, ok := err.(interface{ Timeout() bool }); ok && t.Timeout() && errors.Is(err, l.cause) {
		return err // net/http and others return the cause of the context
	}
	return &Error{Scope: l.scope, Limit: l.after, Err: err}
}

// interrupted reports whether err is what a function returns whose context
// has ended.
func interrupted(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || backstay.Classify(err) == backstay.Canceled {
		return true
	}
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// An Error is the end of a call or attempt whose time was up. It is
// context.DeadlineExceeded to errors.Is, and a net.Error that is a timeout.
type Error struct {
	// Scope is "call" or "attempt".
	Scope string
	// Limit is the time that was allowed.
	Limit time.Duration
	// Err is what the function returned when its context ended, or nil.
	Err error
}

// Error says which limit it was, and what the call waited for if nothing was sent.
func (e *Error) Error() string {
	text := fmt.Sprintf("timeout: %s took longer than %v", e.Scope, e.Limit)
	if backstay.NotSent(e.Err) && e.Err.Error() != context.DeadlineExceeded.Error() {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is context.DeadlineExceeded.
func (e *Error) Is(target error) bool { return target == context.DeadlineExceeded }

// Allowed returns Limit, for those that match it without this package.
func (e *Error) Allowed() time.Duration { return e.Limit }

// Timeout returns true, as net.Error asks.
func (e *Error) Timeout() bool { return true }

// Temporary returns true, as net.Error asks.
func (e *Error) Temporary() bool { return true }

// Details tells policies that another attempt may be faster.
func (e *Error) Details() backstay.Error {
	return backstay.Error{Class: backstay.Transient, Type: "timeout"}
}
