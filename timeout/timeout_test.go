package timeout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

var errBoom = errors.New("boom")

// wait waits for d and returns the context's error if it ends sooner.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call makes a call under the middleware and returns its error and how long it
// took.
func call(ctx context.Context, fn func(context.Context) error, stack ...backstay.Middleware) (time.Duration, error) {
	began := time.Now()
	_, err := backstay.Do(ctx, backstay.New(stack...), "op", func(ctx context.Context) (int, error) { return 1, fn(ctx) })
	return time.Since(began), err
}

// A limit that passed looks the same whatever the function made of it.
// H-28
func TestATimeoutLooksTheSameEverywhere(t *testing.T) {
	functions := map[string]func(ctx context.Context) error{
		"Err":       func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"Cause":     func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		"wrapped":   func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("reading: %w", ctx.Err()) },
		"url.Error": func(ctx context.Context) error { <-ctx.Done(); return &url.Error{Op: "Get", Err: context.Cause(ctx)} },
		"canceled":  func(ctx context.Context) error { <-ctx.Done(); return context.Canceled },
		"a class": func(ctx context.Context) error {
			<-ctx.Done()
			return &backstay.Error{Err: errBoom, Class: backstay.Canceled}
		},
		"net": func(ctx context.Context) error { <-ctx.Done(); return &net.OpError{Op: "read", Err: errTimeout{}} },
		"derived": func(ctx context.Context) error {
			c, cancel := context.WithCancel(ctx)
			defer cancel()
			<-c.Done()
			return c.Err()
		},
		"polling": func(ctx context.Context) error {
			for ctx.Err() == nil {
				<-time.After(time.Millisecond)
			}
			return ctx.Err()
		},
		"another retry": func(ctx context.Context) error {
			_, err := call(ctx, func(context.Context) error { return errBoom }, retry.New(retry.Config{MaxAttempts: retry.Unlimited, Nested: true, Backoff: retry.Constant(99 * time.Millisecond)}))
			if ctx.Err() == nil {
				<-ctx.Done()
			}
			return errors.Join(err, ctx.Err())
		},
	}
	limits := map[string]backstay.Middleware{
		"call":    timeout.Call(time.Second),
		"attempt": timeout.Attempt(time.Second),
		"whole":   timeout.WholeAttempt(time.Second),
	}
	for scope, limit := range limits {
		for name, fn := range functions {
			for _, held := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					var err error
					began := time.Now()
					if held {
						_, err = backstay.Do(context.Background(), backstay.New(limit), "op", func(ctx context.Context) (io.ReadCloser, error) { return nil, fn(ctx) })
					} else {
						_, err = call(context.Background(), fn, limit)
					}
					if took := time.Since(began); took < time.Second || took > time.Second+time.Millisecond {
						t.Errorf("%s, %s: took %v, want 1s", scope, name, took)
					}
					e, ok := errors.AsType[*timeout.Error](err)
					if !ok || e.Limit != time.Second || strings.TrimPrefix(scope, "whole") == scope && e.Scope != scope {
						t.Errorf("%s, %s: %#v, want a *timeout.Error of 1s", scope, name, err)
					}
					if n, ok := err.(net.Error); !ok || !n.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s, %s: %v is no net.Error that is a timeout and DeadlineExceeded", scope, name, err)
					}
					if !(&url.Error{Err: err}).Timeout() {
						t.Errorf("%s, %s: url.Error.Timeout() = false, want true", scope, name)
					}
					if backstay.Classify(err) != backstay.Transient && name != "a class" || backstay.TypeOf(err) != "timeout" {
						t.Errorf("%s, %s: class %v, type %q, want transient, timeout", scope, name, backstay.Classify(err), backstay.TypeOf(err))
					}
				})
			}
		}
	}
}

type errTimeout struct{}

func (errTimeout) Error() string   { return "i/o timeout" }
func (errTimeout) Timeout() bool   { return true }
func (errTimeout) Temporary() bool { return true }

// H-27
func TestTheFunctionSeesTheSoonerDeadline(t *testing.T) {
	rows := []struct {
		caller time.Duration
		limits []backstay.Middleware
		want   time.Duration
	}{
		{0, []backstay.Middleware{timeout.Call(3 * time.Second)}, 3 * time.Second},
		{2 * time.Second, []backstay.Middleware{timeout.Call(3 * time.Second)}, 2 * time.Second},
		{5 * time.Second, []backstay.Middleware{timeout.Call(3 * time.Second), timeout.Attempt(time.Second)}, time.Second},
		{5 * time.Second, []backstay.Middleware{timeout.Call(3 * time.Second), timeout.WholeAttempt(time.Second)}, time.Second},
		{time.Second, []backstay.Middleware{timeout.Call(3 * time.Second), timeout.Attempt(2 * time.Second)}, time.Second},
		{0, []backstay.Middleware{timeout.Call(3 * time.Second), timeout.Call(2 * time.Second)}, 2 * time.Second},
	}
	for _, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			ctx := context.Background()
			if r.caller > 0 {
				c, cancel := context.WithTimeout(ctx, r.caller)
				defer cancel()
				ctx = c
			}
			see := func(ctx context.Context) (io.ReadCloser, error) {
				at, ok := ctx.Deadline()
				if !ok || time.Until(at) != r.want {
					t.Errorf("caller %v, %v: Deadline in %v, want %v", r.caller, r.limits, time.Until(at), r.want)
				}
				return io.NopCloser(strings.NewReader("")), nil
			}
			body, _ := backstay.Do(ctx, backstay.New(r.limits...), "op", see)
			body.Close()
		})
	}
}

// The caller's own end is not ours.
func TestTheCallersEndIsNoTimeoutOfOurs(t *testing.T) {
	cause := errors.New("the caller's")
	for _, limit := range []backstay.Middleware{timeout.Call(2 * time.Second), timeout.Attempt(2 * time.Second), timeout.WholeAttempt(2 * time.Second)} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			var seen error
			took, err := call(ctx, func(ctx context.Context) error { err := wait(ctx, time.Hour); seen = context.Cause(ctx); return err }, limit)
			if err != context.Canceled || seen != cause || took != time.Second {
				t.Errorf("%v, cancelled: %v with cause %v after %v, want %v with %v after 1s", limit, err, seen, took, context.Canceled, cause)
			}
			deadline, cancelDeadline := context.WithTimeout(context.Background(), time.Second)
			defer cancelDeadline()
			_, err = call(deadline, func(ctx context.Context) error { return wait(ctx, time.Hour) }, limit)
			if err != context.DeadlineExceeded {
				t.Errorf("%v, caller's deadline: %v, want %v itself", limit, err, context.DeadlineExceeded)
			}
		})
	}
}

func TestARealErrorThatComesLateIsKept(t *testing.T) {
	for _, limit := range []backstay.Middleware{timeout.Call(time.Second), timeout.Attempt(time.Second)} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := call(context.Background(), func(context.Context) error { <-time.After(2 * time.Second); return errBoom }, limit); err != errBoom {
				t.Errorf("%v: %v, want %v itself", limit, err, errBoom)
			}
			if _, err := call(context.Background(), func(context.Context) error { <-time.After(2 * time.Second); return nil }, limit); err != nil {
				t.Errorf("%v: a success that comes late = %v, want nil", limit, err)
			}
		})
	}
}

func TestAnInnerTimeoutIsNotTheOuterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast := backstay.New(timeout.Call(time.Second))
		_, err := call(context.Background(), func(ctx context.Context) error {
			_, err := backstay.Do(ctx, fast, "inner", func(ctx context.Context) (int, error) { return 0, wait(ctx, time.Hour) })
			return err
		}, timeout.Call(2*time.Second))
		if e, ok := errors.AsType[*timeout.Error](err); !ok || e.Limit != time.Second {
			t.Errorf("call of 2s with a call of 1s inside = %v, want the inner one's timeout", err)
		}
		_, err = call(context.Background(), func(ctx context.Context) error { return wait(ctx, time.Hour) },
			timeout.Call(3*time.Second), retry.New(retry.Config{MaxAttempts: 2, NoBudget: true, Backoff: retry.NoPause()}), timeout.Attempt(time.Second))
		if e, ok := errors.AsType[*timeout.Error](err); !ok || e.Scope != "attempt" {
			t.Errorf("2 attempts of 1s in a call of 3s = %v, want the attempt's timeout", err)
		}
		took, err := call(context.Background(), func(ctx context.Context) error { return wait(ctx, time.Hour) },
			timeout.Call(1500*time.Millisecond), retry.New(retry.Config{MaxAttempts: 2, NoBudget: true, Backoff: retry.NoPause()}), timeout.Attempt(time.Second))
		if e, ok := errors.AsType[*timeout.Error](err); !ok || e.Scope != "call" || took != 1500*time.Millisecond {
			t.Errorf("2 attempts of 1s in a call of 1.5s = %v after %v, want the call's timeout after 1.5s", err, took)
		}
	})
}

// A slowBody can be read after d, and as long as its context is alive.
type slowBody struct {
	ctx context.Context
	d   time.Duration
}

func (b slowBody) Read([]byte) (int, error) {
	if wait(b.ctx, b.d) != nil {
		return 0, context.Cause(b.ctx)
	}
	return 0, io.EOF
}

func (b slowBody) Close() error { return nil }

// What covers the body and what does not: a call's limit does, an attempt's
// ends with the answer unless it is of the whole attempt.
// H-26
func TestLimitsAndSlowBodies(t *testing.T) {
	const s = time.Second
	rows := []struct {
		limit        backstay.Middleware
		answer, body time.Duration
		open, read   string // the scope of the timeout
	}{
		{timeout.Call(2 * s), s, s / 2, "", ""},
		{timeout.Call(2 * s), s, 9 * s, "", "call"},
		{timeout.Call(2 * s), 3 * s, 0, "call", ""},
		{timeout.Attempt(2 * s), s, 9 * s, "", ""},
		{timeout.Attempt(2 * s), 3 * s, 0, "attempt", ""},
		{timeout.WholeAttempt(2 * s), s, s / 2, "", ""},
		{timeout.WholeAttempt(2 * s), s, 9 * s, "", "attempt"},
		{timeout.WholeAttempt(2 * s), 3 * s, 0, "attempt", ""},
	}
	for _, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			var inner context.Context
			body, err := backstay.Do(context.Background(), backstay.New(r.limit), "op", func(ctx context.Context) (io.ReadCloser, error) {
				inner = ctx
				if err := wait(ctx, r.answer); err != nil {
					return nil, err
				}
				return slowBody{ctx, r.body}, nil
			})
			if got := scope(err); got != r.open {
				t.Errorf("%v, answer after %v: %v, want %q", r.limit, r.answer, err, r.open)
			}
			if err != nil {
				return
			}
			if inner.Err() != nil {
				t.Errorf("%v: the context has ended with the answer (%v), want it alive for the body", r.limit, inner.Err())
			}
			_, err = io.ReadAll(body)
			if got := scope(err); got != r.read {
				t.Errorf("%v, body after %v: %v, want %q", r.limit, r.body, err, r.read)
			}
			body.Close()
			if inner.Err() == nil {
				t.Errorf("%v: the context is alive after the body, want it ended", r.limit)
			}
		})
	}
}

func scope(err error) string {
	if e, ok := errors.AsType[*timeout.Error](err); ok {
		return e.Scope
	}
	if err != nil {
		return "none"
	}
	return ""
}

// An answer that comes as its context ends cannot be read, so it is none.
func TestAnAnswerAfterTheEndIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &closed{Reader: strings.NewReader("late")}
		got, err := backstay.Do(context.Background(), backstay.New(timeout.Attempt(time.Second)), "op", func(ctx context.Context) (io.ReadCloser, error) {
			<-ctx.Done()
			return body, nil
		})
		if got != nil || scope(err) != "attempt" || !body.closed {
			t.Errorf("an answer after the end = %v, %v, closed %v, want a timeout and the body closed", got, err, body.closed)
		}
	})
}

// A failure with a result, such as a 503, is an answer too; an error with none
// can be told however late it is.
func TestAFailureAfterTheEnd(t *testing.T) {
	for _, row := range []struct {
		name          string
		answer, check error
		want          string // what scope returns
	}{
		{"a 503", nil, errBoom, "attempt"},
		{"no answer", errBoom, nil, "none"},
	} {
		synctest.Test(t, func(t *testing.T) {
			body := &closed{Reader: strings.NewReader("why")}
			get := backstay.Bind(backstay.New(timeout.Attempt(time.Second)), backstay.Op[int, io.ReadCloser]{
				Do: func(ctx context.Context, _ *backstay.Call, _ int) (io.ReadCloser, error) {
					<-ctx.Done()
					return body, row.answer
				},
				Check:   func(io.ReadCloser) error { return row.check },
				Discard: func(b io.ReadCloser) { b.Close() },
				Hold:    func(b io.ReadCloser, done func(error)) io.ReadCloser { done(nil); return b },
			})
			got, err := get(context.Background(), 0)
			if late := row.want == "attempt"; scope(err) != row.want || (got == nil) != late || body.closed != late {
				t.Errorf("%s after the end = %v, %v, closed %v, want the scope %q", row.name, got, err, body.closed, row.want)
			}
		})
	}
}

type closed struct {
	io.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }

func TestTheContextEndsWithAPlainCall(t *testing.T) {
	for _, limit := range []backstay.Middleware{timeout.Call(time.Second), timeout.Attempt(time.Second)} {
		var inner context.Context
		_, _ = call(context.Background(), func(ctx context.Context) error { inner = ctx; ctx.Done(); return nil }, limit)
		if inner.Err() != context.Canceled {
			t.Errorf("%v: Err() after the call = %v, want %v", limit, inner.Err(), context.Canceled)
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = call(context.Background(), func(ctx context.Context) error { inner = ctx; ctx.Done(); panic("x") }, limit)
		}()
		if inner.Err() != context.Canceled {
			t.Errorf("%v: Err() after a panic = %v, want %v", limit, inner.Err(), context.Canceled)
		}
	}
}

func TestErrorKeepsWhatTheFunctionSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := &backstay.Error{Err: context.DeadlineExceeded, NotSent: true, Type: "dial"}
		_, err := call(context.Background(), func(ctx context.Context) error { <-ctx.Done(); return dial }, timeout.Call(time.Second))
		if !errors.Is(err, dial) || !backstay.NotSent(err) || backstay.TypeOf(err) != "timeout" {
			t.Errorf("timeout of a call that was not sent = %v, NotSent %v, want it known", err, backstay.NotSent(err))
		}
		if want := "timeout: call took longer than 1s"; err.Error() != want {
			t.Errorf("Error() = %q, want %q", err, want)
		}
	})
}

func TestLimitsMustBePositive(t *testing.T) {
	for want, build := range map[string]func(){
		"timeout: Call(0s) would fail every call; give a positive duration, or leave it out for no limit":          func() { timeout.Call(0) },
		"timeout: Attempt(-1s) would fail every call; give a positive duration, or leave it out for no limit":      func() { timeout.Attempt(-time.Second) },
		"timeout: WholeAttempt(-1s) would fail every call; give a positive duration, or leave it out for no limit": func() { timeout.WholeAttempt(-time.Second) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %q", got, want)
				}
			}()
			build()
		}()
	}
}

func TestString(t *testing.T) {
	p := backstay.New(timeout.Call(2*time.Second), timeout.Attempt(time.Second), timeout.WholeAttempt(time.Second))
	if got, want := p.String(), "timeout(2s) > attempt(1s) > attempt(1s)"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}
