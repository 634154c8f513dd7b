package breaker_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/clock"
)

// B-3
func TestATimeWindowForgetsATenthAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := breaker.NewTimeWindow(10 * s)
		for range 10 { // in each second a success and a failure, every other slow
			w.Succeed()
			w.Fail(clock.Now(), true)
			pass(s)
		}
		for left := int64(9); left >= 0; left-- {
			pass(10 * ms) // well inside the next bucket
			if got, want := w.Tally(clock.Now()), [3]int64{2 * left, left, left}; got != want {
				t.Errorf("tally with %d s of 10 left = %v, want %v", left, got, want)
			}
			pass(990 * ms)
		}
	})
}

// B-3, B-4
func TestALateOutcomeJoinsItsBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := breaker.NewTimeWindow(10 * s)
		w.Fail(clock.Now(), false)
		ended := clock.Now()
		pass(1001 * ms) // the timer has put an end to the bucket
		w.Fail(ended, false)
		if got, want := w.Tally(clock.Now()), [3]int64{2, 2, 0}; got != want {
			t.Errorf("tally with an outcome after its bucket's end = %v, want %v", got, want)
		}
		w.Succeed()
		pass(30 * s)
		w.Fail(clock.Now(), false)
		w.Fail(ended, false) // held up for longer than the window
		if got, want := w.Tally(clock.Now()), [3]int64{2, 2, 0}; got != want {
			t.Errorf("tally with an outcome that comes very late = %v, want %v", got, want)
		}
		w = breaker.NewTimeWindow(10 * s)
		w.Fail(clock.Now()-time.Hour, true) // read before there was a window
		if got, want := w.Tally(clock.Now()), [3]int64{1, 1, 1}; got != want {
			t.Errorf("tally with an outcome from before the window = %v, want %v", got, want)
		}
	})
}

func TestATimeWindowIsWellWhenFailuresHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := breaker.NewTimeWindow(10 * s)
		if !w.Succeed() {
			t.Error("Succeed() of a new window = false, want all well")
		}
		w.Fail(clock.Now(), false)
		for i := range 10 {
			if w.Succeed() {
				t.Errorf("Succeed() %d s after a failure = true, want it judged", i)
			}
			pass(s)
		}
		if !w.Succeed() {
			t.Error("Succeed() 10 s after a failure = false, want all well")
		}
	})
}

// B-3
func TestACountWindowIsTheLastOutcomes(t *testing.T) {
	w := breaker.NewCountWindow(4)
	for i, row := range []struct {
		do   func()
		want [3]int64
	}{
		{func() {}, [3]int64{}},
		{func() { w.Succeed() }, [3]int64{1, 0, 0}},
		{func() { w.Fail(0, true) }, [3]int64{2, 1, 1}},
		{func() { w.Fail(0, false) }, [3]int64{3, 2, 1}},
		{func() { w.Fail(0, true) }, [3]int64{4, 3, 2}},
		{func() { w.Fail(0, false) }, [3]int64{4, 4, 2}},
		{func() { w.Succeed() }, [3]int64{4, 3, 1}},
		{func() { w.Succeed() }, [3]int64{4, 2, 1}},
		{func() { w.Succeed() }, [3]int64{4, 1, 0}},
		{func() { w.Succeed() }, [3]int64{4, 0, 0}},
	} {
		row.do()
		if got := w.Tally(0); got != row.want {
			t.Errorf("tally after step %d = %v, want %v", i, got, row.want)
		}
	}
}

// B-3
func TestWindowsCountExactlyUnderConcurrency(t *testing.T) {
	counted, timed := breaker.NewCountWindow(64), breaker.NewTimeWindow(time.Hour)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 1000 {
				if i%2 == 0 {
					counted.Succeed()
					timed.Succeed()
				} else {
					counted.Fail(0, true)
					timed.Fail(clock.Now(), true)
				}
			}
		})
	}
	callers.Wait()
	if got, want := timed.Tally(clock.Now()), [3]int64{8000, 4000, 4000}; got != want {
		t.Errorf("tally of a time window = %v, want %v", got, want)
	}
	for range 64 {
		counted.Fail(0, true)
	}
	if got, want := counted.Tally(0), [3]int64{64, 64, 64}; got != want {
		t.Errorf("tally of a count window after 64 slow failures = %v, want %v", got, want)
	}
	for range 64 {
		counted.Succeed()
	}
	if got, want := counted.Tally(0), [3]int64{64, 0, 0}; got != want {
		t.Errorf("tally of a count window after 64 successes = %v, want %v", got, want)
	}
}
