package retry_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

func TestRetryUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick, sick, well)
		if err := c.bind(retry.New(every(10 * ms)))(t.Context()); err != nil {
			t.Errorf("Do(fails twice) = %v, want nil", err)
		}
		wantTimes(t, c, 0, 10*ms, 20*ms)
		if want := []int{1, 2, 3}; !slices.Equal(c.numbers, want) {
			t.Errorf("attempts were numbered %v, want %v", c.numbers, want)
		}
	})
}

// H-14: the first attempt counts. R-8: three is the default.
func TestMaxAttemptsCountsTheFirst(t *testing.T) {
	for _, row := range []struct{ max, want int }{{0, 3}, {2, 2}, {5, 5}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(sick)
			cfg := every(10 * ms)
			cfg.MaxAttempts = row.max
			err := c.bind(retry.New(cfg))(t.Context())
			if c.attempts() != row.want {
				t.Errorf("Do with MaxAttempts %d made %d attempts, want %d", row.max, c.attempts(), row.want)
			}
			e, ok := errors.AsType[*retry.Error](err)
			if !ok || e.Attempts != row.want || len(e.Earlier) != row.want-1 {
				t.Errorf("Do = %#v, want a *retry.Error of %d attempts with the others in Earlier", err, row.want)
			}
		})
	}
}

//
func TestDefaultPauses(t *testing.T) {
	longest := [5]time.Duration{}
	for range 400 {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(sick)
			c.bind(retry.New(retry.Config{MaxAttempts: 6, Budget: plenty()}))(t.Context())
			for i := range longest {
				longest[i] = max(longest[i], c.at[i+1]-c.at[i])
			}
		})
	}
	for i, want := range []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms} {
		if longest[i] >= want || longest[i] < want*9/10 {
			t.Errorf("the longest of 400 pauses before attempt %d was %v, want it just under %v", i+2, longest[i], want)
		}
	}
}

func plenty() *retry.Budget { return retry.NewBudget(retry.BudgetConfig{PerSecond: 1e6}) }

// A scene is a call that goes on after its second attempt, unless it is
// spoiled.
type scene struct {
	late      bool // the second attempt ends after the deadline
	class     backstay.Class
	max       int
	unsafe    bool
	asked     time.Duration
	pause     time.Duration // before the third
	copies    int
	perSecond float64
}

func (x scene) play(t *testing.T) (end string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		c := newCallee(
			func() error { return &backstay.Error{Err: errSick, NotSent: true} },
			func() error {
				if x.late {
					<-time.After(200 * ms)
				}
				return &backstay.Error{Err: errSick, Class: x.class, RetryAfter: x.asked}
			},
			well,
		)
		r := c.watch()
		c.copies = x.copies
		watch := c.prepare
		c.prepare = func(call *backstay.Call) { watch(call); call.Unsafe = x.unsafe }
		c.bind(retry.New(retry.Config{
			MaxAttempts: x.max,
			Backoff:     retry.Custom(func() retry.Intervals { return &gaps{ms, x.pause} }),
			Budget:      retry.NewBudget(retry.BudgetConfig{Ratio: 1e-9, PerSecond: x.perSecond}),
		}))(ctx)
		end = r.end(t)
	})
	return end
}

// H-33: what ends a call, in the order in which it is asked.
func TestChecksInOrder(t *testing.T) {
	fine := scene{class: backstay.Transient, max: 3, pause: ms, copies: 3, perSecond: 2}
	reasons := []struct {
		why   string
		spoil func(*scene)
	}{
		{"deadline", func(x *scene) { x.late = true }},
		{"non_retryable", func(x *scene) { x.class = backstay.Broken }},
		{"attempts", func(x *scene) { x.max = 2 }},
		{"not_idempotent", func(x *scene) { x.unsafe = true }},
		{"server_veto", func(x *scene) { x.asked = time.Hour }},
		{"deadline", func(x *scene) { x.pause = time.Hour }},
		{"body_not_replayable", func(x *scene) { x.copies = 2 }},
		{"budget", func(x *scene) { x.perSecond = 1 }},
	}
	if got := fine.play(t); got != "" {
		t.Errorf("with nothing in its way the call ended for %q, want success", got)
	}
	for i, reason := range reasons {
		alone, withLater := fine, fine
		reason.spoil(&alone)
		for _, r := range reasons[i:] {
			r.spoil(&withLater)
		}
		if got := alone.play(t); got != reason.why {
			t.Errorf("with only reason %d the call ended for %q, want %q", i, got, reason.why)
		}
		if got := withLater.play(t); got != reason.why {
			t.Errorf("with reason %d and those after it the call ended for %q, want %q", i, got, reason.why)
		}
	}
}

// gaps are pauses, one after the other.
type gaps []time.Duration

func (g *gaps) NextBackOff() time.Duration {
	d := (*g)[0]
	*g = (*g)[1:]
	return d
}

// H-30
func TestNeverSleepsPastTheDeadline(t *testing.T) {
	for _, row := range []struct {
		pause, deadline time.Duration
		attempts        int
	}{{50 * ms, 49 * ms, 1}, {50 * ms, 50 * ms, 1}, {50 * ms, 51 * ms, 2}, {50 * ms, 101 * ms, 3}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(sick)
			r := c.watch()
			ctx, cancel := context.WithTimeout(t.Context(), row.deadline)
			defer cancel()
			err := c.bind(retry.New(every(row.pause)))(ctx)
			is(t, err, errSick)
			isNot(t, err, context.DeadlineExceeded)
			if c.attempts() != row.attempts {
				t.Errorf("Do with pauses of %v and %v to go made %d attempts, want %d", row.pause, row.deadline, c.attempts(), row.attempts)
			}
			if want := time.Duration(row.attempts-1) * row.pause; time.Since(c.began) != want {
				t.Errorf("Do with pauses of %v and %v to go took %v, want %v", row.pause, row.deadline, time.Since(c.began), want)
			}
			if want := "deadline"; row.attempts < 3 && r.end(t) != want {
				t.Errorf("the call ended for %q, want %q", r.end(t), want)
			}
		})
	}
}

// H-29, H-31
func TestCancelDuringPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		budget := retry.NewBudget(retry.BudgetConfig{})
		shutdown := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*ms, func() { cancel(shutdown) })
		err := c.bind(retry.New(retry.Config{Backoff: retry.Constant(time.Minute), Budget: budget}))(ctx)
		if took := time.Since(c.began); took != 50*ms {
			t.Errorf("Do that was canceled after 50ms took %v", took)
		}
		is(t, err, context.Canceled)
		is(t, err, shutdown)
		is(t, err, errSick)
		if got := backstay.Classify(err); got != backstay.Canceled {
			t.Errorf("Classify(%v) = %v, want canceled", err, got)
		}
		if got := r.end(t); got != "canceled" {
			t.Errorf("the call ended for %q, want canceled", got)
		}
		if got := budget.Balance(); got < 10 {
			t.Errorf("Balance() = %v after a retry that was not sent, want 10 or more", got)
		}
	})
}

// H-29
func TestCancelDuringAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shutdown := errors.New("shutting down")
		ctx, cancel := context.WithCancelCause(t.Context())
		c := newCallee(sick, func() error { cancel(shutdown); return errors.New("broken pipe") })
		r := c.watch()
		err := c.bind(retry.New(every(ms)))(ctx)
		is(t, err, context.Canceled)
		is(t, err, shutdown)
		is(t, err, errSick)
		if got := r.end(t); got != "canceled" || c.attempts() != 2 {
			t.Errorf("the call ended for %q after %d attempts, want canceled after 2", got, c.attempts())
		}
	})
}

func TestDeadlineDuringAttemptIsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick, func() error { <-time.After(s); return errSick })
		r := c.watch()
		err := c.bind(timeout.Call(500*ms), retry.New(every(ms)))(t.Context())
		if got := r.end(t); got != "deadline" || c.attempts() != 2 {
			t.Errorf("the call ended for %q after %d attempts with %v, want deadline after 2", got, c.attempts(), err)
		}
	})
}

// H-37: never early, and a bounded time late.
func TestServerDelay(t *testing.T) {
	const huge = time.Duration(math.MaxInt64)
	for _, row := range []struct {
		asked, backoff, max time.Duration
		want                time.Duration // the least; 0 for no retry
	}{
		{0, 50 * ms, 0, 50 * ms},     // H-38
		{-s, 50 * ms, 0, 50 * ms},    // nonsense
		{2 * s, 50 * ms, 0, 2 * s},   // the server's
		{50 * ms, 2 * s, 0, 2 * s},   // the backoff, not early either
		{30 * s, 50 * ms, 0, 30 * s}, // the limit itself
		{30*s + 1, 50 * ms, 0, 0},    // above it
		{huge, 50 * ms, 0, 0},        // H-35
		{time.Minute, ms, 2 * time.Minute, time.Minute},
		{100 * 365 * 24 * time.Hour, ms, huge, 100 * 365 * 24 * time.Hour},
	} {
		for range 100 {
			synctest.Test(t, func(t *testing.T) {
				c := newCallee(unavailable(row.asked), well)
				r := c.watch()
				cfg := every(row.backoff)
				cfg.MaxRetryAfter = row.max
				err := c.bind(retry.New(cfg))(t.Context())
				switch {
				case row.want == 0:
					if err == nil || time.Since(c.began) != 0 || r.end(t) != "server_veto" {
						t.Fatalf("Do asked to wait %v took %v and ended for %q, want the failure at once for server_veto", row.asked, time.Since(c.began), r.end(t))
					}
				case err != nil || c.at[1] < row.want || c.at[1] > row.want+row.want/16+1:
					t.Fatalf("Do asked to wait %v = %v at %v, want nil within 1/16 after %v", row.asked, err, c.at, row.want)
				case row.asked == 0 && c.at[1] != row.want:
					t.Fatalf("Do not asked to wait came at %v, want %v", c.at, row.want)
				}
			})
		}
	}
}

// H-37
func TestServerDelayIsSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(throttled(s), well)
			c.bind(retry.New(every(0)))(t.Context())
			seen[c.at[1]] = true
		})
	}
	if len(seen) < 40 {
		t.Errorf("50 callers told to wait 1s came at %d times, want them spread", len(seen))
	}
}

//
func TestRetryAfterMethodOfAnyError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(func() error { return busy(3 * s) }, well)
		r := c.watch()
		c.bind(retry.New(every(ms)))(t.Context())
		if c.at[1] < 3*s || r.events[0].Source != "retry_after" {
			t.Errorf("Do came back at %v because of %q, want 3s because of retry_after", c.at[1], r.events[0].Source)
		}
	})
}

type busy time.Duration

func (b busy) Error() string             { return "busy" }
func (b busy) RetryAfter() time.Duration { return time.Duration(b) }

// H-38: a 429 is about the caller, a 503 about the endpoint.
func TestElsewhere(t *testing.T) {
	for _, row := range []struct {
		name  string
		first func() error
		at    time.Duration
	}{
		{"sick", sick, 0},
		{"unavailable for 10s", unavailable(10 * s), 0},
		{"unavailable for longer than MaxRetryAfter", unavailable(time.Hour), 0},
		{"throttled", throttled(0), 50 * ms},
		{"throttled for 10s", throttled(10 * s), 10 * s},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(row.first, well)
			c.bind(retry.New(every(50*ms)), balancer{[]string{"a", "b"}})(t.Context())
			if c.at[1] < row.at || c.at[1] > row.at+row.at/16 {
				t.Errorf("%s at a, went to b at %v, want %v", row.name, c.at[1], row.at)
			}
		})
	}
}

// An endpoint whose name does not resolve, say, fails its share of the calls for
// ever, where another would have answered.
func TestUnreachableEndpointIsLeftForAnother(t *testing.T) {
	unreachable := &backstay.Error{Err: errSick, Class: backstay.Broken, NotSent: true}
	for _, row := range []struct {
		name  string
		first error
		over  []string
		want  int
	}{
		{"unreachable, and there is another", unreachable, []string{"a", "b"}, 2},
		{"unreachable, and there is none", unreachable, []string{"a"}, 1},
		{"broken, but perhaps sent", &backstay.Error{Err: errSick, Class: backstay.Broken}, []string{"a", "b"}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(func() error { return row.first }, well)
			c.bind(retry.New(every(50*ms)), balancer{row.over})(t.Context())
			if c.attempts() != row.want {
				t.Errorf("%s: Do made %d attempts, want %d", row.name, c.attempts(), row.want)
			}
		})
	}
}

func TestAnAttemptKnowsTheEndpointBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before []string
		look := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				before = append(before, call.Endpoint)
				return next(ctx, call)
			}
		})
		c := newCallee(sick)
		c.bind(retry.New(every(50*ms)), look, balancer{[]string{"a", "b"}})(t.Context())
		if want := []string{"", "a", "b"}; !slices.Equal(before, want) {
			t.Errorf("before their picks the attempts had the endpoints %q, want %q", before, want)
		}
	})
}

func TestPauseOnceEveryEndpointWasTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		cfg := every(50 * ms)
		cfg.MaxAttempts = 4
		c.bind(retry.New(cfg), balancer{[]string{"a", "b"}})(t.Context())
		wantTimes(t, c, 0, 0, 50*ms, 100*ms)
	})
}

//
func TestRejectionGoesElsewhereForFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick, sick, well)
		r := c.watch()
		budget := retry.NewBudget(retry.BudgetConfig{Ratio: -1, PerSecond: 2})
		open := &breaker.OpenError{State: breaker.Open}
		call := c.bind(
			retry.New(retry.Config{Backoff: retry.Constant(50 * ms), Budget: budget}),
			balancer{[]string{"a", "b", "c", "d"}},
			rejecting(func(call *backstay.Call) bool { return call.Endpoint == "a" || call.Endpoint == "b" }, open),
		)
		if err := call(t.Context()); err != nil {
			t.Errorf("Do with two of four endpoints open = %v, want nil in 3 attempts and 2 retries of budget", err)
		}
		wantTimes(t, c, 0, 0, 50*ms)
		if want := []int{1, 2, 3}; !slices.Equal(c.numbers, want) {
			t.Errorf("attempts were numbered %v, want %v: a rejection is none", c.numbers, want)
		}
		if got, want := r.events[0].Source, "elsewhere"; got != want {
			t.Errorf("the pause after a rejection came from %q, want %q", got, want)
		}
	})
}

//
func TestRejectionWithNowhereElseIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(well)
		r := c.watch()
		b := breaker.New(breaker.Config{})
		b.ForceOpen()
		budget := retry.NewBudget(retry.BudgetConfig{})
		err := c.bind(retry.New(retry.Config{Budget: budget}), b)(t.Context())
		if _, ok := err.(*breaker.OpenError); !ok || c.attempts() != 0 || time.Since(c.began) != 0 {
			t.Errorf("Do under an open breaker = %v after %v with %d attempts, want its error at once", err, time.Since(c.began), c.attempts())
		}
		if got := r.end(t); got != "circuit_open" {
			t.Errorf("the call ended for %q, want circuit_open", got)
		}
		if got := budget.Balance(); got < 10 {
			t.Errorf("Balance() = %v, want 10: nothing was sent", got)
		}
	})
}

func TestEveryEndpointRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(well)
		open := &breaker.OpenError{State: breaker.Open}
		err := c.bind(retry.New(every(ms)), balancer{[]string{"a", "b", "c"}},
			rejecting(func(*backstay.Call) bool { return true }, open))(t.Context())
		if err != error(open) {
			t.Errorf("Do with every endpoint open = %v, want the breaker's own error", err)
		}
	})
}

// A middleware above the balancer rejects before the endpoint changes, so
// there always seems to be another.
func TestRejectionAboveTheBalancerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		full := &backstay.Error{Err: errors.New("limit: full"), Class: backstay.Throttled, NotSent: true, Type: "rate_limited"}
		n := 0
		err := c.bind(retry.New(every(ms)),
			rejecting(func(call *backstay.Call) bool { n++; return n > 1 }, full),
			balancer{[]string{"a", "b", "c"}})(t.Context())
		if n != 2 {
			t.Errorf("Do asked a full limiter %d times, want once after the first attempt", n-1)
		}
		is(t, err, errSick)
	})
}

// H-33: the result is what the callee said, not that it was not asked again.
func TestRejectionAfterThePauseReturnsTheRealFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{})
		c := newCallee(func() error { time.AfterFunc(10*ms, b.ForceOpen); return errSick })
		r := c.watch()
		budget := retry.NewBudget(retry.BudgetConfig{})
		err := c.bind(retry.New(retry.Config{Backoff: retry.Constant(50 * ms), Budget: budget}), b)(t.Context())
		e, ok := errors.AsType[*retry.Error](err)
		if !ok || e.Err != errSick || e.Attempts != 1 {
			t.Errorf("Do = %#v, want a *retry.Error of 1 attempt with the failure of that", err)
		}
		is(t, err, breaker.ErrOpen)
		if got := r.end(t); got != "circuit_open" {
			t.Errorf("the call ended for %q, want circuit_open", got)
		}
		if got := budget.Balance(); got < 10 {
			t.Errorf("Balance() = %v after a retry that was not sent, want 10 or more", got)
		}
	})
}

// A breaker that the failure at hand has opened would only turn the next away.
func TestFailureThatOpensTheBreakerIsTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		bar := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				err := next(ctx, call)
				call.Bar()
				return err
			}
		})
		if err := c.bind(retry.New(every(ms)), bar)(t.Context()); err != errSick {
			t.Errorf("Do = %v, want %v itself", err, errSick)
		}
		if got := r.end(t); got != "circuit_open" || time.Since(c.began) != 0 {
			t.Errorf("the call ended for %q after %v, want circuit_open at once", got, time.Since(c.began))
		}
	})
}

func TestRetryLeavesUnsafeCallsAlone(t *testing.T) {
	notSent := func() error { return &backstay.Error{Err: errSick, NotSent: true} }
	for _, row := range []struct {
		name   string
		unsafe bool
		key    string
		fails  func() error
		want   int
	}{
		{"safe", false, "", sick, 3},
		{"unsafe", true, "", sick, 1},
		{"unsafe with a key", true, "k", sick, 3},
		{"unsafe that did not leave", true, "", notSent, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(row.fails)
			c.prepare = func(call *backstay.Call) { call.Unsafe, call.IdempotencyKey = row.unsafe, row.key }
			c.bind(retry.New(every(ms)))(t.Context())
			if c.attempts() != row.want {
				t.Errorf("Do(%s) made %d attempts, want %d", row.name, c.attempts(), row.want)
			}
		})
	}
}

func TestBodyThatCannotBeReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		c.copies = 1
		budget := retry.NewBudget(retry.BudgetConfig{})
		if err := c.bind(retry.New(retry.Config{Budget: budget}))(t.Context()); err != errSick {
			t.Errorf("Do(used up body) = %v, want the failure itself", err)
		}
		if got := r.end(t); got != "body_not_replayable" || c.attempts() != 1 {
			t.Errorf("the call ended for %q after %d attempts, want body_not_replayable after 1", got, c.attempts())
		}
		if got := budget.Balance(); got < 10 {
			t.Errorf("Balance() = %v, want it uncharged", got)
		}
	})
}

func TestIfDecidesInPlaceOfTheClass(t *testing.T) {
	broken := func() error { return &backstay.Error{Err: errSick, Class: backstay.Broken} }
	for _, row := range []struct {
		name  string
		fails func() error
		when  bool
		want  int
	}{
		{"broken, If true", broken, true, 3},
		{"sick, If false", sick, false, 1},
		{"Permanent, If true", func() error { return retry.Permanent(errSick) }, true, 1},
		{"vetoed, If true", func() error { return veto{} }, true, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(row.fails)
			cfg := every(ms)
			cfg.If = func(error) bool { return row.when }
			c.bind(retry.New(cfg))(t.Context())
			if c.attempts() != row.want {
				t.Errorf("Do(%s) made %d attempts, want %d", row.name, c.attempts(), row.want)
			}
		})
	}
}

type veto struct{}

func (veto) Error() string      { return "no more" }
func (veto) Suppressed() string { return "server_veto" }

func TestClassesThatAreRetried(t *testing.T) {
	for class, want := range map[backstay.Class]int{
		backstay.Transient: 3, backstay.Throttled: 3, backstay.Pending: 3,
		backstay.Permanent: 1, backstay.Broken: 1, backstay.Canceled: 1,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(func() error { return &backstay.Error{Err: errSick, Class: class} })
			c.bind(retry.New(every(ms)))(t.Context())
			if c.attempts() != want {
				t.Errorf("Do(%v) made %d attempts, want %d", class, c.attempts(), want)
			}
		})
	}
}

// Another endpoint would say the same: the work is under way somewhere.
func TestWorkThatIsUnderWayIsWaitedForThoughAnEndpointIsUntried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(func() error { return &backstay.Error{Err: errSick, Class: backstay.Pending} })
		began := time.Now()
		c.bind(retry.New(retry.Config{MaxAttempts: 3, Backoff: retry.Constant(s)}), balancer{[]string{"a", "b", "c"}})(t.Context())
		if took := time.Since(began); took != 2*s || c.attempts() != 3 {
			t.Errorf("Do made %d attempts in %v, want 3 in 2s", c.attempts(), took)
		}
	})
}

func TestNoPausesLeft(t *testing.T) {
	for name, fresh := range map[string]func() retry.Intervals{
		"one pause": func() retry.Intervals { return &gaps{ms, -1} },
		"nil later": nilAfterFirst(),
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(sick)
			r := c.watch()
			c.bind(retry.New(retry.Config{Backoff: retry.Custom(fresh).Floor(ms), MaxAttempts: retry.Unlimited}))(t.Context())
			want := map[string]int{"one pause": 2, "nil later": 1}[name]
			if c.attempts() != want || r.end(t) != "attempts" {
				t.Errorf("Do(%s) made %d attempts and ended for %q, want %d and attempts", name, c.attempts(), r.end(t), want)
			}
		})
	}
}

func nilAfterFirst() func() retry.Intervals {
	n := 0
	return func() retry.Intervals {
		if n++; n > 1 {
			return nil
		}
		return &gaps{ms}
	}
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &backstay.Error{Err: errSick, RetryAfter: time.Minute, Type: "503"}
		c := newCallee(sick, func() error { return late })
		r := c.watch()
		cfg := every(10 * ms)
		cfg.MaxRetryAfter = s
		c.bind(retry.New(cfg))(t.Context())
		want := []backstay.Event{
			{Kind: backstay.EventRetry, Attempt: 2, Reason: "_OTHER", Delay: 10 * ms, Source: "backoff", Err: errSick},
			{Kind: backstay.EventGiveUp, Attempt: 2, Reason: "server_veto", Err: late},
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("events were %+v, want %+v", r.events, want)
		}
	})
}

func TestNoEventsForSuccess(t *testing.T) {
	c := newCallee(well)
	r := c.watch()
	c.bind(retry.New(retry.Config{}))(t.Context())
	if len(r.events) != 0 {
		t.Errorf("events of a success were %+v, want none", r.events)
	}
}

func TestEventsOfEndInPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(sick)
		r := c.watch()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(ms, cancel)
		c.bind(retry.New(every(s)))(ctx)
		want := []backstay.Event{
			{Kind: backstay.EventRetry, Attempt: 2, Reason: "_OTHER", Delay: s, Source: "backoff", Err: errSick},
			{Kind: backstay.EventGiveUp, Attempt: 1, Reason: "canceled", Err: context.Canceled},
		}
		if !slices.Equal(r.events, want) {
			t.Errorf("events were %+v, want %+v", r.events, want)
		}
	})
}
