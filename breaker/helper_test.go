package breaker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
)

const (
	s  = time.Second
	ms = time.Millisecond
)

// Short names for what the rows are made of.
const (
	Closed     = breaker.Closed
	Open       = breaker.Open
	HalfOpen   = breaker.HalfOpen
	ForcedOpen = breaker.ForcedOpen
	Disabled   = breaker.Disabled
)

var errSick = errors.New("sick")

// A step does something at a time since the start, and says in which state it
// leaves the breaker.
type step struct {
	at   time.Duration
	do   func(t *testing.T, b *breaker.Breaker)
	want breaker.State
}

// run takes a new breaker through the steps in virtual time.
func run(t *testing.T, cfg breaker.Config, steps []step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		b := breaker.New(cfg)
		start := time.Now()
		for i, st := range steps {
			pass(time.Until(start.Add(st.at)))
			st.do(t, b)
			if got := b.State(); got != st.want {
				t.Fatalf("step %d, at %v: State() = %v, want %v", i, time.Since(start), got, st.want)
			}
		}
	})
}

// pass lets virtual time pass, and what is due at its end happen.
func pass(d time.Duration) {
	take(d)
	synctest.Wait()
}

func take(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

// do makes a call of f through b.
func do(ctx context.Context, b backstay.Middleware, f func(context.Context) error) error {
	_, err := backstay.Do(ctx, backstay.New(b), "op", func(ctx context.Context) (int, error) { return 0, f(ctx) })
	return err
}

// after returns a function that takes d and returns err.
func after(d time.Duration, err error) func(context.Context) error {
	return func(context.Context) error { take(d); return err }
}

// ends returns a step in which a call ends with err, after d.
func ends(err error, d time.Duration) func(*testing.T, *breaker.Breaker) {
	return func(t *testing.T, b *breaker.Breaker) {
		t.Helper()
		if got := do(t.Context(), b, after(d, err)); got != err {
			t.Errorf("Do() = %v, want %v", got, err)
		}
	}
}

var ok, fail = ends(nil, 0), ends(errSick, 0)

// times repeats a step.
func times(n int, step func(*testing.T, *breaker.Breaker)) func(*testing.T, *breaker.Breaker) {
	return func(t *testing.T, b *breaker.Breaker) {
		t.Helper()
		for range n {
			step(t, b)
		}
	}
}

// rejected is a step in which a call is turned away.
func rejected(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	err := do(t.Context(), b, func(context.Context) error { t.Error("the call passed, want a rejection"); return nil })
	if !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("Do() = %v, want breaker.ErrOpen", err)
	}
}

// trip opens a breaker that has MinCalls of one or ConsecutiveFailures.
func trip(t *testing.T, b *breaker.Breaker) {
	t.Helper()
	fail(t, b)
	if got := b.State(); got != Open {
		t.Fatalf("State() after a failure = %v, want open", got)
	}
}

// brittle opens at the first failure, for 5 s to 6.25 s, and closes after one
// probe.
var brittle = breaker.Config{Name: "orders", ConsecutiveFailures: 1, Probes: 1}

// cooled is a time after which every brittle breaker tries a call.
const cooled = 7 * s
