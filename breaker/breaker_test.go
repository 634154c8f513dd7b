package breaker_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/timeout"
)

// B-2
func TestBreakerOpensAtTheFailureRate(t *testing.T) {
	half := breaker.Config{MinCalls: 4}
	t.Run("at the threshold", func(t *testing.T) {
		run(t, half, []step{{0, times(2, ok), Closed}, {1 * s, fail, Closed}, {2 * s, fail, Open}, {3 * s, rejected, Open}})
	})
	t.Run("under the threshold", func(t *testing.T) {
		run(t, half, []step{{0, times(6, ok), Closed}, {1 * s, times(5, fail), Closed}, {2 * s, fail, Open}})
	})
	t.Run("under the minimum of calls", func(t *testing.T) {
		run(t, half, []step{{0, times(3, fail), Closed}, {1 * s, fail, Open}})
	})
	t.Run("on the success that completes the minimum", func(t *testing.T) {
		run(t, half, []step{{0, times(3, fail), Closed}, {1 * s, ok, Open}})
	})
	t.Run("a rate that binary fractions miss", func(t *testing.T) { // 0.07 * 100 > 7
		run(t, breaker.Config{FailureRate: 0.07, MinCalls: 100}, []step{{0, times(93, ok), Closed}, {1 * s, times(6, fail), Closed}, {2 * s, fail, Open}})
	})
	t.Run("old failures have left the window", func(t *testing.T) {
		run(t, half, []step{{0, times(3, fail), Closed}, {11 * s, fail, Closed}, {12 * s, times(2, fail), Closed}, {13 * s, fail, Open}})
	})
	t.Run("never", func(t *testing.T) {
		run(t, breaker.Config{FailureRate: breaker.Never, SlowAfter: s}, []step{{0, times(100, fail), Closed}})
	})
	t.Run("of the last calls", func(t *testing.T) {
		run(t, breaker.Config{Last: 4}, []step{{0, times(4, ok), Closed}, {1 * s, fail, Closed}, {100 * s, times(3, ok), Closed},
			{101 * s, fail, Closed}, {999 * s, fail, Open}})
	})
}

// B-2
func TestBreakerOpensOnSlowCalls(t *testing.T) {
	cfg := breaker.Config{SlowAfter: 100 * ms, MinCalls: 4}
	slow, quick := ends(nil, 100*ms), ends(nil, 99*ms)
	t.Run("slow successes", func(t *testing.T) {
		run(t, cfg, []step{{0, times(2, quick), Closed}, {1 * s, slow, Closed}, {2 * s, slow, Open}})
	})
	t.Run("judged on a quick one", func(t *testing.T) {
		run(t, cfg, []step{{0, times(2, slow), Closed}, {1 * s, quick, Closed}, {2 * s, quick, Open}})
	})
	t.Run("quick failures do not add", func(t *testing.T) {
		run(t, cfg, []step{{0, times(2, quick), Closed}, {1 * s, slow, Closed}, {2 * s, ends(errSick, 0), Closed}})
	})
	t.Run("by Allow", func(t *testing.T) {
		allowed := func(t *testing.T, b *breaker.Breaker) {
			done, err := b.Allow()
			if err != nil {
				t.Fatalf("Allow() = %v, want no error", err)
			}
			pass(100 * ms)
			done(nil)
		}
		run(t, cfg, []step{{0, times(3, allowed), Closed}, {1 * s, allowed, Open}})
	})
}

// B-2
func TestBreakerOpensOnConsecutiveFailures(t *testing.T) {
	run(t, breaker.Config{ConsecutiveFailures: 3}, []step{
		{0, times(2, fail), Closed}, {1 * s, ok, Closed}, {2 * s, times(2, fail), Closed}, {99 * s, fail, Open},
	})
}

// B-4
func TestBreakerCountsACallWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Window: 10 * s, MinCalls: 20})
		var calls sync.WaitGroup
		for range 20 {
			calls.Go(func() { _ = do(t.Context(), b, after(11*s, errSick)) })
		}
		calls.Wait()
		if got := b.State(); got != Open {
			t.Errorf("State() after 20 failures slower than the window = %v, want open", got)
		}
	})
}

// B-4
func TestPolicyRefusesAWindowShorterThanTwoAttempts(t *testing.T) {
	b := breaker.New(breaker.Config{Window: 10 * s})
	for limit, want := range map[time.Duration]bool{5 * s: true, 5001 * ms: false} {
		if err := backstay.Check(b, timeout.Attempt(limit)); (err == nil) != want {
			t.Errorf("Check(window 10s, attempt %v) = %v, want it accepted: %t", limit, err, want)
		}
	}
}

// B-5
func TestOutcomesOfAnotherGenerationChangeNothing(t *testing.T) {
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
	forceOpen := func(_ *testing.T, b *breaker.Breaker) { b.ForceOpen() }
	disable := func(_ *testing.T, b *breaker.Breaker) { b.Disable() }
	reset := func(_ *testing.T, b *breaker.Breaker) { b.Reset() }
	two := breaker.Config{ConsecutiveFailures: 1, Probes: 2}

	t.Run("a success of before it opened closes nothing", func(t *testing.T) {
		run(t, brittle, []step{{0, begin, Closed}, {1 * s, trip, Open}, {2 * s, end(nil), Open}, {3 * s, rejected, Open}})
	})
	t.Run("nor is it a probe", func(t *testing.T) {
		run(t, two, []step{{0, begin, Closed}, {1 * s, trip, Open}, {9 * s, ok, HalfOpen}, {10 * s, end(nil), HalfOpen}, {11 * s, ok, Closed}})
	})
	t.Run("a failure of before it opened reopens nothing", func(t *testing.T) {
		run(t, two, []step{{0, begin, Closed}, {1 * s, trip, Open}, {9 * s, ok, HalfOpen}, {10 * s, end(errSick), HalfOpen}, {11 * s, ok, Closed}})
	})
	t.Run("nor after it closed", func(t *testing.T) {
		run(t, brittle, []step{{0, begin, Closed}, {1 * s, trip, Open}, {9 * s, ok, Closed}, {10 * s, end(errSick), Closed}})
	})
	t.Run("a probe of the time before a reset", func(t *testing.T) {
		run(t, brittle, []step{{0, trip, Open}, {7 * s, begin, HalfOpen}, {8 * s, reset, Closed}, {9 * s, end(errSick), Closed}, {10 * s, fail, Open}})
	})
	t.Run("a failure of the time before a reset", func(t *testing.T) {
		run(t, brittle, []step{{0, begin, Closed}, {1 * s, reset, Closed}, {2 * s, end(errSick), Closed}, {3 * s, fail, Open}})
	})
	t.Run("forced open", func(t *testing.T) {
		run(t, brittle, []step{{0, begin, Closed}, {1 * s, forceOpen, ForcedOpen}, {2 * s, end(nil), ForcedOpen}, {3 * s, rejected, ForcedOpen}})
	})
	t.Run("a probe, forced open", func(t *testing.T) {
		run(t, brittle, []step{{0, trip, Open}, {7 * s, begin, HalfOpen}, {8 * s, forceOpen, ForcedOpen}, {9 * s, end(nil), ForcedOpen}, {99 * s, rejected, ForcedOpen}})
	})
	t.Run("disabled", func(t *testing.T) {
		run(t, brittle, []step{{0, begin, Closed}, {1 * s, disable, Disabled}, {2 * s, end(errSick), Disabled}, {3 * s, reset, Closed}, {4 * s, ok, Closed}})
	})
}

// B-1
func TestBreakerByHand(t *testing.T) {
	forceOpen := func(_ *testing.T, b *breaker.Breaker) { b.ForceOpen() }
	disable := func(_ *testing.T, b *breaker.Breaker) { b.Disable() }
	reset := func(_ *testing.T, b *breaker.Breaker) { b.Reset() }
	run(t, brittle, []step{
		{0, forceOpen, ForcedOpen}, {1 * s, rejected, ForcedOpen}, {999 * s, rejected, ForcedOpen},
		{1000 * s, reset, Closed}, {1001 * s, ok, Closed}, {1002 * s, trip, Open}, {1003 * s, reset, Closed}, {1004 * s, ok, Closed},
		{1005 * s, disable, Disabled}, {1006 * s, times(100, fail), Disabled}, {1007 * s, forceOpen, ForcedOpen}, {1008 * s, forceOpen, ForcedOpen},
		{1009 * s, disable, Disabled}, {1010 * s, reset, Closed}, {1011 * s, ok, Closed}, {1012 * s, trip, Open},
		{1013 * s, disable, Disabled}, {1099 * s, ok, Disabled}, {1100 * s, reset, Closed}, {1101 * s, reset, Closed},
	})
}

// B-6, B-7
func TestEveryEndGivesTheProbeBack(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	bare := context.Background()
	for name, row := range map[string]struct {
		ctx  context.Context
		f    func(context.Context) error
		want breaker.State // after the probe
	}{
		"success":  {bare, after(0, nil), Closed},
		"failure":  {bare, after(0, errSick), Open},
		"panic":    {bare, func(context.Context) error { panic("boom") }, Open},
		"nil":      {bare, func(context.Context) error { panic(error(nil)) }, Open},
		"Goexit":   {bare, func(context.Context) error { runtime.Goexit(); return nil }, Open},
		"canceled": {canceled, func(ctx context.Context) error { return ctx.Err() }, HalfOpen},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := breaker.New(brittle)
				trip(t, b)
				pass(cooled)
				apart(func() { _ = do(row.ctx, b, row.f) })
				if got := b.State(); got != row.want {
					t.Errorf("State() after a probe's %s = %v, want %v", name, got, row.want)
				}
				if got := b.Probes(); got != 0 {
					t.Errorf("%d probes are under way after the only one's %s, want 0", got, name)
				}
				pass(time.Hour)
				if err := do(bare, b, after(0, nil)); err != nil || b.State() != Closed {
					t.Errorf("Do() after a probe's %s = %v in %v, want a pass that closes", name, err, b.State())
				}
			})
		})
	}
}

// apart runs f on a goroutine of its own, which it may end, and returns what f
// panicked with.
func apart(f func()) (panicked any) {
	var wait sync.WaitGroup
	wait.Add(1)
	go func() {
		defer wait.Done()
		defer func() { panicked = recover() }()
		f()
	}()
	wait.Wait()
	return panicked
}

// B-7
func TestPanicAndGoexitGoOnUnchanged(t *testing.T) {
	b := breaker.New(breaker.Config{ConsecutiveFailures: 3, Failure: func(error) bool { return false }})
	if got := apart(func() { _ = do(t.Context(), b, func(context.Context) error { panic("boom") }) }); got != "boom" {
		t.Errorf("Do(panic) panicked with %v, want boom", got)
	}
	returned := false
	apart(func() {
		_ = do(t.Context(), b, func(context.Context) error { runtime.Goexit(); return nil })
		returned = true
	})
	if returned {
		t.Error("Do(Goexit) returned, want the goroutine to end")
	}
	if got := b.State(); got != Closed {
		t.Fatalf("State() after 2 of 3 failures = %v, want closed", got)
	}
	apart(func() { _ = do(t.Context(), b, func(context.Context) error { panic("boom") }) })
	if got := b.State(); got != Open {
		t.Errorf("State() after 3 panics and Goexits = %v, want open", got)
	}
}

// B-7
func TestAPanicOfFailureCountsOnce(t *testing.T) {
	cfg := breaker.Config{ConsecutiveFailures: 3, Failure: func(error) bool { panic("classifier") }}
	wrapped := func(t *testing.T, b *breaker.Breaker) {
		if got := apart(func() { fail(t, b) }); got != "classifier" {
			t.Errorf("Do() panicked with %v, want what Failure did", got)
		}
	}
	allowed := func(t *testing.T, b *breaker.Breaker) {
		done, err := b.Allow()
		if err != nil {
			t.Fatalf("Allow() = %v, want no error", err)
		}
		if got := apart(func() { done(errSick) }); got != "classifier" {
			t.Errorf("done() panicked with %v, want what Failure did", got)
		}
		done(errSick)
	}
	run(t, cfg, []step{{0, wrapped, Closed}, {1 * s, allowed, Closed}, {2 * s, wrapped, Open}})
	run(t, cfg, []step{{0, times(3, allowed), Open}, {60 * s, wrapped, Open}, {120 * s, allowed, Open}})
}

// B-17
func TestStateHasNoSideEffects(t *testing.T) {
	look := func(_ *testing.T, b *breaker.Breaker) {
		for range 100 {
			b.State()
		}
	}
	run(t, brittle, []step{{0, trip, Open}, {7 * s, look, Open}, {99 * s, look, Open}, {100 * s, ok, Closed}})
}

// B-2, B-14
func TestChangeTellsTheFailureThatOpenedIt(t *testing.T) {
	for name, row := range map[string]struct {
		cfg   breaker.Config
		steps func(*testing.T, *breaker.Breaker)
		want  error
	}{
		"on the failure": {breaker.Config{MinCalls: 2}, func(t *testing.T, b *breaker.Breaker) { ok(t, b); fail(t, b) }, errSick},
		"on a success":   {breaker.Config{MinCalls: 2}, func(t *testing.T, b *breaker.Breaker) { fail(t, b); ok(t, b) }, errSick},
		"on a slow call": {breaker.Config{MinCalls: 2, FailureRate: breaker.Never, SlowAfter: s, SlowRate: 0.5}, func(t *testing.T, b *breaker.Breaker) { fail(t, b); ends(nil, s)(t, b) }, errSick},
		"only slow":      {breaker.Config{MinCalls: 2, SlowAfter: s}, times(2, ends(nil, s)), nil},
		"slow answers":   {breaker.Config{MinCalls: 1, SlowAfter: s}, ends(&backstay.Error{Err: errors.New("not found"), Class: backstay.Permanent}, s), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changes []breaker.Change
				row.cfg.OnChange = func(c breaker.Change) { changes = append(changes, c) }
				b := breaker.New(row.cfg)
				row.steps(t, b)
				if len(changes) != 1 || changes[0].Cause != row.want {
					t.Errorf("changes = %+v, want one by %v", changes, row.want)
				}
				if e, ok := errors.AsType[*breaker.OpenError](do(t.Context(), b, after(0, nil))); !ok || e.Cause != row.want {
					t.Errorf("rejection = %v, want one by %v", e, row.want)
				}
			})
		})
	}
}
