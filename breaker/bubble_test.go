package breaker_test

import (
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay/breaker"
)

// The timer of a breaker that opened inside a bubble must not be stopped from
// outside of it: that ends the program.
func TestResetOutsideOfTheBubbleThatItOpenedIn(t *testing.T) {
	for name, byHand := range map[string]func(*breaker.Breaker){"ForceOpen": (*breaker.Breaker).ForceOpen, "Disable": (*breaker.Breaker).Disable, "Reset": (*breaker.Breaker).Reset} {
		b := breaker.New(brittle)
		synctest.Test(t, func(t *testing.T) { trip(t, b) })
		byHand(b)
		b.Reset()
		ok(t, b)
		trip(t, b)
		b.Reset()
		if got := b.State(); got != Closed {
			t.Errorf("State() after %s and Reset outside of the bubble = %v, want closed", name, got)
		}
	}
}
