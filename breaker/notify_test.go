package breaker_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
)

func arrow(c breaker.Change) string { return fmt.Sprintf("%v>%v", c.From, c.To) }

// B-16
func TestOnChangeIsToldInOrderAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		cfg := brittle
		cfg.OnChange = func(c breaker.Change) { told = append(told, arrow(c)) }
		b := breaker.New(cfg)
		trip(t, b)
		pass(cooled)
		ok(t, b)
		b.Reset() // closed already
		b.ForceOpen()
		b.ForceOpen()
		b.Disable()
		b.Reset()
		want := "closed>open open>half_open half_open>closed closed>forced_open forced_open>disabled disabled>closed"
		if got := strings.Join(told, " "); got != want {
			t.Errorf("OnChange was told %s, want %s", got, want)
		}
	})
}

// B-16
func TestOnChangeMayUseTheBreaker(t *testing.T) {
	var b *breaker.Breaker
	var told []string
	inside := false
	b = breaker.New(breaker.Config{ConsecutiveFailures: 1, OnChange: func(c breaker.Change) {
		if inside {
			t.Errorf("OnChange(%v) within OnChange, want them one after the other", arrow(c))
		}
		inside = true
		told = append(told, arrow(c)+" in "+b.State().String())
		switch c.To {
		case Open:
			b.ForceOpen()
			b.Disable()
			b.Reset()
			ok(t, b)
		case Disabled:
			_, _ = b.Allow()
		}
		inside = false
	}})
	fail(t, b)
	want := []string{"closed>open in open", "open>forced_open in closed", "forced_open>disabled in closed", "disabled>closed in closed"}
	if !slices.Equal(told, want) {
		t.Errorf("OnChange was told %q, want %q", told, want)
	}
}

// B-16
func TestAPanicOfOnChangeChangesNothing(t *testing.T) {
	var told []string
	b := breaker.New(breaker.Config{ConsecutiveFailures: 1, OnChange: func(c breaker.Change) { told = append(told, arrow(c)); panic("observer") }})
	fail(t, b)
	b.Reset()
	fail(t, b)
	if want := []string{"closed>open", "open>closed", "closed>open"}; !slices.Equal(told, want) {
		t.Errorf("an OnChange that panics was told %q, want %q", told, want)
	}
}

// B-6, B-16
func TestGoexitInOnChangeLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *breaker.Breaker
		var told []string
		cfg := brittle
		cfg.OnChange = func(c breaker.Change) {
			told = append(told, arrow(c))
			if c.To == Open {
				b.Disable()
				b.Reset()
			}
			if c.To == Open || c.To == HalfOpen {
				runtime.Goexit()
			}
		}
		b = breaker.New(cfg)
		apart(func() { fail(t, b) })
		if want := []string{"closed>open", "open>disabled", "disabled>closed"}; !slices.Equal(told, want) {
			t.Errorf("an OnChange that ends its goroutine was told %q, want %q", told, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		cfg := brittle
		cfg.OnChange = func(c breaker.Change) {
			if c.To == HalfOpen {
				runtime.Goexit()
			}
		}
		b := breaker.New(cfg)
		trip(t, b)
		pass(cooled)
		apart(func() {
			ok(t, b)
			t.Error("Do() returned though OnChange ended the goroutine")
		})
		if got := b.Probes(); got != 0 {
			t.Errorf("%d probes are under way, want 0: the only one's goroutine has ended", got)
		}
		ok(t, b)
		if got := b.State(); got != Closed {
			t.Errorf("State() after the next probe = %v, want closed", got)
		}
	})
}

// B-16
func TestOnChangeStaysInOrderUnderConcurrency(t *testing.T) {
	var told []breaker.Change // no lock: OnChange must never overlap itself
	b := breaker.New(breaker.Config{OnChange: func(c breaker.Change) { told = append(told, c) }})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 200 {
				b.ForceOpen()
				b.Disable()
				b.Reset()
			}
		})
	}
	callers.Wait()
	checkChain(t, told, b.State())
}

// checkChain checks that each change begins where the one before it ended, and
// the last ends in state.
func checkChain(t *testing.T, changes []breaker.Change, state breaker.State) {
	t.Helper()
	at := Closed
	for i, c := range changes {
		if c.From != at || c.To == at {
			t.Fatalf("change %d is %s, want one from %v", i, arrow(c), at)
		}
		at = c.To
	}
	if at != state {
		t.Errorf("the last change led to %v, want %v", at, state)
	}
}

type observer struct{ events []backstay.Event }

func (o *observer) Observe(_ *backstay.Call, e backstay.Event) { o.events = append(o.events, e) }

func (o *observer) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error { call.Watch(o); return next(ctx, call) }
}

func TestEventsTellOfChangesAndRejections(t *testing.T) {
	b, o := breaker.New(brittle), &observer{}
	for range 2 {
		_ = do(t.Context(), backstay.New(o, b), after(0, errSick))
	}
	var got []string
	for _, e := range o.events {
		got = append(got, fmt.Sprintf("%d %s %s>%s %s: %v", e.Kind, e.Source, e.From, e.To, e.Reason, e.Err))
	}
	want := []string{
		fmt.Sprintf("%d orders closed>open : sick", backstay.EventState),
		fmt.Sprintf("%d orders > circuit_open: breaker orders: open", backstay.EventReject),
	}
	if !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}
