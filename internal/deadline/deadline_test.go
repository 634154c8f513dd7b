package deadline

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errCause  = errors.New("own deadline")
	errParent = errors.New("the parent's cause")
)

type key struct{}

// An ender is what both contexts of this package are.
type ender interface {
	context.Context
	Expired() bool
	Finish()
}

var kinds = map[string]func(parent context.Context, at time.Time) ender{
	"Context":   func(p context.Context, at time.Time) ender { return New(p, at, &errCause) },
	"Stoppable": func(p context.Context, at time.Time) ender { return NewStoppable(p, at, errCause) },
}

// The ways in which a context ends, and what it then says.
var endings = map[string]struct {
	end     func(c ender, cancelParent context.CancelCauseFunc)
	err     error
	cause   error
	expired bool
}{
	"deadline": {func(ender, context.CancelCauseFunc) { <-time.After(2 * time.Second) }, context.DeadlineExceeded, errCause, true},
	"parent": {func(_ ender, cancel context.CancelCauseFunc) {
		cancel(errParent)
		<-time.After(time.Millisecond)
	}, context.Canceled, errParent, false},
	"parent, then the deadline": {func(_ ender, cancel context.CancelCauseFunc) {
		cancel(errParent)
		<-time.After(2 * time.Second)
	}, context.Canceled, errParent, false},
	"finish": {func(c ender, _ context.CancelCauseFunc) { c.Finish() }, context.Canceled, context.Canceled, false},
	"finish, then the deadline": {func(c ender, _ context.CancelCauseFunc) {
		c.Finish()
		<-time.After(2 * time.Second)
	}, context.Canceled, context.Canceled, false},
	"finish twice": {func(c ender, _ context.CancelCauseFunc) { c.Finish(); c.Finish() }, context.Canceled, context.Canceled, false},
}

// Whatever is asked first, and whatever was asked before the end, all say the
// same, and go on saying it.
func TestAContextAgreesWithItself(t *testing.T) {
	looks := map[string]func(c ender){
		"nothing": func(ender) {},
		"Done":    func(c ender) { c.Done() },
		"Err":     func(c ender) { _ = c.Err() },
		"Cause":   func(c ender) { _ = context.Cause(c) },
		"Value":   func(c ender) { c.Value(key{}) },
		"Expired": func(c ender) { c.Expired() },
		"child":   func(c ender) { _, cancel := context.WithCancel(c); cancel() },
	}
	for kind, fresh := range kinds {
		for how, e := range endings {
			for before, look := range looks {
				for first, lookAfter := range looks {
					synctest.Test(t, func(t *testing.T) {
						parent, cancel := context.WithCancelCause(context.WithValue(context.Background(), key{}, "value"))
						defer cancel(nil)
						c := fresh(parent, time.Now().Add(time.Second))
						defer c.Finish()
						look(c)
						if c.Err() != nil || c.Expired() || context.Cause(c) != nil || c.Value(key{}) != "value" {
							t.Fatalf("%s before its end: Err() = %v, Cause %v", kind, c.Err(), context.Cause(c))
						}
						e.end(c, cancel)
						synctest.Wait()
						for range 2 {
							lookAfter(c)
							if c.Err() != e.err || context.Cause(c) != e.cause || c.Expired() != e.expired || c.Value(key{}) != "value" {
								t.Errorf("%s ended by %s (%s asked before, %s after): Err(), Cause, Expired() = %v, %v, %v, want %v, %v, %v",
									kind, how, before, first, c.Err(), context.Cause(c), c.Expired(), e.err, e.cause, e.expired)
							}
							select {
							case <-c.Done():
							default:
								t.Errorf("%s ended by %s: Done() is open, want closed", kind, how)
							}
							<-time.After(2 * time.Second)
						}
					})
				}
			}
		}
	}
}

// Contexts derived from one end with it, as its own Err and Cause say, whether
// they were made before or after the end.
func TestChildrenEndAsTheirParentDoes(t *testing.T) {
	for kind, fresh := range kinds {
		for how, e := range endings {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				c := fresh(parent, time.Now().Add(time.Second))
				defer c.Finish()
				early, cancelEarly := context.WithTimeout(c, time.Hour)
				defer cancelEarly()
				ran := false
				context.AfterFunc(c, func() { ran = true })
				e.end(c, cancel)
				synctest.Wait()
				late, cancelLate := context.WithCancel(c)
				defer cancelLate()
				synctest.Wait()
				for when, child := range map[string]context.Context{"before": early, "after": late} {
					if child.Err() != e.err || context.Cause(child) != e.cause {
						t.Errorf("child made %s the end of a %s by %s: Err(), Cause = %v, %v, want %v, %v", when, kind, how, child.Err(), context.Cause(child), e.err, e.cause)
					}
				}
				if !ran {
					t.Errorf("AfterFunc of a %s ended by %s did not run", kind, how)
				}
			})
		}
	}
}

func TestDeadlineIsTheSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for kind, fresh := range kinds {
			for _, d := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second} {
				parent, cancel := context.WithTimeout(context.Background(), d)
				c := fresh(parent, time.Now().Add(2*time.Second))
				if at, ok := c.Deadline(); !ok || time.Until(at) != min(d, 2*time.Second) {
					t.Errorf("%s of 2s under %v: Deadline in %v, want the sooner", kind, d, time.Until(at))
				}
				c.Finish()
				cancel()
			}
			c := fresh(context.Background(), time.Now().Add(time.Second))
			if at, ok := c.Deadline(); !ok || time.Until(at) != time.Second {
				t.Errorf("%s of 1s: Deadline in %v, want 1s", kind, time.Until(at))
			}
			c.Finish()
		}
	})
}

func TestDerivedContextsCostNoGoroutine(t *testing.T) {
	for kind, fresh := range kinds {
		c := fresh(context.Background(), time.Now().Add(time.Hour))
		before := runtime.NumGoroutine()
		for range 100 {
			_, cancel := context.WithCancel(c)
			defer cancel()
			_, cancel = context.WithCancel(context.WithValue(c, key{}, "between"))
			defer cancel()
			defer context.AfterFunc(c, func() {})()
		}
		if got := runtime.NumGoroutine() - before; got > 2 {
			t.Errorf("200 contexts derived from a %s: %d goroutines, want 0", kind, got)
		}
		c.Finish()
	}
}

// The first to call Done makes the timer; the others wait for it.
func TestDoneIsOneChannelForAll(t *testing.T) {
	for range 2000 {
		c := New(context.Background(), time.Now().Add(time.Hour), &errCause)
		var wg sync.WaitGroup
		var got [4]<-chan struct{}
		for i := range got {
			wg.Go(func() {
				switch i {
				case 2:
					_ = c.Err()
				case 3:
					c.Finish()
				}
				got[i] = c.Done()
			})
		}
		wg.Wait()
		for _, d := range got {
			if d != got[0] {
				// A channel that was closed when it was made is the same as any.
				<-d
				<-got[0]
			}
		}
		<-c.Done()
	}
}

func TestAStoppedDeadlineDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c := NewStoppable(parent, time.Now().Add(time.Second), errCause)
		for range 2 {
			if !c.Stop() {
				t.Error("Stop() before the deadline = false, want true, and again")
			}
		}
		<-time.After(2 * time.Second)
		if at, _ := c.Deadline(); c.Err() != nil || time.Until(at) != 58*time.Second {
			t.Errorf("2s after a deadline of 1s that was stopped: Err() = %v, Deadline in %v, want nil and the parent's 58s", c.Err(), time.Until(at))
		}
		<-time.After(time.Minute)
		if c.Err() != context.DeadlineExceeded || c.Expired() {
			t.Errorf("after the parent's deadline: Err(), Expired() = %v, %v, want DeadlineExceeded, false", c.Err(), c.Expired())
		}
		c.Finish()

		c = NewStoppable(context.Background(), time.Now().Add(time.Second), errCause)
		<-time.After(time.Second)
		synctest.Wait()
		if c.Stop() || c.Err() != context.DeadlineExceeded {
			t.Errorf("Stop() after the deadline = true, Err() %v, want false and DeadlineExceeded", c.Err())
		}
		if _, ok := c.Deadline(); !ok {
			t.Error("Deadline() after it has passed = none, want it")
		}
		c.Finish()
	})
}

func TestStoppableErrIsNeverAheadOfDone(t *testing.T) {
	for range 1000 {
		parent, cancel := context.WithCancel(context.Background())
		s := NewStoppable(parent, time.Now().Add(time.Hour), errors.New("late"))
		cancel()
		if s.Err() == nil {
			t.Fatal("Err() = nil after the parent's end, want context.Canceled")
		}
		select {
		case <-s.Done():
		default:
			t.Fatal("Err() tells an end that Done() does not")
		}
		s.Finish()
	}
}
