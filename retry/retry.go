package retry

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
)

// Unlimited is a MaxAttempts that leaves the end to the caller's deadline and
// the budget.
const Unlimited = -1

// Config describes a retry. The zero value is fit for production.
type Config struct {
	// MaxAttempts counts the first attempt too. 0 means 3, Unlimited sets no
	// limit.
	MaxAttempts int

	// Backoff gives the pauses. The zero value means
	// Exponential(50*time.Millisecond, time.Second).
	Backoff Backoff

	// Budget bounds the retries to a share of the calls. nil means a
	// NewBudget(BudgetConfig{}) for each target of the calls.
	Budget *Budget

	// NoBudget leaves the budget out: every failed call may then be tried
	// MaxAttempts times, and so may the load be.
	NoBudget bool

	// MaxRetryAfter is the longest pause that a callee may ask for. Where it
	// asks for more, the failure is final. 0 means 30 seconds.
	MaxRetryAfter time.Duration

	// If reports whether to try again after err, in place of the class that
	// the error has. It is not asked about an error marked Permanent or
	// vetoed by the callee, nor whether trying again is harmless, or in time.
	// nil means Transient, Throttled and Pending. It must be safe for concurrent use.
	If func(err error) bool

	// Polling is for a call that its caller makes in a loop without pauses of
	// its own, such as a queue's long poll: a failure that is not retried for
	// want of budget is returned after the pause, not at once.
	Polling bool

	// Nested has the call retried although another retry of this package,
	// around this one or inside its attempts, retries too: the attempts
	// multiply. See Nesting in the package's documentation.
	Nested bool
}

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	switch {
	case c.MaxAttempts < Unlimited:
		return fmt.Errorf("retry: MaxAttempts is %d; give the number of attempts with the first, or Unlimited", c.MaxAttempts)
	case c.MaxAttempts == 1:
		return fmt.Errorf("retry: MaxAttempts counts the first attempt, so 1 never retries; give 2 or more, or leave retry out")
	case c.MaxRetryAfter < 0:
		return fmt.Errorf("retry: MaxRetryAfter is %v; give a positive duration", c.MaxRetryAfter)
	case c.Budget != nil && c.Budget.horizon == 0:
		return fmt.Errorf("retry: the Budget was not made by NewBudget and would never allow a retry; make it with NewBudget(BudgetConfig{})")
	case c.Budget != nil && c.NoBudget:
		return fmt.Errorf("retry: there is a Budget and NoBudget; keep one of them")
	case c.MaxAttempts == Unlimited && c.NoBudget:
		return fmt.Errorf("retry: Unlimited attempts without a budget hammer a target that is down; keep the budget, or limit the attempts")
	}
	return nil
}

// New returns a middleware that makes a call again when it has failed, under
// the rules in the package's documentation.
//
// It panics if cfg is not valid.
func New(cfg Config) backstay.Middleware {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	r := &retrier{
		attempts:      cmp.Or(cfg.MaxAttempts, 3),
		backoff:       cfg.Backoff.orDefault(),
		budget:        cfg.Budget,
		maxRetryAfter: cmp.Or(cfg.MaxRetryAfter, 30*time.Second),
		retryable:     cfg.If,
		polling:       cfg.Polling,
		nested:        cfg.Nested,
	}
	if r.budget == nil && !cfg.NoBudget {
		r.budget = NewBudget(BudgetConfig{})
		r.perTarget = new(budgets)
	}
	if r.retryable == nil {
		r.retryable = worthIt
	}
	return r
}

// worthIt reports whether another attempt may succeed where err was the end of
// one.
func worthIt(err error) bool {
	switch backstay.Classify(err) {
	case backstay.Transient, backstay.Throttled, backstay.Pending:
		return true
	}
	return false
}

type retrier struct {
	attempts      int
	backoff       Backoff
	budget        *Budget // that of calls without a target; nil for none
	perTarget     *budgets
	maxRetryAfter time.Duration
	retryable     func(error) bool
	polling       bool
	nested        bool
}

func (r *retrier) String() string {
	if r.attempts == Unlimited {
		return "retry(unlimited)"
	}
	return fmt.Sprintf("retry(%d)", r.attempts)
}

func (r *retrier) Traits() backstay.Traits { return backstay.Traits{Repeats: true, Forks: true} }

func (r *retrier) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		budget := r.budgetOf(call)
		if budget != nil {
			budget.Deposit()
		}
		mark := call.Begin()
		err := next(ctx, call)
		if err == nil {
			return nil
		}
		return r.again(ctx, call, call.Split(mark), next, budget, err)
	}
}

// again is kept out of Wrap's Func, whose frame every success pays for.
func (r *retrier) again(ctx context.Context, call, first *backstay.Call, next backstay.Func, budget *Budget, err error) error {
	s := series{retrier: r, next: next, call: call, budget: budget, last: first, moved: first.Endpoint != ""}
	if first.Sent() {
		s.sent = 1
	}
	return s.run(ctx, err)
}

func (r *retrier) budgetOf(call *backstay.Call) *Budget {
	if r.perTarget == nil || call.Target == "" {
		return r.budget
	}
	return r.perTarget.of(call.Target, r.budget)
}
