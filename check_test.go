package backstay_test

import (
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// part is a middleware that is nothing but its name and traits.
type part struct {
	name   string
	traits backstay.Traits
}

func (p part) Wrap(next backstay.Func) backstay.Func { return next }
func (p part) String() string                        { return p.name }
func (p part) Traits() backstay.Traits               { return p.traits }

var (
	aRetry    = part{"retry", backstay.Traits{Repeats: true, Forks: true}}
	aHedge    = part{"hedge", backstay.Traits{Forks: true}}
	aBalancer = part{"balancer", backstay.Traits{Picks: true}}
	aGroup    = part{"breakers", backstay.Traits{NeedsEndpoint: true, Judges: true, Window: 10 * time.Second}}
	aKeys     = part{"keys", backstay.Traits{PerCall: true}}
	aSpan     = part{"span", backstay.Traits{PerAttempt: true}}
	aCall     = part{"timeout(2s)", backstay.Traits{PerCall: true, CallTimeout: 2 * time.Second}}
	anAttempt = part{"attempt(1s)", backstay.Traits{PerAttempt: true, AttemptTimeout: time.Second}}
)

func TestCheckRefusesWhatCannotWork(t *testing.T) {
	long := part{"attempt(3s)", backstay.Traits{PerAttempt: true, AttemptTimeout: 3 * time.Second}}
	equal := part{"attempt(2s)", backstay.Traits{PerAttempt: true, AttemptTimeout: 2 * time.Second}}
	aDay := part{"timeout(24h)", backstay.Traits{PerCall: true, CallTimeout: 24 * time.Hour}}
	hasty := part{"hasty", backstay.Traits{Judges: true, Window: 5 * time.Second}}
	rows := []struct {
		stack []backstay.Middleware
		want  string
	}{
		{[]backstay.Middleware{aRetry, aRetry}, "backstay: retry is above retry: their attempts would multiply; keep one of them"},
		{[]backstay.Middleware{aRetry, aKeys}, "backstay: keys is under retry, which would give every attempt one of its own; move it above"},
		{[]backstay.Middleware{aHedge, aCall}, "backstay: timeout(2s) is under hedge, which would give every attempt one of its own; move it above"},
		{[]backstay.Middleware{aSpan, aRetry}, "backstay: span is above retry, where it sees only whole calls; move it under retry"},
		{[]backstay.Middleware{aGroup, aBalancer}, "backstay: breakers is above balancer, which has not picked an endpoint yet; move it under balancer"},
		{[]backstay.Middleware{aBalancer, aHedge}, "backstay: balancer is above hedge, so every attempt would go to one endpoint; move it under hedge"},
		{[]backstay.Middleware{aBalancer, anAttempt, aGroup}, "backstay: attempt(1s) is above breakers, which would take its timeouts for callers giving up; move it under breakers"},
		{[]backstay.Middleware{aCall, long}, "backstay: attempt(3s) never fires, for timeout(2s) ends the whole call by then; make the attempt's shorter"},
		{[]backstay.Middleware{aCall, equal}, "backstay: attempt(2s) never fires, for timeout(2s) ends the whole call by then; make the attempt's shorter"},
		{[]backstay.Middleware{aCall, aCall}, "backstay: timeout(2s) never fires, for timeout(2s) above it ends the call by then; leave it out"},
		{[]backstay.Middleware{aCall, aDay}, "backstay: timeout(24h) never fires, for timeout(2s) above it ends the call by then; leave it out"},
		{[]backstay.Middleware{aBalancer, aGroup, aBalancer}, "backstay: balancer is above balancer, which would pick another endpoint; keep one of them\n" +
			"backstay: breakers is above balancer, which has not picked an endpoint yet; move it under balancer"},
		{[]backstay.Middleware{aRetry, aGroup, anAttempt}, "backstay: breakers needs a balancer above it, to pick the endpoint; add one, or use breaker.ByTarget"},
		{[]backstay.Middleware{hasty, long}, "backstay: hasty judges over 5s, less than two attempts of attempt(3s); make the window at least 6s"},
		{[]backstay.Middleware{nil, backstay.MiddlewareFunc(nil)}, "backstay: middleware 1 of the policy is nil: leave it out\nbackstay: middleware 2 of the policy is nil: leave it out"},
		{
			[]backstay.Middleware{backstay.New(aRetry), backstay.New(aSpan), backstay.New(aHedge, aBalancer), aKeys},
			"backstay: span is above hedge, where it sees only whole calls; move it under hedge\n" +
				"backstay: keys is under retry, which would give every attempt one of its own; move it above\n" +
				"backstay: keys is under hedge, which would give every attempt one of its own; move it above",
		},
	}
	for _, r := range rows {
		err := backstay.Check(r.stack...)
		if err == nil || err.Error() != r.want {
			t.Errorf("Check(%v) = %v, want %s", r.stack, err, r.want)
		}
		func() {
			defer func() {
				if got := recover(); got != r.want {
					t.Errorf("New(%v) panicked with %v, want %s", r.stack, got, r.want)
				}
			}()
			backstay.New(r.stack...)
		}()
	}
}

func TestCheckAcceptsTheCanonicalOrder(t *testing.T) {
	if err := backstay.Check(aKeys, aCall, aRetry, aHedge, aBalancer, aGroup, anAttempt, aSpan); err != nil {
		t.Errorf("Check(canonical order) = %v, want nil", err)
	}
	stricter := part{"timeout(1500ms)", backstay.Traits{PerCall: true, CallTimeout: 1500 * time.Millisecond}}
	if err := backstay.Check(aCall, stricter); err != nil {
		t.Errorf("Check(a limit under a longer one) = %v, want nil: each can fire", err)
	}
	if err := backstay.Check(timeout.Attempt(time.Second), timeout.WholeAttempt(time.Minute)); err != nil {
		t.Errorf("Check(a limit of the answer and one of the body) = %v, want nil", err)
	}
	picks := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func { return next })
	if err := backstay.Check(picks, aGroup); err != nil {
		t.Errorf("Check(func, by endpoint) = %v, want nil: a function may pick", err)
	}
	if err := backstay.Check(); err != nil {
		t.Errorf("Check() = %v, want nil", err)
	}
}

// The same breaker twice would count each call twice, and a probe of the outer
// one would be turned away by the inner.
func TestCheckRefusesAJudgeTwice(t *testing.T) {
	b, group := breaker.New(breaker.Config{Name: "b"}), breaker.NewGroup(breaker.Config{}, breaker.ByTarget)
	again := retry.New(retry.Config{})
	for _, r := range []struct {
		stack []backstay.Middleware
		want  string
	}{
		{[]backstay.Middleware{b, again, b}, "backstay: breaker(b) is in the policy twice: it would count each call twice and turn its own probes away; keep one of them, or make another"},
		{[]backstay.Middleware{group, backstay.New(again, group)}, "backstay: breaker(by target) is in the policy twice: it would count each call twice and turn its own probes away; keep one of them, or make another"},
	} {
		if err := backstay.Check(r.stack...); err == nil || err.Error() != r.want {
			t.Errorf("Check(%v) = %v, want %s", r.stack, err, r.want)
		}
	}
	another := breaker.New(breaker.Config{Name: "b"})
	for _, stack := range [][]backstay.Middleware{{b, again, another}, {incomparable{}, incomparable{}}} {
		if err := backstay.Check(stack...); err != nil {
			t.Errorf("Check(%v) = %v, want nil", stack, err)
		}
	}
}

// incomparable judges, and panics where two of it are compared.
type incomparable struct{ _ func() }

func (incomparable) Wrap(next backstay.Func) backstay.Func { return next }
func (incomparable) Traits() backstay.Traits               { return backstay.Traits{Judges: true} }

// The real middleware states the traits that the rules are about.
func TestCheckKnowsTheMiddleware(t *testing.T) {
	rows := []struct {
		stack []backstay.Middleware
		want  string
	}{
		{
			[]backstay.Middleware{retry.New(retry.Config{}), timeout.Call(time.Second)},
			"backstay: timeout(1s) is under retry(3), which would give every attempt one of its own; move it above",
		},
		{
			[]backstay.Middleware{timeout.Call(time.Second), timeout.Attempt(2 * time.Second)},
			"backstay: attempt(2s) never fires, for timeout(1s) ends the whole call by then; make the attempt's shorter",
		},
		{
			[]backstay.Middleware{retry.New(retry.Config{}), retry.New(retry.Config{MaxAttempts: 2})},
			"backstay: retry(3) is above retry(2): their attempts would multiply; keep one of them",
		},
		{
			[]backstay.Middleware{breaker.New(breaker.Config{Name: "b"}), timeout.WholeAttempt(time.Minute)},
			"backstay: breaker(b) judges over 10s, less than two attempts of attempt(1m0s); make the window at least 2m0s",
		},
		{
			[]backstay.Middleware{timeout.Attempt(time.Second), breaker.New(breaker.Config{Name: "b"})},
			"backstay: attempt(1s) is above breaker(b), which would take its timeouts for callers giving up; move it under breaker(b)",
		},
	}
	for _, r := range rows {
		if err := backstay.Check(r.stack...); err == nil || err.Error() != r.want {
			t.Errorf("Check(%v) = %v, want %s", r.stack, err, r.want)
		}
	}
}
