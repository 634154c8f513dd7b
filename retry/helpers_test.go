package retry_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

var (
	errSick = errors.New("sick")
	sick    = func() error { return errSick }
	well    = func() error { return nil }
)

// throttled is the error of a callee that wants fewer calls.
func throttled(after time.Duration) func() error {
	return func() error {
		return &backstay.Error{Err: errSick, Class: backstay.Throttled, RetryAfter: after}
	}
}

func unavailable(after time.Duration) func() error {
	return func() error {
		return &backstay.Error{Err: errSick, Class: backstay.Transient, RetryAfter: after}
	}
}

// A callee answers its attempts one after the other; the last answer holds for
// all that follow. It notes when each came.
type callee struct {
	mu      sync.Mutex
	began   time.Time
	answers []func() error
	at      []time.Duration
	numbers []int
	prepare func(*backstay.Call)
	copies  int // how often the request can be copied; 0 for always
}

func newCallee(answers ...func() error) *callee {
	return &callee{began: time.Now(), answers: answers}
}

func (c *callee) answer(call *backstay.Call) error {
	c.mu.Lock()
	n := len(c.at)
	c.at = append(c.at, time.Since(c.began))
	c.numbers = append(c.numbers, call.Attempt)
	c.mu.Unlock()
	return c.answers[min(n, len(c.answers)-1)]()
}

func (c *callee) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.at)
}

var errUsedUp = errors.New("the body is used up")

// bind returns a function that calls c under the middleware.
func (c *callee) bind(stack ...backstay.Middleware) func(context.Context) error {
	copied := 0
	op := backstay.Op[int, int]{
		Name:    "test",
		Prepare: func(call *backstay.Call, _ int) { c.tell(call) },
		Do:      func(_ context.Context, call *backstay.Call, n int) (int, error) { return n, c.answer(call) },
	}
	if c.copies > 0 {
		op.Copy = func(n int) (int, error) {
			if copied++; copied > c.copies {
				return 0, errUsedUp
			}
			return n, nil
		}
	}
	f := backstay.Bind(backstay.New(stack...), op)
	return func(ctx context.Context) error {
		_, err := f(ctx, 1)
		return err
	}
}

func (c *callee) tell(call *backstay.Call) {
	if c.prepare != nil {
		c.prepare(call)
	}
}

// watch has the events of c's calls recorded.
func (c *callee) watch() *recorder {
	r := &recorder{}
	c.prepare = func(call *backstay.Call) { call.Watch(r) }
	return r
}

type recorder struct {
	mu     sync.Mutex
	events []backstay.Event
}

func (r *recorder) Observe(_ *backstay.Call, e backstay.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// end returns the reason of the only EventGiveUp, or "".
func (r *recorder) end(t *testing.T) string {
	t.Helper()
	reasons := []string{}
	for _, e := range r.events {
		if e.Kind == backstay.EventGiveUp {
			reasons = append(reasons, e.Reason)
		}
	}
	switch len(reasons) {
	case 0:
		return ""
	case 1:
		return reasons[0]
	}
	t.Errorf("gave up for %v, want one reason", reasons)
	return ""
}

// every returns a config with pauses of d and without a budget.
func every(d time.Duration) retry.Config {
	return retry.Config{Backoff: retry.Constant(d), NoBudget: true}
}

func wantTimes(t *testing.T, c *callee, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(c.at, want) {
		t.Errorf("attempts came at %v, want %v", c.at, want)
	}
}

// pauses returns the first n pauses under b, as a call sees them.
func pauses(t *testing.T, b retry.Backoff, n int) (all []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		c.bind(retry.New(retry.Config{MaxAttempts: n + 1, Backoff: b, NoBudget: true}))(t.Context())
		for i := range n {
			all = append(all, c.at[i+1]-c.at[i])
		}
	})
	return all
}

// A balancer gives attempts its endpoints in turn and knows which are untried.
type balancer struct{ endpoints []string }

func (b balancer) Traits() backstay.Traits { return backstay.Traits{Picks: true} }

func (b balancer) Untried(_ context.Context, call *backstay.Call) bool {
	return slices.ContainsFunc(b.endpoints, func(e string) bool { return !call.Tried(e) })
}

func (b balancer) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		pick := b.endpoints[(call.Attempt-1)%len(b.endpoints)]
		for _, e := range b.endpoints {
			if !call.Tried(e) {
				pick = e
				break
			}
		}
		call.Try(pick, b)
		return next(ctx, call)
	}
}

// rejecting turns away the attempts for which when holds.
func rejecting(when func(*backstay.Call) bool, err error) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			if when(call) {
				return err
			}
			return next(ctx, call)
		}
	})
}

func isNot(t *testing.T, err, target error) {
	t.Helper()
	if errors.Is(err, target) {
		t.Errorf("errors.Is(%v, %v) = true, want false", err, target)
	}
}

func is(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("errors.Is(%v, %v) = false, want true", err, target)
	}
}

func panics(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if v := recover(); v == nil {
			t.Errorf("%s did not panic, want a sentence that says how to mend it", name)
		}
	}()
	f()
}
