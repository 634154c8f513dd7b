package breaker_test

import (
	"errors"
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
