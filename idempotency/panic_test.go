package idempotency

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ends runs f in a goroutine of its own, and returns what it panics with and the
// stack of that.
func ends(f func()) (value any, stack string) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			value = recover()
			stack = string(debug.Stack())
		}()
		f()
	})
	wg.Wait()
	return value, stack
}

// brew is work that has its effect, and then panics.
func brew(with any) func(context.Context) Result {
	return func(context.Context) Result { panic(with) }
}

func exit(context.Context) Result {
	runtime.Goexit()
	return Result{}
}

// I-15 has a panic release the key. That is wrong under Fail: work that panics
// after its effect has left it behind, and the caller's next attempt would do it
// again. A panic is a crash between effect and record, I-14, so OnLeaseExpiry
// decides here too, only sooner: nobody need wait for the lease.
func TestAPanicAfterTheEffectDoesNotHaveItTwice(t *testing.T) {
	for name, work := range map[string]func(context.Context) Result{
		"a panic":    brew("the kettle"),
		"nil":        brew(nil),
		"an error":   brew(errors.New("the kettle")),
		"an abort":   brew(context.Canceled),
		"the Goexit": exit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(MemoryConfig{})
				p, other := newProcess(t, GuardConfig{Store: m}, nil), newProcess(t, GuardConfig{Store: m}, nil)
				took := lasts(func() {
					ends(func() { _, _, _ = p.do(t.Context(), work) })
					p.want("", false, ErrOutcomeUnknown)
					other.want("", false, ErrOutcomeUnknown)
				})
				if took != 0 {
					t.Errorf("that it is unknown was told after %v, want at once", took)
				}
				wantWorks(t, 1, p, other)
				if p.told(Panicked) != 1 || p.told(Executed) != 0 {
					t.Errorf("told of %d panicked, %d executed, want 1 and 0", p.told(Panicked), p.told(Executed))
				}
			})
		})
	}
}

// I-15
func TestWithReexecuteAPanicReleasesTheKey(t *testing.T) {
	for name, store := range map[string]Store{"Memory": NewMemory(MemoryConfig{}), "Transactor": newBank()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{Store: store, OnLeaseExpiry: Reexecute}, nil)
				ends(func() { _, _, _ = p.do(t.Context(), brew("the kettle")) })
				ends(func() { _, _, _ = p.do(t.Context(), exit) })
				if took := lasts(func() { p.want("tea", false, nil) }); took != 0 {
					t.Errorf("Do after a panic took %v, want 0", took)
				}
				wantWorks(t, 3, p)
			})
		})
	}
}

// I-15
func TestThePanicOfTheWorkArrivesAsItWas(t *testing.T) {
	kettle := errors.New("the kettle")
	p := newProcess(t, GuardConfig{}, nil)
	value, stack := ends(func() { _, _, _ = p.do(t.Context(), brew(kettle)) })
	if value != kettle || !strings.Contains(stack, "brew.1(") {
		t.Errorf("Do panics with %v from\n%s\nwant %v from brew", value, stack, kettle)
	}
}

// Without a store there is no key to give up, and the panic arrives all the same.
func TestAPanicWhileTheStoreIsDownIsUnknownWhenTheLeaseHasRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{}, always("GiveUp", fault{hangs: forever}))
		var value any
		took := lasts(func() {
			value, _ = ends(func() { _, _, _ = p.do(t.Context(), brew("the kettle")) })
		})
		if value != "the kettle" || took > 5*s {
			t.Errorf("Do panics with %v after %v, want the work's own within 5s", value, took)
		}
		p.want("", false, ErrInProgress)
		<-time.After(30 * s)
		p.want("", false, ErrOutcomeUnknown)
		wantWorks(t, 1, p)
	})
}

// A transaction that cannot begin leaves no lease that is renewed for ever.
func TestATransactorThatPanicsLeavesNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank()
		b.beginPanics = true
		g := NewGuard(GuardConfig{Store: b})
		if value, _ := ends(func() { _, _, _ = g.Do(t.Context(), Request{Key: theKey}, tea) }); value == nil {
			t.Error("Do returned, want the panic of Begin")
		}
		b.beginPanics = false
		if record, _, err := g.Do(t.Context(), Request{Key: theKey}, tea); string(record) != "tea" || err != nil {
			t.Errorf("Do afterwards = %q, %v, want the record", record, err)
		}
	})
}
