package retry_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// whether the calls come at once or slower than the horizon remembers.
func TestBudgetKeepsItsRatio(t *testing.T) {
	const calls = 10_000
	for _, ratio := range []float64{.0001, .0003, .001, .01, .05, .1, .2, .3, .5, .7, .9, .99, .9999, 2} {
		for _, gap := range []time.Duration{0, ms, 100 * ms, 3 * s, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				b := retry.NewBudget(retry.BudgetConfig{Ratio: ratio, PerSecond: -1})
				retries := 0
				for range calls {
					b.Deposit()
					for b.Withdraw() {
						retries++
					}
					<-time.After(gap)
				}
				if want := ratio * calls; math.Abs(float64(retries)-want) > 1 {
					t.Errorf("a budget of %v allowed %d retries for %d failures %v apart, want %v, one more or less", ratio, retries, calls, gap, want)
				}
			})
		}
	}
}

//
func TestRetriesKeepTheRatio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		budget := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
		call := c.bind(retry.New(retry.Config{Budget: budget, Backoff: retry.NoPause()}))
		for range 10_000 {
			call(t.Context())
		}
		if retries := c.attempts() - 10_000; retries < 1999 || retries > 2001 {
			t.Errorf("10000 calls that fail were retried %d times, want 2000, one more or less", retries)
		}
	})
}

// each second earns 10 by default.
func TestBudgetFloorPerSecond(t *testing.T) {
	for _, row := range []struct {
		perSecond float64
		want      int // in a minute, with the first second's in advance
	}{{0, 610}, {1, 61}, {.05, 3}} {
		synctest.Test(t, func(t *testing.T) {
			b := retry.NewBudget(retry.BudgetConfig{Ratio: -1, PerSecond: row.perSecond})
			retries := 0
			for range 6001 {
				for b.Withdraw() {
					retries++
				}
				<-time.After(10 * ms)
			}
			if retries < row.want-1 || retries > row.want+1 {
				t.Errorf("a budget with PerSecond %v allowed %d retries in a minute, want %d", row.perSecond, retries, row.want)
			}
		})
	}
}

func TestBudgetForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.NewBudget(retry.BudgetConfig{PerSecond: -1})
		for range 1000 {
			b.Deposit()
		}
		if got := b.Balance(); math.Abs(got-200) > 1e-6 {
			t.Errorf("Balance() = %v after 1000 calls, want 200", got)
		}
		<-time.After(5 * s)
		if got := b.Balance(); math.Abs(got-100) > 1e-6 {
			t.Errorf("Balance() = %v half a horizon later, want 100", got)
		}
		<-time.After(time.Hour)
		if got := b.Balance(); got > 1.2 {
			t.Errorf("Balance() = %v an hour later, want no more than a retry", got)
		}
	})
}

// a denial is the real result, at once.
func TestEmptyBudgetReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		cfg := retry.Config{Budget: empty(), Backoff: retry.Constant(s)}
		if err := c.bind(retry.New(cfg))(t.Context()); err != errSick || time.Since(c.began) != 0 {
			t.Errorf("Do without budget = %v after %v, want the failure itself at once", err, time.Since(c.began))
		}
		if got := r.end(t); got != "budget" {
			t.Errorf("the call ended for %q, want budget", got)
		}
	})
}

func empty() *retry.Budget { return retry.NewBudget(retry.BudgetConfig{Ratio: 1e-9, PerSecond: -1}) }

// a caller that polls is slowed nevertheless.
func TestPollingIsSlowedOnAnEmptyBudget(t *testing.T) {
	for _, row := range []struct {
		name     string
		deadline time.Duration
		stack    []backstay.Middleware
		want     time.Duration
	}{
		{"alone", time.Hour, nil, 50 * ms},
		{"with another endpoint", time.Hour, []backstay.Middleware{balancer{[]string{"a", "b"}}}, 50 * ms},
		{"near its deadline", 20 * ms, []backstay.Middleware{balancer{[]string{"a", "b"}}}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(sick)
			ctx, cancel := context.WithTimeout(t.Context(), row.deadline)
			defer cancel()
			cfg := retry.Config{Budget: empty(), Backoff: retry.Constant(50 * ms), Polling: true}
			err := c.bind(append([]backstay.Middleware{retry.New(cfg)}, row.stack...)...)(ctx)
			if err != errSick || time.Since(c.began) != row.want {
				t.Errorf("Do polling %s = %v after %v, want the failure itself after %v", row.name, err, time.Since(c.began), row.want)
			}
		})
	}
}

// targets do not spend one another's budget, unless they are given one to
// share.
func TestBudgetPerTarget(t *testing.T) {
	for _, row := range []struct {
		name   string
		shared bool
		want   int
	}{{"of its own", false, 20}, {"to share", true, 10}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := retry.Config{Backoff: retry.NoPause(), MaxAttempts: 100}
			if row.shared {
				cfg.Budget = retry.NewBudget(retry.BudgetConfig{})
			}
			c := newCallee(sick)
			n := 0
			c.prepare = func(call *backstay.Call) { n++; call.Target = fmt.Sprint(n) }
			call := c.bind(retry.New(cfg))
			call(t.Context())
			call(t.Context())
			if retries := c.attempts() - 2; retries != row.want {
				t.Errorf("two targets with a budget %s were retried %d times, want %d", row.name, retries, row.want)
			}
		})
	}
}

// Targets beyond the bound share a budget, and memory ends growing.
func TestTargetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		target := 0
		c.prepare = func(call *backstay.Call) { call.Target = fmt.Sprint(target) }
		call := c.bind(retry.New(retry.Config{Backoff: retry.NoPause(), MaxAttempts: 100}))
		retries := func() int {
			before := c.attempts()
			call(t.Context())
			return c.attempts() - before - 1
		}
		for target = range 1024 {
			if got := retries(); got != 10 {
				t.Fatalf("target %d was retried %d times, want the 10 of its own budget", target, got)
			}
		}
		beyond := 0
		for target = 1024; target < 1100; target++ {
			beyond += retries()
		}
		if beyond < 10 || beyond > 26 { // 10 and a fifth of the calls
			t.Errorf("76 targets beyond 1024 were retried %d times, want what one budget allows", beyond)
		}
	})
}

func TestBudgetsRefuseNonsense(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, cfg := range []retry.BudgetConfig{
		{Ratio: nan}, {Ratio: inf}, {Ratio: -inf}, {Ratio: 11}, {PerSecond: nan}, {PerSecond: inf},
		{Horizon: -1}, {Ratio: -1, PerSecond: -1},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%+v.Validate() = nil, want an error", cfg)
		}
		panics(t, fmt.Sprintf("NewBudget(%+v)", cfg), func() { retry.NewBudget(cfg) })
	}
	for _, cfg := range []retry.BudgetConfig{{}, {Ratio: 2}, {Ratio: -1}, {PerSecond: -1}, {Horizon: 1}} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v.Validate() = %v, want nil", cfg, err)
		}
	}
}

func TestZeroBudgetAllowsNothing(t *testing.T) {
	var b retry.Budget
	b.Deposit()
	if b.Withdraw() || b.Balance() != 0 {
		t.Errorf("the zero Budget has %v, want 0", b.Balance())
	}
}

// Many goroutines together never spend more than was earned.
func TestBudgetUnderContention(t *testing.T) {
	b := retry.NewBudget(retry.BudgetConfig{Ratio: .1, PerSecond: -1, Horizon: time.Hour})
	var mu sync.Mutex
	var wg sync.WaitGroup
	spent := 0
	for range 20 {
		wg.Go(func() {
			mine := 0
			for range 5000 {
				b.Deposit()
				if b.Withdraw() {
					mine++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			spent += mine
		})
	}
	wg.Wait()
	for b.Withdraw() {
		spent++
	}
	if spent < 9995 || spent > 10_001 {
		t.Errorf("20 goroutines spent %d retries of 100000 calls at .1, want 10000", spent)
	}
}
