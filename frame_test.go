package backstay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/backstay-go/backstay"
)

// An answer is a result that notes what becomes of it.
type answer struct {
	status   int
	released int
	done     func(error)
}

func (a *answer) String() string {
	if a == nil {
		return "none"
	}
	return fmt.Sprint(a.status)
}

var errStatus = errors.New("status 503")

// answers is an operation like HTTP's: a 503 is a failure to the policy and an
// answer to the caller. It returns all answers that it has made.
func answers(fn func(attempt int) (int, error)) (backstay.Op[int, *answer], *[]*answer) {
	made := new([]*answer)
	return backstay.Op[int, *answer]{
		Name: "answers",
		Do: func(context.Context, *backstay.Call, int) (*answer, error) {
			status, err := fn(len(*made) + 1)
			a := &answer{status: status}
			*made = append(*made, a)
			return a, err
		},
		Check: func(a *answer) error {
			if a.status == 503 {
				return fmt.Errorf("check: %w", errStatus)
			}
			return nil
		},
		Discard: func(a *answer) { a.released++ },
		Hold: func(a *answer, done func(error)) *answer {
			a.done = done
			return a
		},
	}, made
}

func TestHowACallEnds(t *testing.T) {
	type step = func(ctx context.Context, call *backstay.Call, next backstay.Func) error
	with := func(err error) func(int) (int, error) {
		return func(int) (int, error) { return 7, err }
	}
	status := func(codes ...int) func(int) (int, error) {
		return func(attempt int) (int, error) { return codes[attempt-1], nil }
	}
	instead := func(err error) step {
		return func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			_ = next(ctx, call)
			return err
		}
	}
	set := func(err error) step {
		return func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			_ = next(ctx, call)
			if !backstay.SetResult(call, &answer{status: 1}) {
				t.Error("SetResult(*answer) = false, want true")
			}
			return err
		}
	}
	again := func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		return next(ctx, call)
	}
	rows := []struct {
		name     string
		fn       func(int) (int, error)
		mw       step
		result   string
		err      error
		released []int // of the answers in turn, how often
	}{
		{"success", status(200), nil, "200", nil, []int{0}},
		{"failure with a result", status(503), nil, "503", nil, []int{0}},
		{"failure without one", with(errBoom), nil, "7", errBoom, []int{0}},
		{"failure wrapped", status(503), func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			return fmt.Errorf("wrapped: %w", next(ctx, call))
		}, "503", nil, []int{0}},
		{"failure unwrapped", status(503), func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			return errors.Unwrap(next(ctx, call))
		}, "503", nil, []int{0}},
		{"failure replaced", status(503), instead(errBoom), "none", errBoom, []int{1}},
		{"failure swallowed", status(503), instead(nil), "503", nil, []int{0}},
		{"error swallowed", with(errBoom), instead(nil), "7", nil, []int{0}},
		{"success refused", status(200), instead(errBoom), "none", errBoom, []int{1}},
		{"result in place of a failure", status(503), set(nil), "1", nil, []int{1}},
		{"result in place of a success", status(200), set(nil), "1", nil, []int{1}},
		{"result in place of an error", with(errBoom), set(nil), "1", nil, []int{0}},
		{"result and an error", with(errBoom), set(errBoom), "none", errBoom, []int{0}},
		{"next again after a failure", status(503, 200), again, "200", nil, []int{1, 0}},
		{"next again after a success", status(200, 503), again, "503", nil, []int{1, 0}},
		{"result before next", status(200), func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			backstay.SetResult(call, &answer{status: 1})
			return next(ctx, call)
		}, "200", nil, []int{0}},
		{"no call, no error", nil, func(context.Context, *backstay.Call, backstay.Func) error { return nil }, "none", nil, nil},
		{"no call, an error", nil, func(context.Context, *backstay.Call, backstay.Func) error { return errBoom }, "none", errBoom, nil},
	}
	for _, r := range rows {
		for _, observed := range []bool{false, true} { // OnDone takes another path
			var ended []error
			observer := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				if observed {
					call.OnDone(func(err error) { ended = append(ended, err) })
				}
				return next(ctx, call)
			})
			stack := []backstay.Middleware{observer}
			if r.mw != nil {
				stack = append(stack, around(r.mw))
			}
			op, made := answers(r.fn)
			got, err := backstay.Bind(backstay.New(stack...), op)(context.Background(), 0)
			if got.String() != r.result || !errors.Is(err, r.err) || (err == nil) != (r.err == nil) {
				t.Errorf("%s: call = %v, %v, want %v, %v", r.name, got, err, r.result, r.err)
			}
			for i, want := range r.released {
				if (*made)[i].released != want {
					t.Errorf("%s: answer %d was released %d times, want %d", r.name, i+1, (*made)[i].released, want)
				}
			}
			if len(*made) != len(r.released) {
				t.Errorf("%s: %d attempts, want %d", r.name, len(*made), len(r.released))
			}
			if got != nil && got.done != nil {
				if len(ended) != 0 {
					t.Errorf("%s: OnDone ran before the result was finished with", r.name)
				}
				got.done(nil)
			}
			if observed && (len(ended) != 1 || !errors.Is(ended[0], r.err)) {
				t.Errorf("%s: OnDone was given %v, want [%v]", r.name, ended, r.err)
			}
		}
	}
}

// The middleware sees a failure, the caller a result.
func TestFailureMeansErrorInsideThePolicy(t *testing.T) {
	op, _ := answers(func(int) (int, error) { return 503, nil })
	saw := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		err := next(ctx, call)
		a, ok := backstay.Result[*answer](call)
		if !errors.Is(err, errStatus) || !ok || a.status != 503 {
			t.Errorf("next = %v with result %v, want %v with 503", err, a, errStatus)
		}
		return err
	})
	if a, err := backstay.Bind(backstay.New(saw), op)(context.Background(), 0); err != nil || a.status != 503 {
		t.Errorf("call = %v, %v, want 503, nil", a, err)
	}
}

func TestAPanicInHoldEndsTheCall(t *testing.T) {
	op, made := answers(func(int) (int, error) { return 200, nil })
	op.Hold = func(*answer, func(error)) *answer { panic("hold") }
	var ended []error
	call := backstay.Bind(backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.OnDone(func(err error) { ended = append(ended, err) })
		return next(ctx, call)
	})), op)
	func() {
		defer func() { _ = recover() }()
		_, _ = call(context.Background(), 0)
		t.Error("the call returned, want a panic")
	}()
	if len(ended) != 1 || ended[0] != backstay.ErrPanicked || (*made)[0].released != 1 {
		t.Errorf("OnDone was given %v and the result released %d times, want [%v] and once", ended, (*made)[0].released, backstay.ErrPanicked)
	}
}

func TestAPanicReleasesTheResult(t *testing.T) {
	op, made := answers(func(int) (int, error) { return 200, nil })
	call := backstay.Bind(backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		panic("middleware")
	})), op)
	func() {
		defer func() { _ = recover() }()
		_, _ = call(context.Background(), 0)
	}()
	if (*made)[0].released != 1 {
		t.Errorf("the result was released %d times, want once", (*made)[0].released)
	}
}
