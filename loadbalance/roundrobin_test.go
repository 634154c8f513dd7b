package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// eight are more endpoints than chance orders alike twice: 8! is 40320.
var eight = nine[:8]

var nine = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}

// picks returns the endpoints of n calls through b.
func picks(t *testing.T, b *loadbalance.Balancer, n int) []string {
	t.Helper()
	var got []string
	call := caller(b)
	for range n {
		e, err := call(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	return got
}

func times(s []string, v string) (n int) {
	for _, e := range s {
		if e == v {
			n++
		}
	}
	return n
}

// L-5
func TestRoundRobinTakesEachInTurn(t *testing.T) {
	got := picks(t, loadbalance.New(loadbalance.RoundRobin(), eight...), 24)
	round := slices.Sorted(slices.Values(got[:8]))
	if !slices.Equal(round, eight) {
		t.Errorf("the first round went to %v, want each of %v once", got[:8], eight)
	}
	for i := range 16 {
		if got[i+8] != got[i] {
			t.Errorf("picks are %v, want the same order in every round", got)
			break
		}
	}
}

// L-5
func TestTurnsAreShuffledForEachBalancer(t *testing.T) {
	// Rotated so that they begin alike, the rounds of 20 balancers over 8
	// endpoints are 20 draws from 5040 orders. That all are one order has the
	// chance of 1 in 5040^19.
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		orders, starts := map[string]bool{}, map[string]bool{}
		for range 20 {
			round := picks(t, loadbalance.New(st, eight...), 8)
			starts[round[0]] = true
			first := slices.Index(round, "a")
			orders[fmt.Sprint(slices.Concat(round[first:], round[:first]))] = true
		}
		if len(orders) == 1 {
			t.Errorf("%v: 20 balancers all have the order %v, want orders of their own", st, orders)
		}
		if len(starts) == 1 {
			t.Errorf("%v: 20 balancers all start at %v, want starts of their own", st, starts)
		}
	}
}

// L-5
func TestTurnsStartAnywhereInTheOrder(t *testing.T) {
	// 64 draws of one in 8 are all alike once in 8^63.
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		starts := map[string]bool{}
		for range 64 {
			starts[picks(t, loadbalance.NewInOrder(st, eight...), 1)[0]] = true
		}
		if len(starts) == 1 {
			t.Errorf("%v: 64 balancers of one order all start at %v, want any", st, starts)
		}
	}
}

// Where membership changes at every call, a turn that began anew would give all
// calls to one endpoint.
//
// L-5
func TestTurnsGoOnWhenEndpointsChange(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		b := balance(st, loadbalance.HealthConfig{SlowStart: loadbalance.Never}, eight...)
		got := map[string]int{}
		for i := range 800 {
			got[picks(t, b, 1)[0]]++
			if err := b.Update(loadbalance.Endpoints(eight[:7+i%2]...)...); err != nil {
				t.Fatal(err)
			}
		}
		for _, address := range eight[:7] {
			// 800 calls in turns of 7 and 8.
			if n := got[address]; n < 50 || n > 250 {
				t.Errorf("%v: %s had %d of 800 calls between which an endpoint came or went, want about 107", st, address, n)
			}
		}
	}
}

// L-5
func TestTurnsPassTheEndOfTheCounter(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		for n := 1; n <= len(eight); n++ {
			b := loadbalance.New(st, eight[:n]...)
			b.SetTurn(math.MaxUint32 - 20)
			got := picks(t, b, 40)
			for _, name := range eight[:n] {
				// The round that the counter ends in may be cut short.
				if c := times(got, name); c < 40/n-1 || c > 40/n+2 {
					t.Errorf("%v: around the end of the counter %d endpoints were picked as %v, want each %d times or so", st, n, got, 40/n)
					break
				}
			}
		}
	}
}

// A retry that took a turn would shift the calls after it: with two endpoints
// every call would begin at the one that is sick.
//
// L-5
func TestRetriesDoNotShiftTheTurns(t *testing.T) {
	const calls = 3000
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		for _, n := range []int{2, 3, 5, 9} {
			sick := 0
			b := balance(st, loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never}, nine[:n]...)
			do := backstay.Bind(backstay.New(retry.New(retry.Config{NoBudget: true}), b), backstay.Op[int, int]{
				Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
					if call.Endpoint == nine[0] {
						sick++
						return 0, errors.New("sick")
					}
					return 0, nil
				},
			})
			for range calls {
				if _, err := do(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			}
			if want := calls / n; sick < want*9/10 || sick > want*11/10 {
				t.Errorf("%v: of %d endpoints the sick one was tried by %d of %d calls, want about %d", st, n, sick, calls, want)
			}
		}
	}
}

// The turns of an endpoint whose breaker is open are spread over the others.
//
// L-5, L-22
func TestTurnsOfAnOpenBreakerAreSpread(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted()} {
		for n := 2; n <= 5; n++ {
			group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
			group.Breaker("a").ForceOpen()
			var s service
			call := s.under(balance(st, loadbalance.HealthConfig{}, eight[:n]...), group)
			const calls = 6000
			for range calls {
				if err := call(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			got := s.count()
			for _, address := range eight[1:n] {
				if c, want := got[address], calls/(n-1); c < want*8/10 || c > want*12/10 {
					t.Errorf("%v: with the breaker of 1 of %d open, %s had %d of %d calls, want about %d", st, n, address, c, calls, want)
				}
			}
		}
	}
}

// With all breakers open each call tries some endpoint, not always the same.
//
// L-22
func TestTurnsGoOnWhenAllBreakersAreOpen(t *testing.T) {
	group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
	for _, address := range eight[:2] {
		group.Breaker(address).ForceOpen()
	}
	var s service
	endpoints := map[string]int{}
	note := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			endpoints[call.Endpoint]++
			return next(ctx, call)
		}
	})
	call := s.under(balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, eight[:2]...), note, group)
	for range 100 {
		if err := call(t.Context()); !errors.Is(err, breaker.ErrOpen) {
			t.Fatalf("a call with all breakers open = %v, want %v", err, breaker.ErrOpen)
		}
	}
	if endpoints["a"] < 20 || endpoints["b"] < 20 {
		t.Errorf("100 calls with both breakers open tried %v, want each about 50 times", endpoints)
	}
}
