//go:build race

package backstay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
)

// In builds with the race detector a Call that is used after its end panics,
// however it has ended.
func TestACallUsedAfterItsEndPanics(t *testing.T) {
	keep := func(kept **backstay.Call, then func(ctx context.Context, call *backstay.Call, next backstay.Func) error) {
		defer func() { _ = recover() }()
		_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			*kept = call
			return then(ctx, call, next)
		}))
	}
	ends := map[string]func(kept **backstay.Call){
		"returned": func(kept **backstay.Call) {
			keep(kept, func(ctx context.Context, call *backstay.Call, next backstay.Func) error { return next(ctx, call) })
		},
		"panicked": func(kept **backstay.Call) {
			keep(kept, func(context.Context, *backstay.Call, backstay.Func) error { panic("over") })
		},
		"returned before a fork": func(kept **backstay.Call) {
			keep(kept, func(_ context.Context, call *backstay.Call, _ backstay.Func) error { _, err := call.Fork(); return err })
		},
		"adopted": func(kept **backstay.Call) {
			keep(kept, func(_ context.Context, call *backstay.Call, _ backstay.Func) error {
				*kept, _ = call.Fork()
				call.Adopt(*kept)
				return nil
			})
		},
		"adopted before a fork": func(kept **backstay.Call) {
			keep(kept, func(_ context.Context, call *backstay.Call, _ backstay.Func) error {
				*kept, _ = call.Fork()
				_, _ = (*kept).Fork()
				call.Adopt(*kept)
				return nil
			})
		},
		"discarded": func(kept **backstay.Call) {
			keep(kept, func(_ context.Context, call *backstay.Call, _ backstay.Func) error {
				*kept, _ = call.Fork()
				(*kept).Discard(nil)
				return nil
			})
		},
	}
	uses := map[string]func(c *backstay.Call){
		"Adopt":       func(c *backstay.Call) { c.Adopt(c) },
		"AppendTried": func(c *backstay.Call) { c.AppendTried(nil) },
		"Bar":         func(c *backstay.Call) { c.Bar() },
		"Barred":      func(c *backstay.Call) { c.Barred() },
		"Began":       func(c *backstay.Call) { c.Began() },
		"BeganAt":     func(c *backstay.Call) { c.BeganAt(time.Now()) },
		"Begin":       func(c *backstay.Call) { c.Begin() },
		"Discard":     func(c *backstay.Call) { c.Discard(nil) },
		"Elsewhere":   func(c *backstay.Call) { c.Elsewhere(context.Background()) },
		"Emit":        func(c *backstay.Call) { c.Emit(backstay.Event{}) },
		"Ended":       func(c *backstay.Call) { c.Ended() },
		"Fork":        func(c *backstay.Call) { _, _ = c.Fork() },
		"Held":        func(c *backstay.Call) { c.Held() },
		"Move":        func(c *backstay.Call) { c.Move("a") },
		"Moved":       func(c *backstay.Call) { c.Moved() },
		"OnDone":      func(c *backstay.Call) { c.OnDone(func(error) {}) },
		"Repeatable": func(c *backstay.Call) {
			c.Repeatable(nil)
		},
		"Request":   func(c *backstay.Call) { backstay.Request[int](c) },
		"Result":    func(c *backstay.Call) { backstay.Result[int](c) },
		"Sent":      func(c *backstay.Call) { c.Sent() },
		"SetResult": func(c *backstay.Call) { backstay.SetResult(c, 1) },
		"Split":     func(c *backstay.Call) { c.Split(backstay.Mark{}) },
		"Tries":     func(c *backstay.Call) { c.TriedCount() },
		"Tried":     func(c *backstay.Call) { c.Tried("e") },
		"Try":       func(c *backstay.Call) { c.Try("e", nil) },
		"Waited":    func(c *backstay.Call) { c.Waited() },
		"Watch":     func(c *backstay.Call) { c.Watch(nil) },
		"Watched":   func(c *backstay.Call) { c.Watched() },
	}
	const want = "backstay: a Call was used after its end; a Call must not be kept after its Func has returned"
	for how, end := range ends {
		for name, use := range uses {
			var kept *backstay.Call
			end(&kept)
			func() {
				defer func() {
					if got := fmt.Sprint(recover()); got != want {
						t.Errorf("%s of a call that %s: panic %q, want %q", name, how, got, want)
					}
				}()
				use(kept)
			}()
			if kept.Op != "backstay: Call used after its end" || kept.Attempt != -1 {
				t.Errorf("fields of a call that %s = %q, %d, want them unusable", how, kept.Op, kept.Attempt)
			}
		}
	}
}

// Memory is never used again, so that the call that is misused is the one that
// panics.
func TestCallsAreNotReusedWhereMisuseIsCaught(t *testing.T) {
	seen := map[*backstay.Call]bool{}
	for range 100 {
		_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			if seen[call] {
				t.Fatal("a Call was used twice")
			}
			seen[call] = true
			return next(ctx, call)
		}))
	}
}
