package retry_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

func TestConfigsRefuseNonsense(t *testing.T) {
	for _, cfg := range []retry.Config{
		{MaxAttempts: 1}, {MaxAttempts: -2}, {MaxRetryAfter: -1},
		{Budget: plenty(), NoBudget: true}, {Budget: new(retry.Budget)}, {MaxAttempts: retry.Unlimited, NoBudget: true},
	} {
		if cfg.Validate() == nil {
			t.Errorf("%+v.Validate() = nil, want an error", cfg)
		}
		panics(t, fmt.Sprintf("New(%+v)", cfg), func() { retry.New(cfg) })
	}
	for _, cfg := range []retry.Config{{}, {MaxAttempts: 2}, {MaxAttempts: retry.Unlimited}, {NoBudget: true}} {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%+v.Validate() = %v, want nil", cfg, err)
		}
	}
}

func TestPolicyNamesItsRetry(t *testing.T) {
	for want, cfg := range map[string]retry.Config{
		"retry(3)": {}, "retry(5)": {MaxAttempts: 5}, "retry(unlimited)": {MaxAttempts: retry.Unlimited},
	} {
		if got := backstay.New(retry.New(cfg)).String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// and where it can be seen, layers are refused.
func TestRetriesInOnePolicyAreRefused(t *testing.T) {
	a, b := retry.New(retry.Config{}), retry.New(retry.Config{})
	panics(t, "New(retry, retry)", func() { backstay.New(a, b) })
	panics(t, "New(retry, policy of retry)", func() { backstay.New(a, timeout.Attempt(s), backstay.New(b)) })
	panics(t, "New(breaker... retry under timeout.Attempt)", func() { backstay.New(timeout.Attempt(s), a) })
	if err := backstay.Check(timeout.Call(s), a, breaker.New(breaker.Config{})); err != nil {
		t.Errorf("Check(timeout, retry, breaker) = %v, want nil", err)
	}
}

// Unlimited attempts end with the budget or the deadline.
func TestUnlimitedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		cfg := retry.Config{MaxAttempts: retry.Unlimited, Backoff: retry.NoPause()}
		c.bind(retry.New(cfg))(t.Context())
		if c.attempts() != 11 || r.end(t) != "budget" {
			t.Errorf("Do without limits made %d attempts and ended for %q, want 11 and budget", c.attempts(), r.end(t))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		cfg := retry.Config{MaxAttempts: retry.Unlimited, Backoff: retry.Constant(s)}
		c.bind(timeout.Call(time.Minute), retry.New(cfg))(t.Context())
		if c.attempts() != 60 || r.end(t) != "deadline" {
			t.Errorf("Do within a minute made %d attempts and ended for %q, want 60 and deadline", c.attempts(), r.end(t))
		}
	})
}
