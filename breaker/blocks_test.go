package breaker_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/breaker"
)

// B-17: asking changes nothing, and still Blocks knows when a call is due.
func TestBlocksEndsWithTheCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1, Cooldown: time.Second, MaxCooldown: time.Second}, breaker.ByTarget)
		if g.Blocks("a") {
			t.Error("Blocks of a key without a breaker = true, want false")
		}
		b := g.Breaker("a")
		done, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		done(errors.New("sick"))
		if !b.Blocks() || !g.Blocks("a") {
			t.Error("Blocks of a breaker that has opened = false, want true")
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if b.Blocks() || g.Blocks("a") || b.State() != breaker.Open {
			t.Errorf("after the cooldown Blocks = %v in state %v, want false in open", b.Blocks(), b.State())
		}
	})
}

// Whatever has happened, Blocks says what Allow does, half-open too: there it
// depends on the calls that try.
//
// B-8
func TestBlocksSaysWhatAllowDoes(t *testing.T) {
	ends := []error{nil, nil, nil, errSick, context.Canceled}
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			b := breaker.New(breaker.Config{ConsecutiveFailures: 1, Probes: 1 + r.IntN(4), Cooldown: s, MaxCooldown: s, MaxProbe: time.Hour})
			var under []func(error)
			turned := 0
			for range 300 {
				switch n := r.IntN(4); {
				case n == 0:
					pass(time.Duration(r.IntN(2000)) * ms)
				case n == 1 && len(under) > 0:
					i := r.IntN(len(under))
					under[i](ends[r.IntN(len(ends))])
					under = append(under[:i], under[i+1:]...)
				default:
					blocks, state := b.Blocks(), b.State()
					done, err := b.Allow()
					if blocks != (err != nil) {
						t.Fatalf("seed %d: in state %v with %d calls under way Blocks() = %v and Allow() = %v, want them to agree", seed, state, len(under), blocks, err)
					}
					if err != nil {
						turned++
						continue
					}
					under = append(under, done)
				}
			}
			if turned == 0 {
				t.Errorf("seed %d: no call was turned away, want some", seed)
			}
		})
	}
}

// A call that tries and hangs does not block for longer than it may take: the
// next one opens the breaker.
//
// B-9
func TestAProbeThatHangsBlocksForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Config{ConsecutiveFailures: 1, Probes: 1, MaxProbe: 10 * s})
		trip(t, b)
		pass(cooled)
		if _, err := b.Allow(); err != nil {
			t.Fatal(err)
		}
		pass(10 * s)
		if !b.Blocks() {
			t.Error("Blocks() 10s into a call that tries = false, want true")
		}
		pass(ms)
		if b.Blocks() {
			t.Error("Blocks() after MaxProbe = true, want false until a call has opened the breaker")
		}
		rejected(t, b)
		if got := b.State(); got != Open || !b.Blocks() {
			t.Errorf("State(), Blocks() after the next call = %v, %v; want open, true", got, b.Blocks())
		}
	})
}
