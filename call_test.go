package backstay_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
)

var errBoom = errors.New("boom")

// around is a middleware made of a function around next.
func around(f func(ctx context.Context, call *backstay.Call, next backstay.Func) error) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error { return f(ctx, call, next) }
	})
}

// do calls fn under the middleware and returns only its error.
func do(fn func(context.Context) (int, error), stack ...backstay.Middleware) error {
	_, err := backstay.Do(context.Background(), backstay.New(stack...), "op", fn)
	return err
}

func ok(context.Context) (int, error)   { return 1, nil }
func fail(context.Context) (int, error) { return 0, errBoom }

func TestOnDoneRunsEachOnceLastFirstWithTheError(t *testing.T) {
	for _, fn := range []func(context.Context) (int, error){ok, fail} {
		var got []string
		_, want := fn(nil)
		err := do(fn, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			for i := range 5 {
				call.OnDone(func(err error) { got = append(got, fmt.Sprint(i, err)) })
			}
			err := next(ctx, call)
			if len(got) != 0 {
				t.Errorf("OnDone ran %v before the call was over", got)
			}
			return err
		}))
		var order []string
		for i := 4; i >= 0; i-- {
			order = append(order, fmt.Sprint(i, want))
		}
		if !errors.Is(err, want) || !slices.Equal(got, order) {
			t.Errorf("OnDone ran %v, want %v", got, order)
		}
	}
}

// A function that is registered by one that runs is not lost.
func TestOnDoneWithinOnDone(t *testing.T) {
	for registered := 1; registered <= 4; registered++ {
		ran := 0
		_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			for range registered {
				call.OnDone(func(error) {
					ran++
					call.OnDone(func(error) { ran++ })
				})
			}
			return next(ctx, call)
		}))
		if ran != 2*registered {
			t.Errorf("%d functions that register one each ran %d times, want %d", registered, ran, 2*registered)
		}
	}
}

func TestOnDoneRunsOnPanicAndGoexit(t *testing.T) {
	leave := map[string]func(){"panic": func() { panic("leaving") }, "Goexit": runtime.Goexit}
	for name, leave := range leave {
		places := map[string]func(mw backstay.Middleware){
			"function": func(mw backstay.Middleware) {
				_ = do(func(context.Context) (int, error) { leave(); return 0, nil }, mw)
			},
			"middleware below": func(mw backstay.Middleware) {
				_ = do(ok, mw, around(func(context.Context, *backstay.Call, backstay.Func) error { leave(); return nil }))
			},
			"middleware above": func(mw backstay.Middleware) {
				_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
					_ = next(ctx, call)
					leave()
					return nil
				}), mw)
			},
			"another OnDone": func(mw backstay.Middleware) {
				_ = do(fail, mw, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
					call.OnDone(func(error) { leave() })
					return next(ctx, call)
				}))
			},
		}
		for place, run := range places {
			var got []error
			count := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				call.OnDone(func(err error) { got = append(got, err) })
				call.OnDone(func(err error) { got = append(got, err) })
				call.OnDone(func(err error) { got = append(got, err) })
				return next(ctx, call)
			})
			var recovered any
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				defer func() { recovered = recover() }()
				run(count)
			}()
			<-finished
			want := backstay.ErrPanicked
			if place == "another OnDone" {
				want = errBoom // it was over when it panicked
			}
			if !reflect.DeepEqual(got, []error{want, want, want}) {
				t.Errorf("%s in %s: OnDone was given %v, want 3 times %v", name, place, got, want)
			}
			if name == "panic" && recovered != "leaving" {
				t.Errorf("panic in %s: recovered %v, want it to go on unchanged", place, recovered)
			}
		}
	}
}

func TestOnDoneAfterAnAttemptIsAdoptedOrDiscarded(t *testing.T) {
	var got []string
	note := func(name string) func(error) {
		return func(err error) { got = append(got, fmt.Sprint(name, " ", err)) }
	}
	twice := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.OnDone(note("call"))
		for attempt := 1; ; attempt++ {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			f.Attempt = attempt
			if err = next(ctx, f); err == nil {
				call.Adopt(f)
				return nil
			}
			f.Discard(err)
		}
	})
	inner := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.OnDone(note(fmt.Sprint("attempt ", call.Attempt)))
		if call.Attempt == 1 {
			return errBoom
		}
		return next(ctx, call)
	})
	err := do(ok, twice, inner)
	want := []string{"attempt 1 boom", "attempt 2 <nil>", "call <nil>"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("OnDone ran %q, want %q", got, want)
	}
}

// An attempt has been sent once it is under way, not once it has ended: a
// middleware that gives it up must not take the call for one that is safe to
// make again.
func TestSentWhileTheAttemptRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		impatient := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			outer, _ := call.Fork()
			inner, _ := outer.Fork()
			go func() { inner.Discard(next(ctx, inner)) }()
			synctest.Wait()
			if !call.Sent() || !outer.Sent() {
				t.Error("Sent() = false while an attempt runs, want true")
			}
			if call.Repeatable(errBoom) {
				t.Error("Repeatable(boom) of an unsafe call = true while an attempt runs, want false")
			}
			call.Adopt(outer)
			return errBoom
		})
		unsafe := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			call.Unsafe = true
			return next(ctx, call)
		})
		_ = do(func(context.Context) (int, error) { <-time.After(time.Second); return 0, nil }, unsafe, impatient)
		<-time.After(2 * time.Second)
	})
}

func TestRepeatable(t *testing.T) {
	notSent := &backstay.Error{Err: errBoom, NotSent: true}
	rows := []struct {
		unsafe bool
		key    string
		sent   bool
		err    error
		want   bool
	}{
		{false, "", true, errBoom, true},
		{true, "", true, errBoom, false},
		{true, "k", true, errBoom, true},
		{true, "", true, notSent, true},
		{true, "", true, fmt.Errorf("dial: %w", notSent), true},
		{true, "", true, errors.Join(notSent, errBoom), false},
		{true, "", false, errBoom, true},
	}
	for _, r := range rows {
		_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			call.Unsafe, call.IdempotencyKey = r.unsafe, r.key
			if r.sent {
				_ = next(ctx, call)
			}
			if got := call.Repeatable(r.err); got != r.want {
				t.Errorf("Repeatable(%v) of %+v = %v, want %v", r.err, r, got, r.want)
			}
			return nil
		}))
	}
}

func TestTheClockIsReadOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context) (int, error) { <-time.After(time.Second); return 1, nil }
		_ = do(slow, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			began := call.Began()
			_ = next(ctx, call)
			ended := call.Ended()
			<-time.After(time.Second)
			call.BeganAt(time.Now())
			if call.Began() != began || call.Ended() != ended || ended-began != time.Second {
				t.Errorf("Began() to Ended() = %v, want 1s", call.Ended()-call.Began())
			}
			_ = next(ctx, call)
			if took := call.Ended() - call.Began(); took != 3*time.Second {
				t.Errorf("Began() to Ended() = %v after next was called again, want 3s", took)
			}
			call.Waited()
			if took := call.Ended() - call.Began(); took != 0 {
				t.Errorf("Began() to Ended() = %v after Waited, want 0s", took)
			}
			return nil
		}))
		_ = do(slow, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			call.BeganAt(time.Now())
			_ = next(ctx, call)
			if took := call.Ended() - call.Began(); took != time.Second {
				t.Errorf("BeganAt(time.Now()) to Ended() = %v, want 1s", took)
			}
			return nil
		}))
	})
}

type untried []string

func (u untried) Untried(_ context.Context, call *backstay.Call) bool {
	return slices.ContainsFunc(u, func(e string) bool { return !call.Tried(e) })
}

func TestEndpointsAreTriedByAllAttemptsTogether(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Elsewhere(ctx) {
			t.Error("Elsewhere() = true without a router, want false")
		}
		a, _ := call.Fork()
		b, _ := call.Fork()
		router := untried{"a", "b"}
		a.Try("a", router)
		if !b.Tried("a") || b.Tried("b") || !call.Elsewhere(ctx) {
			t.Errorf("after Try(a): Tried(a), Tried(b), Elsewhere() = %v, %v, %v, want true, false, true", b.Tried("a"), b.Tried("b"), call.Elsewhere(ctx))
		}
		b.Try("b", router)
		if call.Elsewhere(ctx) {
			t.Error("after Try(a), Try(b): Elsewhere() = true, want false")
		}
		if a.Endpoint != "a" || b.Endpoint != "b" || call.Endpoint != "" {
			t.Errorf("Endpoints = %q, %q, %q, want a, b and none", a.Endpoint, b.Endpoint, call.Endpoint)
		}
		a.Discard(nil)
		call.Adopt(b)
		if call.Endpoint != "b" {
			t.Errorf("Endpoint after Adopt = %q, want b", call.Endpoint)
		}
		return nil
	}))
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Tried("a") || call.Elsewhere(ctx) || call.Endpoint != "" {
			t.Error("the next call knows what the last one has tried")
		}
		return nil
	}))
}

// Try tells whether the endpoint is new, Tries how many there were: of all
// attempts together, those that overlap too.
func TestTriesCountsTheEndpointsOfAllAttempts(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		try := func(c *backstay.Call, endpoint string, isNew bool, tries int) {
			t.Helper()
			if got := c.Try(endpoint, nil); got != isNew || c.TriedCount() != tries || c.Endpoint != endpoint {
				t.Errorf("Try(%s), Tries(), Endpoint = %v, %d, %s; want %v, %d, %[1]s", endpoint, got, c.TriedCount(), c.Endpoint, isNew, tries)
			}
		}
		if got := call.TriedCount(); got != 0 {
			t.Errorf("Tries() of a new call = %d, want 0", got)
		}
		try(call, "a", true, 1)
		try(call, "a", false, 1)
		f, _ := call.Fork()
		try(f, "a", false, 1)
		try(f, "b", true, 2)
		try(call, "b", false, 2)
		g, _ := f.Fork()
		try(g, "c", true, 3)
		g.Discard(nil)
		f.Discard(nil)
		if call.TriedCount() != 3 || !call.Tried("c") || call.Tried("d") {
			t.Errorf("Tries(), Tried(c), Tried(d) = %d, %v, %v; want 3, true, false", call.TriedCount(), call.Tried("c"), call.Tried("d"))
		}
		return nil
	}))
	_ = do(ok, around(func(_ context.Context, call *backstay.Call, _ backstay.Func) error {
		if got := call.TriedCount(); got != 0 {
			t.Errorf("Tries() of the next call = %d, want 0", got)
		}
		return nil
	}))
}

// Of attempts that overlap and choose the same endpoint, one is told that it is
// new.
func TestOneOfManyAttemptsIsFirstAtAnEndpoint(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		var all sync.WaitGroup
		var first atomic.Int64
		for range 32 {
			f, _ := call.Fork()
			all.Go(func() {
				for range 100 {
					if f.Try("a", untried{"b"}) {
						first.Add(1)
					}
					if f.TriedCount() != 1 || !f.Tried("a") || !f.Elsewhere(ctx) {
						t.Error("Tries, Tried(a), Elsewhere after Try(a) are not 1, true, true")
					}
				}
				f.Discard(nil)
			})
		}
		for range 100 {
			if got := call.TriedCount(); got > 1 { // of one that has forks: the race detector looks
				t.Errorf("Tries() = %d, want 1 at most", got)
			}
		}
		all.Wait()
		if first.Load() != 1 {
			t.Errorf("Try(a) = true %d times, want once", first.Load())
		}
		return nil
	}))
}

func TestBarIsOfOneAttempt(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		a, _ := call.Fork()
		b, _ := call.Fork()
		a.Bar()
		if !a.Barred() || b.Barred() || call.Barred() {
			t.Errorf("Barred() = %v, %v, %v, want true, false, false", a.Barred(), b.Barred(), call.Barred())
		}
		call.Adopt(a)
		b.Discard(nil)
		if !call.Barred() {
			t.Error("Barred() = false after Adopt, want true")
		}
		return nil
	}))
}

func TestMoveIsOfOneAttempt(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		mark := call.Begin()
		call.Move("b")
		if !call.Moved() || call.Endpoint != "b" {
			t.Errorf("Moved(), Endpoint after Move = %v, %q, want true, b", call.Moved(), call.Endpoint)
		}
		call.Try("a", nil)
		call.Move("b")
		if got := call.AppendTried([]string{"x"}); !slices.Equal(got, []string{"x", "b", "a"}) {
			t.Errorf("AppendTried(x) = %q, want x, b, a", got)
		}
		a := call.Split(mark)
		b, _ := call.Fork()
		if !a.Moved() || b.Moved() || call.Moved() {
			t.Errorf("Moved() = %v, %v, %v, want true, false, false", a.Moved(), b.Moved(), call.Moved())
		}
		b.Move("c")
		if got := call.AppendTried(nil); !slices.Equal(got, []string{"b", "a", "c"}) {
			t.Errorf("AppendTried() after a fork has moved = %q, want b, a, c", got)
		}
		b.Discard(nil)
		call.Adopt(a)
		if !call.Moved() || call.Endpoint != "b" {
			t.Errorf("Moved(), Endpoint after Adopt = %v, %q, want true, b", call.Moved(), call.Endpoint)
		}
		return nil
	}))
}

func TestForksMoveAtOnce(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		var all sync.WaitGroup
		for _, endpoint := range []string{"a", "b", "c"} {
			fork, _ := call.Fork()
			all.Go(func() {
				fork.Move(endpoint)
				if got := fork.AppendTried(nil); !slices.Contains(got, endpoint) || !fork.Tried(endpoint) {
					t.Errorf("AppendTried() after Move(%q) = %q, Tried() = %v", endpoint, got, fork.Tried(endpoint))
				}
				fork.Discard(nil)
			})
		}
		all.Wait()
		if n := call.TriedCount(); n != 3 {
			t.Errorf("TriedCount() = %d, want 3", n)
		}
		return next(ctx, call)
	}))
}
