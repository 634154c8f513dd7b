package retry

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/clock"
)

// BudgetConfig describes a Budget. The zero value is fit for production.
type BudgetConfig struct {
	// Ratio is how many retries each call earns. 0 means 0.2, a retry for
	// every five calls; negative earns none.
	Ratio float64

	// PerSecond is how many retries each second earns, so that a target with
	// few calls can be retried at all. 0 means 10; negative earns none.
	PerSecond float64

	// Horizon is how long what was earned can be spent; one retry can be saved
	// up for longer, or a target with few calls would never have one. 0 means
	// 10 seconds.
	Horizon time.Duration
}

// Validate reports what is wrong with the config.
func (c BudgetConfig) Validate() error {
	switch {
	case math.IsNaN(c.Ratio) || math.IsInf(c.Ratio, 0) || c.Ratio > 10:
		return fmt.Errorf("retry: a budget's Ratio of %v makes no sense; it is retries per call, such as 0.2", c.Ratio)
	case math.IsNaN(c.PerSecond) || math.IsInf(c.PerSecond, 0):
		return fmt.Errorf("retry: a budget's PerSecond of %v makes no sense; it is retries per second, such as 10", c.PerSecond)
	case c.Horizon < 0:
		return fmt.Errorf("retry: a budget's Horizon of %v is negative; it is how long earned retries can be spent, such as 10s", c.Horizon)
	case c.Ratio < 0 && c.PerSecond < 0:
		return fmt.Errorf("retry: a budget that earns nothing never allows a retry; give a Ratio or PerSecond, or leave retry out")
	}
	return nil
}

// A Budget bounds retries to a share of the calls, so that a sick target gets
// 1.2 times its load and not MaxAttempts times. Calls earn retries, retries
// and hedges spend them, and when none is left a failure is final.
//
// Share one Budget among all that retry against a target: only together they
// keep the bound. It is safe for concurrent use; a call that needs no retry
// costs one atomic addition. Make it with NewBudget: the zero Budget allows
// nothing.
type Budget struct {
	ratio, perSecond float64
	horizon          time.Duration

	calls atomic.Int64 // since last

	mu      sync.Mutex
	last    time.Duration // when calls was read
	balance float64       // retries that can be spent
	recent  float64       // retries earned within about a horizon
}

// NewBudget returns a budget in which a second's worth of PerSecond has been
// earned. It panics if cfg is not valid.
func NewBudget(cfg BudgetConfig) *Budget {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	b := &Budget{ratio: cmp.Or(cfg.Ratio, 0.2), perSecond: cmp.Or(cfg.PerSecond, 10), horizon: cmp.Or(cfg.Horizon, 10*time.Second)}
	b.ratio, b.perSecond = max(b.ratio, 0), max(b.perSecond, 0)
	b.balance, b.recent, b.last = b.perSecond, b.perSecond, clock.Now()
	return b
}

// Deposit counts a call.
func (b *Budget) Deposit() { b.calls.Add(1) }

// Withdraw spends a retry and reports whether there was one to spend. It never
// blocks.
func (b *Budget) Withdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle()
	if b.balance < 1-slack {
		return false
	}
	b.balance = max(b.balance-1, 0)
	return true
}

// Balance returns how many retries could be spent now.
func (b *Budget) Balance() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settle()
	return b.balance
}

// refund gives a retry back that was not sent after all.
func (b *Budget) refund() {
	b.mu.Lock()
	b.balance++
	b.mu.Unlock()
}

// slack forgives what adding ratios such as 0.1 loses to rounding.
const slack = 1e-9

// settle earns what the calls and the time since the last time are worth, and
// forgets what has been earned longer ago than the horizon. Time is only looked
// at here, so calls count as spread evenly over it.
func (b *Budget) settle() {
	now := clock.Now()
	passed := max(now-b.last, 0)
	b.last = now
	earned := float64(b.calls.Swap(0))*b.ratio + b.perSecond*passed.Seconds()
	kept, lost := 1.0, 1.0 // shares of earned and of recent
	if passed > b.horizon {
		kept = float64(b.horizon) / float64(passed)
	} else if passed < b.horizon {
		lost = float64(passed) / float64(b.horizon)
	}
	b.recent = b.recent*(1-lost) + earned*kept
	// A target with few calls may need longer than the horizon to earn a retry.
	b.balance = min(b.balance+earned, max(b.recent, 1+b.ratio))
}

// maxTargets bounds the memory of a policy that is used for everything on the
// web. Targets beyond it share one budget.
const maxTargets = 1024

// budgets holds a Budget for each target, in a map that is copied to add one:
// a lookup takes no lock and, unlike that of a sync.Map, does not allocate.
type budgets struct {
	known atomic.Pointer[map[string]*Budget]
	mu    sync.Mutex // held while known is replaced
}

func (b *budgets) of(target string, beyond *Budget) *Budget {
	known := b.all()
	if budget, ok := known[target]; ok {
		return budget
	}
	if len(known) >= maxTargets {
		return beyond
	}
	return b.add(target, beyond)
}

func (b *budgets) add(target string, beyond *Budget) *Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.all()
	if budget, ok := known[target]; ok {
		return budget
	}
	if len(known) >= maxTargets {
		return beyond
	}
	more := make(map[string]*Budget, len(known)+1)
	maps.Copy(more, known)
	more[target] = NewBudget(BudgetConfig{})
	b.known.Store(&more)
	return more[target]
}

func (b *budgets) all() map[string]*Budget {
	if m := b.known.Load(); m != nil {
		return *m
	}
	return nil
}
