package breaker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/leak"
)

// Every way for a call to end, together with changes by hand, from many
// goroutines.
//
// B-5, B-6, B-16
func TestStorm(t *testing.T) {
	leak.Check(t)
	var b *breaker.Breaker
	var told []breaker.Change // no lock: OnChange must never overlap itself
	b = breaker.New(breaker.Config{
		MinCalls: 5, Window: 50 * time.Millisecond, Cooldown: time.Microsecond, MaxCooldown: 100 * time.Microsecond,
		Recovery: time.Millisecond, SlowAfter: time.Second, MaxProbe: time.Minute,
		OnChange: func(c breaker.Change) {
			told = append(told, c)
			if b.State() == Open && len(told)%50 == 0 {
				b.Reset()
			}
			if len(told)%7 == 0 {
				panic("observer")
			}
		},
	})
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 500 {
				apart(func() { storm(t.Context(), b) })
				if i == 0 && j%100 == 50 {
					[]func(){b.ForceOpen, b.Disable}[j/100%2]()
					b.Reset()
				}
			}
		})
	}
	callers.Wait()
	if got := b.Probes(); got != 0 {
		t.Errorf("%d probes are under way after all calls have ended, want 0", got)
	}
	if len(told) < 20 {
		t.Errorf("the storm made %d changes, want more of it", len(told))
	}
	checkChain(t, told, b.State())
	b.Reset()
	if err := do(t.Context(), b, after(0, nil)); err != nil {
		t.Errorf("Do() after the storm = %v, want no error", err)
	}
}

// storm makes a call that ends in some way.
func storm(ctx context.Context, b *breaker.Breaker) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	switch rand.N(8) {
	case 0:
		_ = do(ctx, b, func(context.Context) error { panic("boom") })
	case 1:
		_ = do(ctx, b, func(context.Context) error { runtime.Goexit(); return nil })
	case 2:
		_ = do(ctx, b, func(ctx context.Context) error { cancel(); return ctx.Err() })
	case 3:
		if done, err := b.Allow(); err == nil {
			var both sync.WaitGroup
			both.Go(func() { done(errSick) })
			both.Go(func() { done(nil) })
			both.Wait()
		}
	case 4, 5:
		_ = do(ctx, b, func(context.Context) error { return errSick })
	case 6:
		_ = do(ctx, backstay.New(hedging, b), func(context.Context) error { return nil })
	default:
		_ = do(ctx, b, func(context.Context) error { return nil })
	}
}

// hedging makes two attempts at a time and adopts the first.
var hedging = backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		var attempts [2]*backstay.Call
		var errs [2]error
		var both sync.WaitGroup
		for i := range attempts {
			a, err := call.Fork()
			if err != nil {
				return err
			}
			attempts[i] = a
			both.Go(func() { errs[i] = next(ctx, a) })
		}
		both.Wait()
		call.Adopt(attempts[0])
		attempts[1].Discard(errors.New("lost"))
		return errs[0]
	}
})
