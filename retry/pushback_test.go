package retry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/retry"
)

// pushedBack is the failure of a callee that says when it wants the next attempt.
type pushedBack struct {
	wait time.Duration
	told bool
}

func (pushedBack) Error() string                             { return "pushed back" }
func (p pushedBack) Pushback() (wait time.Duration, ok bool) { return p.wait, p.told }
func (p pushedBack) Suppressed() string {
	if p.told && p.wait < 0 {
		return "server_veto"
	}
	return ""
}

// doubling are pauses of 1, 2, 4 and so on milliseconds.
func doubling() retry.Backoff {
	return retry.Custom(func() retry.Intervals { return &doubled{next: ms} })
}

type doubled struct{ next time.Duration }

func (d *doubled) NextBackOff() time.Duration { d.next *= 2; return d.next / 2 }

// G-6, G-7
func TestPushbackIsKeptToExactly(t *testing.T) {
	no := pushedBack{}
	back := func(d time.Duration) pushedBack { return pushedBack{d, true} }
	for _, row := range []struct {
		name     string
		failures []pushedBack
		at       []time.Duration // of the attempts
	}{
		{"none: backoff", []pushedBack{no, no, no}, []time.Duration{0, ms, 3 * ms, 7 * ms}},
		{"exactly as long as it says", []pushedBack{back(700 * ms)}, []time.Duration{0, 700 * ms}},
		{"at once", []pushedBack{back(0)}, []time.Duration{0, 0}},
		{"the backoff begins anew", []pushedBack{no, no, back(s), no, no}, []time.Duration{0, ms, 3 * ms, s + 3*ms, s + 4*ms, s + 6*ms}},
		{"longer than MaxRetryAfter: never", []pushedBack{back(31 * s)}, []time.Duration{0}},
		{"never", []pushedBack{back(-1)}, []time.Duration{0}},
		{"no more attempts than allowed", []pushedBack{back(0), back(0), back(0), back(0), back(0), back(0)}, []time.Duration{0, 0, 0, 0, 0, 0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			var answers []func() error
			for _, f := range row.failures {
				answers = append(answers, func() error { return f })
			}
			c := newCallee(append(answers, well)...)
			c.bind(retry.New(retry.Config{MaxAttempts: 6, Backoff: doubling()}))(t.Context())
			if len(c.at) != len(row.at) {
				t.Fatalf("%s: attempts at %v, want %v", row.name, c.at, row.at)
			}
			for i := range c.at {
				if c.at[i] != row.at[i] {
					t.Errorf("%s: attempts at %v, want %v", row.name, c.at, row.at)
					break
				}
			}
		})
	}
}

// G-6
func TestPushbackThatForbidsCountsAgainstTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.NewBudget(retry.BudgetConfig{Ratio: -1, PerSecond: 2})
		before := b.Balance()
		newCallee(func() error { return pushedBack{-1, true} }).bind(retry.New(retry.Config{Budget: b}))(t.Context())
		if got := before - b.Balance(); got != 1 {
			t.Errorf("a stop took %v from the budget, want 1", got)
		}
	})
}

// A pushback is about the callee as a whole, so another endpoint does not save
// the wait.
func TestPushbackHoldsForOtherEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(func() error { return pushedBack{s, true} }, well)
		c.bind(retry.New(retry.Config{}), balancer{[]string{"a", "b"}})(t.Context())
		if len(c.at) != 2 || c.at[1] != s {
			t.Errorf("attempts at %v, want the second after 1s", c.at)
		}
	})
}
