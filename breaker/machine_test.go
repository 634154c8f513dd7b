package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
)

func TestBreakerClosesAfterItsProbes(t *testing.T) {
	run(t, breaker.Config{ConsecutiveFailures: 1}, []step{
		{0, trip, Open}, {4999 * ms, rejected, Open}, {7 * s, ok, HalfOpen}, {8 * s, ok, HalfOpen}, {9 * s, ok, Closed},
		{10 * s, trip, Open}, {30 * s, times(2, ok), HalfOpen}, {31 * s, fail, Open}, {32 * s, rejected, Open},
	})
}

func TestASlowProbeReopens(t *testing.T) {
	cfg := brittle
	cfg.SlowAfter = s
	run(t, cfg, []step{{0, trip, Open}, {7 * s, ends(nil, s), Open}, {99 * s, ends(nil, 0), Closed}})
}

func TestAnExcludedProbeMakesRoomForAnother(t *testing.T) {
	lost := ends(context.Canceled, 0)
	run(t, brittle, []step{{0, trip, Open}, {7 * s, times(10, lost), HalfOpen}, {8 * s, ok, Closed}})
}

// B-8, B-14
func TestHalfOpenLetsOnlyItsProbesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Name: "orders", ConsecutiveFailures: 1, Probes: 3})
		trip(t, b)
		pass(cooled)
		var passed atomic.Int32
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				err := do(t.Context(), b, func(context.Context) error { passed.Add(1); take(s); return nil })
				if err == nil {
					return
				}
				if e, ok := errors.AsType[*breaker.OpenError](err); !ok || e.State != HalfOpen || e.Name != "orders" || !errors.Is(e.Cause, errSick) {
					t.Errorf("Do() = %#v, want an OpenError of orders, half open, caused by %v", err, errSick)
				}
			})
		}
		calls.Wait()
		if got := passed.Load(); got != 3 {
			t.Errorf("half open, %d of 50 calls passed, want 3", got)
		}
		if got := b.State(); got != Closed {
			t.Errorf("State() after 3 probes went well = %v, want closed", got)
		}
	})
}

// B-9
func TestAProbeThatNeverEndsExpires(t *testing.T) {
	cfg := breaker.Config{ConsecutiveFailures: 1, Probes: 2, MaxProbe: 10 * s, Cooldown: s, MaxCooldown: s}
	var done func(error)
	begin := func(t *testing.T, b *breaker.Breaker) {
		var err error
		if done, err = b.Allow(); err != nil {
			t.Errorf("Allow() = %v, want no error", err)
		}
	}
	end := func(err error) func(*testing.T, *breaker.Breaker) {
		return func(*testing.T, *breaker.Breaker) { done(err) }
	}
	t.Run("seen by the next call", func(t *testing.T) {
		run(t, cfg, []step{{0, trip, Open}, {2 * s, begin, HalfOpen}, {3 * s, ok, HalfOpen}, {11 * s, rejected, HalfOpen},
			{13 * s, rejected, Open}, {15 * s, times(2, ok), Closed}, {16 * s, end(errSick), Closed}})
	})
	t.Run("seen where it ends", func(t *testing.T) {
		run(t, cfg, []step{{0, trip, Open}, {2 * s, begin, HalfOpen}, {13 * s, end(nil), Open}, {15 * s, times(2, ok), Closed}})
	})
	t.Run("just in time", func(t *testing.T) {
		run(t, cfg, []step{{0, trip, Open}, {2 * s, begin, HalfOpen}, {12 * s, end(nil), HalfOpen}, {13 * s, ok, Closed}})
	})
}

// cooldowns returns how long the breaker stays open each time that it opens:
// first, and then after each probe, which ends with one of the errors, a
// success staying closed for calm.
func cooldowns(t *testing.T, cfg breaker.Config, calm time.Duration, ends ...error) (opened []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.ConsecutiveFailures, cfg.Probes = 1, 1
		cfg.OnChange = func(c breaker.Change) {
			if c.To == Open {
				opened = append(opened, c.Cooldown)
			}
		}
		b := breaker.New(cfg)
		for _, err := range ends {
			_ = do(t.Context(), b, after(0, err))
			if err == nil {
				pass(calm)
			} else {
				cooldown := opened[len(opened)-1]
				pass(cooldown - 1)
				rejected(t, b)
				pass(2)
			}
		}
	})
	return opened
}

// B-12
func TestCooldownGrowsWithEachReopening(t *testing.T) {
	cfg := breaker.Config{Cooldown: 10 * s, MaxCooldown: 100 * s}
	for i, got := range cooldowns(t, cfg, 0, slices.Repeat([]error{errSick}, 7)...) {
		from := min(10*s<<i, 80*s)
		if to := from + from/4; got < from || got > to {
			t.Errorf("cooldown %d = %v, want %v to %v", i+1, got, from, to)
		}
	}
}

// B-12
func TestCooldownStartsAnewAfterAStableClose(t *testing.T) {
	cfg := breaker.Config{Cooldown: 10 * s}
	for _, row := range []struct {
		calm     time.Duration
		from, to time.Duration
	}{
		{s, 40 * s, 50 * s},      // closed for less than the last cooldown of 20 to 25 s
		{26 * s, 10 * s, 13 * s}, // and for longer
	} {
		opened := cooldowns(t, cfg, row.calm, errSick, errSick, nil, errSick)
		if got := opened[len(opened)-1]; got < row.from || got > row.to {
			t.Errorf("cooldown after %v of calm = %v, want %v to %v", row.calm, got, row.from, row.to)
		}
	}
}

// B-12
func TestRetryAfterLengthensTheCooldown(t *testing.T) {
	for _, row := range []struct {
		cooldown, max, asked, from, to time.Duration
	}{
		{10 * s, 60 * s, 5 * s, 10 * s, 12500 * ms},
		{10 * s, 60 * s, 40 * s, 40 * s, 50 * s},
		{10 * s, 60 * s, 55 * s, 55 * s, 60 * s},
		{10 * s, 60 * s, 60 * s, 60 * s, 60 * s},
		{10 * s, 60 * s, time.Hour, 48 * s, 60 * s},
		{10 * s, 60 * s, 1<<63 - 1, 48 * s, 60 * s},
		{10 * s, 10 * s, 0, 10 * s, 10 * s},
		{10 * s, 11 * s, 0, 10 * s, 11 * s},
		{1<<63 - 1, 0, 0, 1<<63 - 1, 1<<63 - 1},
	} {
		busy := &backstay.Error{Err: errSick, RetryAfter: row.asked}
		cfg := breaker.Config{Cooldown: row.cooldown, MaxCooldown: row.max, ConsecutiveFailures: 1}
		for range 50 {
			var got time.Duration
			cfg.OnChange = func(c breaker.Change) { got = c.Cooldown }
			_ = do(t.Context(), breaker.New(cfg), after(0, busy))
			if got < row.from || got > row.to {
				t.Errorf("cooldown where the callee asks for %v = %v, want %v to %v", row.asked, got, row.from, row.to)
			}
		}
	}
}

// B-12
func TestAFleetDoesNotProbeInStep(t *testing.T) {
	for _, reopened := range []int{0, 10} {
		seen := map[time.Duration]bool{}
		for range 50 {
			bad := slices.Repeat([]error{errSick}, reopened+1)
			opened := cooldowns(t, breaker.Config{}, 0, bad...)
			seen[opened[reopened]/(10*ms)] = true
		}
		if len(seen) < 25 {
			t.Errorf("50 breakers that reopened %d times have %d cooldowns, want them to differ", reopened, len(seen))
		}
	}
}

// B-13
func TestRecoveryLetsAGrowingShareThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := brittle
		cfg.Recovery = 30 * s
		b := breaker.New(cfg)
		trip(t, b)
		pass(cooled)
		ok(t, b)
		for _, want := range []int{10, 25, 50, 100, 100} {
			passed := 0
			for range 100 {
				err := do(t.Context(), b, after(0, nil))
				if err == nil {
					passed++
				} else if e, ok := errors.AsType[*breaker.OpenError](err); !ok || e.State != Closed {
					t.Fatalf("Do() of a recovering breaker = %v, want an OpenError in closed", err)
				}
			}
			if passed < want-1 || passed > want+1 {
				t.Errorf("recovering, %d of 100 calls passed, want %d", passed, want)
			}
			pass(10 * s)
		}
	})
}

// B-13
func TestTheFirstCallAfterRecoveryPasses(t *testing.T) {
	cfg := brittle
	cfg.Recovery = time.Hour
	run(t, cfg, []step{{0, trip, Open}, {7 * s, ok, Closed}, {8 * s, ok, Closed}, {9 * s, rejected, Closed}, {10 * s, trip10th, Open}})
}

// trip10th makes calls until one passes, and fails that.
func trip10th(t *testing.T, b *breaker.Breaker) {
	for range 10 {
		_ = do(t.Context(), b, after(0, errSick))
	}
}

// B-14
func TestOpenErrorTellsWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cooldown time.Duration
		cfg := brittle
		cfg.OnChange = func(c breaker.Change) { cooldown = c.Cooldown }
		b := breaker.New(cfg)
		trip(t, b)
		pass(s)
		err := do(t.Context(), b, after(0, nil))
		e, isOpen := errors.AsType[*breaker.OpenError](err)
		if !isOpen || !errors.Is(err, breaker.ErrOpen) || e.Cause != errSick {
			t.Fatalf("Do() = %v, want an *OpenError that is ErrOpen, with the cause %v", err, errSick)
		}
		if got, want := e.RetryAfter(), cooldown-s; got < want-2 || got > want+2 {
			t.Errorf("RetryAfter() a second after it opened for %v = %v, want %v", cooldown, got, want)
		}
		if got, want := e.Error(), "breaker orders: open"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
		if !backstay.NotSent(err) || backstay.TypeOf(err) != "circuit_open" || backstay.Classify(err) != backstay.Transient {
			t.Errorf("details of %v = %t, %q, %v, want not sent, circuit_open, transient", err, backstay.NotSent(err), backstay.TypeOf(err), backstay.Classify(err))
		}
		pass(time.Hour)
		if got := e.RetryAfter(); got != 0 {
			t.Errorf("RetryAfter() after the cooldown = %v, want 0", got)
		}
	})
}

func TestOpenErrorText(t *testing.T) {
	for _, row := range []struct {
		err  breaker.OpenError
		want string
	}{
		{breaker.OpenError{State: Open}, "breaker: open"},
		{breaker.OpenError{State: Closed}, "breaker: recovering"},
		{breaker.OpenError{State: HalfOpen, Cause: errSick}, "breaker: half_open"},
		{breaker.OpenError{State: HalfOpen, Cause: &backstay.Error{Err: errSick, Type: "reset"}}, "breaker: half_open: reset"},
		{breaker.OpenError{Name: "orders", State: ForcedOpen}, "breaker orders: forced_open"},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("Error() = %q, want %q", got, row.want)
		}
		if got := row.err.RetryAfter(); got != 0 {
			t.Errorf("RetryAfter() of %v = %v, want 0", &row.err, got)
		}
	}
}

// The cause is the failure of another call: it must not be taken for this one's,
// and may hold what only its caller should see.
//
// B-14
func TestOpenErrorKeepsTheCauseToItself(t *testing.T) {
	cause := &url.Error{Op: "Get", URL: "http://orders/?token=secret", Err: context.DeadlineExceeded}
	b := breaker.New(brittle)
	_ = do(t.Context(), b, after(0, cause))
	err := do(t.Context(), b, after(0, nil))
	if e, ok := err.(*breaker.OpenError); !ok || e.Cause != cause {
		t.Errorf("Do() = %#v, want an *OpenError with the cause %v", err, cause)
	}
	if got, want := err.Error(), "breaker orders: open: timeout"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the rejection by %v is a timeout, want it not to be: nothing was waited for", cause)
	}
}

// B-1
func TestStateNames(t *testing.T) {
	got := fmt.Sprint(Closed, Open, HalfOpen, ForcedOpen, Disabled, breaker.State(9))
	if want := "closed open half_open forced_open disabled unknown"; got != want {
		t.Errorf("states = %s, want %s", got, want)
	}
}
