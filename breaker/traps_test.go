package breaker_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/leak"
)

// Each test here shows a trap of bare gobreaker v2.4.0, and that the same use
// of a Breaker does not fall into it. Should one fail in its first half, a
// newer gobreaker has mended the trap.

type bare = gobreaker.CircuitBreaker[int]

func execute(cb interface {
	Execute(func() (int, error)) (int, error)
}, f func() error) error {
	_, err := cb.Execute(func() (int, error) { return 0, f() })
	return err
}

// Results whose window rolled over during the call are dropped, so a hundred
// failures that take longer than the window leave the breaker closed.
//
// B-4
func TestTrapFailuresSlowerThanTheWindow(t *testing.T) {
	slowly := func() error { take(11 * s); return errSick }
	together := func(call func()) {
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(call)
		}
		calls.Wait()
	}
	for name, bucket := range map[string]time.Duration{"fixed window": 0, "rolling window": s} {
		synctest.Test(t, func(t *testing.T) {
			cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
				Interval: 10 * s, BucketPeriod: bucket,
				ReadyToTrip: func(c gobreaker.Counts) bool { return c.TotalFailures >= 20 },
			})
			together(func() { _ = execute(cb, slowly) })
			if got := cb.State(); got != gobreaker.StateClosed {
				t.Errorf("gobreaker, %s: State() after 100 slow failures = %v: the trap is gone", name, got)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{Window: 10 * s, MinCalls: 20})
		together(func() { _ = do(t.Context(), b, func(context.Context) error { return slowly() }) })
		if got := b.State(); got != Open {
			t.Errorf("State() after 100 slow failures = %v, want open", got)
		}
	})
}

// OnStateChange runs under the lock, so it deadlocks when it calls State.
//
// B-16
func TestTrapStateInTheCallback(t *testing.T) {
	leak.Check(t)
	var cb *bare
	blocked := false
	cb = gobreaker.NewCircuitBreaker[int](gobreaker.Settings{
		ReadyToTrip:   func(gobreaker.Counts) bool { return true },
		OnStateChange: func(string, gobreaker.State, gobreaker.State) { blocked = waitsForMutex(func() { cb.State() }) },
	})
	_ = execute(cb, func() error { return errSick })
	if !blocked {
		t.Error("gobreaker: State() in OnStateChange returns: the trap is gone")
	}

	var b *breaker.Breaker
	told := Closed
	b = breaker.New(breaker.Config{ConsecutiveFailures: 1, OnChange: func(breaker.Change) { told = b.State() }})
	fail(t, b)
	if told != Open {
		t.Errorf("State() in OnChange = %v, want open", told)
	}
}

// waitsForMutex runs f on a goroutine and reports whether it comes to wait for
// a mutex, and not to its end. The caller holds the mutex and lets go of it
// afterwards, so that nothing stays behind.
func waitsForMutex(f func()) bool {
	header := make(chan string, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		buf := make([]byte, 64)
		name, _, _ := strings.Cut(string(buf[:runtime.Stack(buf, false)]), "[")
		header <- name + "[sync.Mutex.Lock"
		f()
	}()
	waiting := <-header // as in "goroutine 7 [sync.Mutex.Lock"
	buf := make([]byte, 1<<20)
	for {
		select {
		case <-over:
			return false
		default:
		}
		if strings.Contains(string(buf[:runtime.Stack(buf, true)]), waiting) {
			return true
		}
		runtime.Gosched()
	}
}

// A runtime.Goexit in Execute, which t.FailNow is, loses a probe for good.
//
// B-6
func TestTrapGoexitLosesAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{ReadyToTrip: func(gobreaker.Counts) bool { return true }, Timeout: s})
		_ = execute(cb, func() error { return errSick })
		pass(2 * s)
		apart(func() { _ = execute(cb, func() error { runtime.Goexit(); return nil }) })
		pass(1000 * time.Hour)
		if err := execute(cb, func() error { return nil }); err != gobreaker.ErrTooManyRequests {
			t.Errorf("gobreaker: Execute() long after a probe's Goexit = %v: the trap is gone", err)
		}
	})
	run(t, brittle, []step{{0, trip, Open}, {7 * s, func(t *testing.T, b *breaker.Breaker) {
		apart(func() { _ = do(t.Context(), b, func(context.Context) error { runtime.Goexit(); return nil }) })
	}, Open}, {time.Hour, ok, Closed}})
}

// A panic goes through IsSuccessful, which has never seen its error and may
// take it for a success.
//
// B-7
func TestTrapAPanicIsASuccess(t *testing.T) {
	isFailure := func(err error) bool { return errors.Is(err, errSick) }
	boom := func() error { panic("boom") }

	cb := gobreaker.NewCircuitBreaker[int](gobreaker.Settings{IsSuccessful: func(err error) bool { return !isFailure(err) }})
	for range 100 {
		apart(func() { _ = execute(cb, boom) })
	}
	if got := cb.Counts().TotalSuccesses; got != 100 {
		t.Errorf("gobreaker: 100 panics are %d successes: the trap is gone", got)
	}

	b := breaker.New(breaker.Config{ConsecutiveFailures: 100, Failure: isFailure})
	for range 100 {
		apart(func() { _ = do(t.Context(), b, func(context.Context) error { return boom() }) })
	}
	if got := b.State(); got != Open {
		t.Errorf("State() after 100 panics = %v, want open", got)
	}
}

// Each call has two sections under the mutex, of which each reads the clock:
// one before it and one after it.
//
// B-19
func TestTrapTwoMutexSectionsPerCall(t *testing.T) {
	leak.Check(t)
	var locked func() // what happens while gobreaker holds its lock
	cb := gobreaker.NewTwoStepCircuitBreaker[int](gobreaker.Settings{ReadyToTrip: func(gobreaker.Counts) bool { locked(); return false }})
	hold := func(f func()) {
		locked = f
		done, err := cb.Allow()
		if err != nil {
			t.Fatalf("gobreaker: Allow() = %v, want no error", err)
		}
		done(errSick)
	}
	done, err := cb.Allow()
	if err != nil {
		t.Fatalf("gobreaker: Allow() = %v, want no error", err)
	}
	for section, f := range map[string]func(){"before": func() { _, _ = cb.Allow() }, "after": func() { done(nil) }} {
		hold(func() {
			if !waitsForMutex(f) {
				t.Errorf("gobreaker: the section %s a call takes no mutex: the trap is gone", section)
			}
		})
	}

	b := breaker.New(breaker.Config{Window: time.Hour})
	ok(t, b) // the first success in a tenth of the window makes its bucket
	b.Locked(func() {
		if waitsForMutex(func() { ok(t, b) }) {
			t.Error("a success waits for the mutex, want none taken")
		}
		if waitsForMutex(func() {
			done, _ := b.Allow()
			done(nil)
		}) {
			t.Error("a success by Allow waits for the mutex, want none taken")
		}
	})
}

// The breaker that shares its state through a store reads it before it takes
// the store's lock, so of two calls at a time one undoes what the other has
// written; and it holds the lock during the call.
func TestTrapSharedStateLosesUpdates(t *testing.T) {
	shared := &store{data: map[string][]byte{}}
	settings := gobreaker.Settings{Name: "orders", ReadyToTrip: func(c gobreaker.Counts) bool { return c.TotalFailures >= 2 }}
	first, err := gobreaker.NewDistributedCircuitBreaker[int](shared, settings)
	if err != nil {
		t.Fatalf("gobreaker: NewDistributedCircuitBreaker() = %v, want no error", err)
	}
	second, err := gobreaker.NewDistributedCircuitBreaker[int](shared, settings)
	if err != nil {
		t.Fatalf("gobreaker: NewDistributedCircuitBreaker() = %v, want no error", err)
	}
	shared.beforeLock = func() { _ = execute(second, func() error { return errSick }) }
	lockedInCall := false
	_ = execute(first, func() error { lockedInCall = shared.locked; return errSick })
	var state gobreaker.SharedState
	if err := json.Unmarshal(shared.data["gobreaker:state:orders"], &state); err != nil {
		t.Fatal(err)
	}
	if state.Counts.TotalFailures != 1 || state.State != gobreaker.StateClosed {
		t.Errorf("gobreaker: two failures at a time count as %d and leave it %v: the trap is gone", state.Counts.TotalFailures, state.State)
	}
	if !lockedInCall {
		t.Error("gobreaker: the store is not locked during a call: the trap is gone")
	}

	// A Breaker shares nothing between processes. Within one, calls at the same
	// time are all counted, and none waits for another.
	b := breaker.New(breaker.Config{MinCalls: 2})
	_ = do(t.Context(), b, func(context.Context) error {
		fail(t, b)
		return errSick
	})
	if got := b.State(); got != Open {
		t.Errorf("State() after two failures at a time = %v, want open", got)
	}
}

// A store is a gobreaker.SharedDataStore in memory.
type store struct {
	data       map[string][]byte
	locked     bool
	beforeLock func() // called once
}

func (s *store) Lock(string) error {
	if f := s.beforeLock; f != nil {
		s.beforeLock = nil
		f()
	}
	s.locked = true
	return nil
}

func (s *store) Unlock(string) error { s.locked = false; return nil }

func (s *store) GetData(name string) ([]byte, error) { return s.data[name], nil }

func (s *store) SetData(name string, data []byte) error { s.data[name] = data; return nil }
