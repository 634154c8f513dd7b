package backstay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// inside calls fn as a Resp under a policy of look, after fn has returned.
func inside[Resp any](t *testing.T, fn func(context.Context) (Resp, error), look func(call *backstay.Call)) Resp {
	t.Helper()
	v, _ := backstay.Do(context.Background(), backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		look(call)
		return nil
	})), "op", fn)
	return v
}

func TestResultIsATypedView(t *testing.T) {
	var before bool
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_, before = backstay.Result[int](call)
		return next(ctx, call)
	}))
	if before {
		t.Error("Result before next = _, true, want false")
	}
	inside(t, ok, func(call *backstay.Call) {
		if v, ok := backstay.Result[int](call); v != 1 || !ok {
			t.Errorf("Result[int] = %v, %v, want 1, true", v, ok)
		}
		if v, ok := backstay.Result[any](call); v != 1 || !ok {
			t.Errorf("Result[any] = %v, %v, want 1, true", v, ok)
		}
		if v, ok := backstay.Result[string](call); v != "" || ok {
			t.Errorf("Result[string] of an int = %q, %v, want none", v, ok)
		}
	})
	reader := io.NopCloser(strings.NewReader(""))
	inside(t, func(context.Context) (io.ReadCloser, error) { return reader, nil }, func(call *backstay.Call) {
		if v, ok := backstay.Result[io.ReadCloser](call); v != reader || !ok {
			t.Errorf("Result[io.ReadCloser] = %v, %v, want the one returned", v, ok)
		}
		if v, ok := backstay.Result[io.Reader](call); v != reader || !ok {
			t.Errorf("Result[io.Reader] = %v, %v, want the one returned", v, ok)
		}
		if _, ok := backstay.Result[io.Writer](call); ok {
			t.Error("Result[io.Writer] of a reader = _, true, want false")
		}
	})
}

// What a function returns beside an error is for its caller alone, since it is
// mostly a nil pointer.
func TestAnErrorHasNoResult(t *testing.T) {
	got := inside(t, func(context.Context) (*note, error) { return &note{}, errBoom }, func(call *backstay.Call) {
		if v, ok := backstay.Result[*note](call); v != nil || ok {
			t.Errorf("Result after an error = %v, %v, want none", v, ok)
		}
		if v, ok := backstay.Result[any](call); v != nil || ok {
			t.Errorf("Result[any] after an error = %v, %v, want none", v, ok)
		}
	})
	if got == nil {
		t.Error("Do = nil, want what the function returned beside the error")
	}
}

func TestSetResultTakesWhatTheCallReturns(t *testing.T) {
	if got := inside(t, ok, func(call *backstay.Call) {
		if backstay.SetResult(call, "no") || backstay.SetResult[any](call, nil) {
			t.Error("SetResult(string) of an int = true, want false")
		}
		if !backstay.SetResult[any](call, 2) || !backstay.SetResult(call, 3) {
			t.Error("SetResult(int) = false, want true")
		}
	}); got != 3 {
		t.Errorf("Do = %d, want 3, which was set", got)
	}
	var typed fmt.Stringer = (*answer)(nil)
	stringer := func(context.Context) (fmt.Stringer, error) { return nil, errBoom }
	if got := inside(t, stringer, func(call *backstay.Call) {
		if !backstay.SetResult[fmt.Stringer](call, nil) || !backstay.SetResult(call, (*answer)(nil)) || backstay.SetResult(call, 1) {
			t.Error("SetResult: want a nil interface and an implementation accepted, and an int not")
		}
	}); got != typed {
		t.Errorf("Do = %v, want the nil *answer", got)
	}
}

func TestRequestIsATypedView(t *testing.T) {
	policy := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if v, ok := backstay.Request[string](call); v != "req" || !ok {
			t.Errorf("Request[string] = %q, %v, want req", v, ok)
		}
		if v, ok := backstay.Request[fmt.Stringer](call); v != nil || ok {
			t.Errorf("Request[fmt.Stringer] of a string = %v, %v, want none", v, ok)
		}
		return next(ctx, call)
	}))
	echo := backstay.Wrap(policy, "echo", func(_ context.Context, s string) (string, error) { return s, nil })
	if got, err := echo(context.Background(), "req"); got != "req" || err != nil {
		t.Errorf("echo(req) = %q, %v, want req", got, err)
	}
}

// A request that cannot be copied fails the call before it is sent.
func TestRequestThatCannotBeCopied(t *testing.T) {
	var sent []string
	policy := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if _, ok := backstay.Request[*note](call); ok {
			t.Error("Request of what cannot be copied = _, true, want false")
		}
		err := next(ctx, call)
		if call.Sent() {
			t.Error("Sent() = true, want false")
		}
		return err
	}))
	if _, err := backstay.Bind(policy, notes(0, 1, &sent))(context.Background(), &note{}); err != errUsedUp || len(sent) != 0 {
		t.Errorf("call = %v after %d attempts, want %v after none", err, len(sent), errUsedUp)
	}
}

// Peek makes no copy and shows the one that there is.
func TestPeekCopiesNothing(t *testing.T) {
	copies := 0
	peek := func(call *backstay.Call, want *note) {
		t.Helper()
		before := copies
		got, ok := backstay.Peek[*note](call)
		if !ok || want != nil && got != want || want == nil && got == nil {
			t.Errorf("Peek() = %p, %v, want %p", got, ok, want)
		}
		if _, ok := backstay.Peek[string](call); ok {
			t.Error("Peek[string] of a *note = _, true, want false")
		}
		if copies != before {
			t.Errorf("Peek made %d copies, want none", copies-before)
		}
	}
	original := &note{}
	policy := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		peek(call, original)
		own, _ := backstay.Request[*note](call)
		if own == original || copies != 1 {
			t.Errorf("Request() made %d copies, want 1", copies)
		}
		peek(call, own)
		return next(ctx, call)
	}))
	call := backstay.Bind(policy, backstay.Op[*note, int]{
		Copy: func(n *note) (*note, error) { copies++; c := *n; return &c, nil },
		Do:   func(_ context.Context, call *backstay.Call, n *note) (int, error) { peek(call, n); return 1, nil },
	})
	if v, err := call(context.Background(), original); v != 1 || err != nil {
		t.Errorf("call = %v, %v, want 1", v, err)
	}
}

func TestPrepareFillsInTheCall(t *testing.T) {
	policy := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Op != "orders.Get" || call.Target != "42" || call.Attempt != 1 {
			t.Errorf("call = %q to %q, attempt %d, want orders.Get to 42, attempt 1", call.Op, call.Target, call.Attempt)
		}
		return next(ctx, call)
	}))
	call := backstay.Bind(policy, backstay.Op[int, int]{
		Name:    "orders.Get",
		Prepare: func(call *backstay.Call, req int) { call.Target = fmt.Sprint(req) },
		Do:      func(_ context.Context, call *backstay.Call, req int) (int, error) { return req + call.Attempt, nil },
	})
	if v, err := call(context.Background(), 42); v != 43 || err != nil {
		t.Errorf("call(42) = %v, %v, want 43", v, err)
	}
}

func TestBindAndWrapNeedAFunction(t *testing.T) {
	for want, build := range map[string]func(){
		"backstay: Bind needs an Op with a Do function": func() { backstay.Bind(nil, backstay.Op[int, int]{}) },
		"backstay: Wrap needs a function":               func() { backstay.Wrap[int, int](nil, "op", nil) },
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

// A middleware that finds no request to write to leaves out a key or a header
// that the call must not go without.
func TestARequestThatCannotBeCopiedOnceIsNotSent(t *testing.T) {
	for name, stack := range map[string][]backstay.Middleware{"alone": nil, "above forks": {splitting(2)}, "above retry": {retry.New(retry.Config{})}} {
		copies, sends := 0, 0
		writing := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			if _, ok := backstay.Request[*int](call); ok {
				t.Errorf("%s: Request = _, true with a Copy that fails, want false", name)
			}
			return next(ctx, call)
		})
		do := backstay.Bind(backstay.New(append([]backstay.Middleware{writing}, stack...)...), backstay.Op[*int, int]{
			Copy: func(n *int) (*int, error) {
				if copies++; copies == 1 {
					return nil, errBoom
				}
				return n, nil
			},
			Do: func(context.Context, *backstay.Call, *int) (int, error) {
				sends++
				return 0, nil
			},
		})
		if _, err := do(context.Background(), new(int)); !errors.Is(err, errBoom) || sends != 0 {
			t.Errorf("%s: the call ended with %v after %d sends, want %v and none", name, err, sends, errBoom)
		}
	}
}
