package backstay_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
)

// note is a request that its copies can tell apart.
type note struct {
	lines []string
	used  bool // it was sent, and a body would be used up
}

// notes is an operation that copies its requests, at most max times, and fails
// until the last attempt. What it was sent is in sent, one entry an attempt.
func notes(max, attempts int, sent *[]string) backstay.Op[*note, int] {
	copies := 0
	return backstay.Op[*note, int]{
		Name: "notes",
		Copy: func(n *note) (*note, error) {
			if copies++; copies > max {
				return nil, errUsedUp
			}
			return &note{lines: slices.Clone(n.lines)}, nil
		},
		Do: func(_ context.Context, _ *backstay.Call, n *note) (int, error) {
			if n.used {
				n.lines = append(n.lines, "used")
			}
			n.used = true
			*sent = append(*sent, strings.Join(n.lines, ","))
			if len(*sent) < attempts {
				return 0, errBoom
			}
			return len(*sent), nil
		},
	}
}

var errUsedUp = errors.New("used up")

// adds is a middleware that writes a line into the request.
func adds(line string) backstay.Middleware {
	return around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if n, ok := backstay.Request[*note](call); ok {
			n.lines = append(n.lines, line)
		}
		return next(ctx, call)
	})
}

// forking makes up to n attempts, each a fork.
func forking(n int) backstay.Middleware {
	return around(func(ctx context.Context, call *backstay.Call, next backstay.Func) (last error) {
		for range n {
			f, err := call.Fork()
			if err != nil {
				return errors.Join(last, err)
			}
			if last = next(ctx, f); last == nil {
				call.Adopt(f)
				return nil
			}
			f.Discard(last)
		}
		return last
	})
}

// splitting is like forking, with the first attempt made by the call itself.
func splitting(n int) backstay.Middleware {
	return around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		mark := call.Begin()
		last := next(ctx, call)
		if last == nil {
			return nil
		}
		call.Split(mark).Discard(last)
		return forking(n-1).Wrap(next)(ctx, call)
	})
}

// repeating calls next again without a fork.
func repeating(n int) backstay.Middleware {
	return around(func(ctx context.Context, call *backstay.Call, next backstay.Func) (last error) {
		for range n {
			if last = next(ctx, call); last == nil {
				return nil
			}
		}
		return last
	})
}

// What is changed above the attempts holds for all of them, what is changed in
// one for that one alone; and the caller's request is never changed.
func TestEveryAttemptHasARequestOfItsOwn(t *testing.T) {
	rows := []struct {
		stack []backstay.Middleware
		want  []string
	}{
		{nil, []string{"r"}},
		{[]backstay.Middleware{adds("above")}, []string{"r,above"}},
		{[]backstay.Middleware{adds("above"), forking(3), adds("below")}, []string{"r,above,below", "r,above,below", "r,above,below"}},
		{[]backstay.Middleware{adds("above"), splitting(3), adds("below")}, []string{"r,above,below", "r,above,below", "r,above,below"}},
		{[]backstay.Middleware{splitting(2), adds("between"), splitting(2), adds("below")}, []string{"r,between,below", "r,between,below", "r,between,below"}},
		{[]backstay.Middleware{forking(2), adds("between"), forking(2), adds("below")}, []string{"r,between,below", "r,between,below", "r,between,below"}},
		{[]backstay.Middleware{adds("above"), repeating(2), adds("below")}, []string{"r,above,below", "r,above,below,below"}},
	}
	for _, r := range rows {
		var sent []string
		req := &note{lines: []string{"r"}}
		policy := backstay.New(r.stack...)
		n, err := backstay.Bind(policy, notes(100, len(r.want), &sent))(context.Background(), req)
		if err != nil || n != len(r.want) || !slices.Equal(sent, r.want) {
			t.Errorf("%v: attempts got %q (%v), want %q", policy, sent, err, r.want)
		}
		if len(req.lines) != 1 {
			t.Errorf("%v: the caller's request is now %q, want it unchanged", policy, req.lines)
		}
	}
}

func TestTheFirstForkNeverFails(t *testing.T) {
	for _, mw := range []backstay.Middleware{forking(2), splitting(2)} {
		var sent []string
		_, err := backstay.Bind(backstay.New(mw), notes(1, 2, &sent))(context.Background(), &note{})
		if len(sent) != 1 || !errors.Is(err, errUsedUp) {
			t.Errorf("a request that can be copied once was sent %d times (%v), want once and %v", len(sent), err, errUsedUp)
		}
	}
}

// A loser may be sent when the caller has its request back.
func TestForksDoNotReadTheRequestLate(t *testing.T) {
	var sent []string
	var loser func()
	overlapping := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		slow, _ := call.Fork()
		fast, _ := call.Fork()
		loser = func() { slow.Discard(next(ctx, slow)) }
		err := next(ctx, fast)
		call.Adopt(fast)
		return err
	})
	req := &note{lines: []string{"r"}}
	_, _ = backstay.Bind(backstay.New(overlapping), notes(2, 1, &sent))(context.Background(), req)
	req.lines[0] = "the caller's again"
	loser()
	if want := []string{"r", "r"}; !slices.Equal(sent, want) {
		t.Errorf("two attempts, one after the call, got %q, want %q", sent, want)
	}
}

// After Split the attempt that has failed still has the request it was sent
// with, for those who look at it then.
func TestSplitKeepsTheAttemptsRequest(t *testing.T) {
	var sent []string
	look := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		mark := call.Begin()
		err := next(ctx, call)
		a := call.Split(mark)
		if n, _ := backstay.Request[*note](a); !slices.Equal(n.lines, []string{"r", "below"}) {
			t.Errorf("Request after Split = %q, want [r below]", n.lines)
		}
		if !a.Sent() || !call.Sent() {
			t.Errorf("Sent() after Split = %v, %v, want true of both", a.Sent(), call.Sent())
		}
		call.Adopt(a)
		return err
	})
	call := backstay.Bind(backstay.New(look, adds("below")), notes(1, 2, &sent))
	if _, err := call(context.Background(), &note{lines: []string{"r"}}); err != errBoom {
		t.Errorf("call = %v, want %v", err, errBoom)
	}
}

func TestForksAreEndedByTheirOwner(t *testing.T) {
	mustPanic := func(what string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
		}()
		f()
	}
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		mustPanic("Discard of a call that is no fork", func() { call.Discard(nil) })
		a, _ := call.Fork()
		b, _ := a.Fork()
		mustPanic("Adopt of another call's fork", func() { call.Adopt(b) })
		a.Adopt(b)
		call.Adopt(a)
		return nil
	}))
}

func TestForksKnowWhatTheCallIs(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.Target, call.Endpoint, call.IdempotencyKey, call.Unsafe, call.Traced, call.Attempt = "t", "e", "k", true, true, 9
		f, _ := call.Fork()
		if f.Op != "op" || f.Target != "t" || f.Endpoint != "e" || f.IdempotencyKey != "k" || !f.Unsafe || !f.Traced || f.Attempt != 1 {
			t.Errorf("Fork() = %q %q %q %q %v %v %d, want those of the call, and attempt 1", f.Op, f.Target, f.Endpoint, f.IdempotencyKey, f.Unsafe, f.Traced, f.Attempt)
		}
		call.Adopt(f)
		return nil
	}))
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Op != "op" || call.Target+call.Endpoint+call.IdempotencyKey != "" || call.Unsafe || call.Traced || call.Attempt != 1 {
			t.Errorf("the next call begins with what the last one was")
		}
		return nil
	}))
}

// A loser of a loser that outlives the call writes to what they share: the
// memory of the call must not be somebody else's by then.
func TestAForkOfAForkMayOutliveTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, adopt := range []bool{true, false} {
			leaving := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				outer, _ := call.Fork()
				loser, _ := outer.Fork()
				go func() {
					<-time.After(time.Second)
					loser.Try("stale", nil)
					<-time.After(time.Second)
					loser.Discard(errBoom)
				}()
				if adopt {
					call.Adopt(outer)
				} else {
					outer.Discard(errBoom)
				}
				return nil
			})
			checking := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				<-time.After(1500 * time.Millisecond)
				if call.Tried("stale") {
					t.Error("a call knows what a loser of another one has tried")
				}
				return nil
			})
			for range 50 { // some of which find the memory in the pool
				_ = do(ok, leaving)
				go func() { _ = do(ok, checking) }()
			}
			<-time.After(5 * time.Second)
		}
	})
}

func TestALoserReleasesItsResultAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []*closeCounter
		fn := func(context.Context) (io.ReadCloser, error) {
			b := &closeCounter{Reader: strings.NewReader("x")}
			bodies = append(bodies, b)
			if len(bodies) == 1 {
				<-time.After(time.Second)
			}
			return b, nil
		}
		var ended error
		hedged := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			slow, _ := call.Fork()
			slow.OnDone(func(err error) { ended = err })
			go func() { _ = next(ctx, slow); slow.Discard(errBoom) }()
			synctest.Wait()
			fast, _ := call.Fork()
			err := next(ctx, fast)
			call.Adopt(fast)
			return err
		})
		body, err := backstay.Do(context.Background(), backstay.New(hedged), "op", fn)
		if err != nil {
			t.Fatalf("Do = %v, want nil", err)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if bodies[0].closes != 1 || bodies[1].closes != 0 || ended != errBoom {
			t.Errorf("the loser's body was closed %d times and the winner's %d, OnDone given %v; want 1, 0 and boom", bodies[0].closes, bodies[1].closes, ended)
		}
		body.Close()
	})
}

type closeCounter struct {
	io.Reader
	closes int
}

func (c *closeCounter) Close() error { c.closes++; return nil }
