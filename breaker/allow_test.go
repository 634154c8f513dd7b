package breaker_test

import (
	"errors"
	"testing"

	"github.com/backstay-go/backstay/breaker"
)

// B-18
func TestAllowIsDoInTwoSteps(t *testing.T) {
	allowed := func(err error) func(*testing.T, *breaker.Breaker) {
		return func(t *testing.T, b *breaker.Breaker) {
			t.Helper()
			done, rejection := b.Allow()
			if rejection != nil {
				t.Fatalf("Allow() = %v, want no error", rejection)
			}
			done(err)
		}
	}
	refused := func(t *testing.T, b *breaker.Breaker) {
		t.Helper()
		done, err := b.Allow()
		if _, ok := errors.AsType[*breaker.OpenError](err); !ok || done != nil {
			t.Errorf("Allow() = %t, %v, want nil and an OpenError", done != nil, err)
		}
	}
	run(t, breaker.Config{MinCalls: 4, Probes: 1}, []step{
		{0, times(2, allowed(nil)), Closed}, {1 * s, allowed(errSick), Closed}, {2 * s, allowed(errSick), Open},
		{3 * s, refused, Open}, {9 * s, allowed(errSick), Open}, {10 * s, refused, Open}, {99 * s, allowed(nil), Closed},
	})
}

// B-6, B-18
func TestASecondDoneDoesNothing(t *testing.T) {
	twice := func(t *testing.T, b *breaker.Breaker) {
		done, err := b.Allow()
		if err != nil {
			t.Fatalf("Allow() = %v, want no error", err)
		}
		for range 9 {
			done(errSick)
		}
	}
	run(t, breaker.Config{ConsecutiveFailures: 2}, []step{{0, twice, Closed}, {1 * s, twice, Open}})
	probe := func(t *testing.T, b *breaker.Breaker) {
		done, err := b.Allow()
		if err != nil {
			t.Fatalf("Allow() = %v, want no error", err)
		}
		for range 9 {
			done(nil)
		}
	}
	run(t, breaker.Config{ConsecutiveFailures: 1, Probes: 3}, []step{{0, trip, Open}, {7 * s, probe, HalfOpen}, {8 * s, probe, HalfOpen}, {9 * s, probe, Closed}})
}
