package loadbalance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// eight are more endpoints than chance orders alike twice: 8! is 40320.
var eight = []string{"a", "b", "c", "d", "e", "f", "g", "h"}

// picks returns the endpoints of n calls through b.
func picks(t *testing.T, b *Balancer, n int) []string {
	t.Helper()
	var got []string
	call := backstay.Bind(backstay.New(b), backstay.Op[int, string]{
		Do: func(_ context.Context, call *backstay.Call, _ int) (string, error) { return call.Endpoint, nil },
	})
	for range n {
		e, err := call(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	return got
}

// L-5
func TestRoundRobinTakesEachInTurn(t *testing.T) {
	got := picks(t, New(RoundRobin(), eight...), 24)
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
func TestRoundRobinIsShuffledForEachBalancer(t *testing.T) {
	// Rotated so that they begin alike, the rounds of 20 balancers over 8
	// endpoints are 20 draws from 5040 orders. That all are one order has the
	// chance of 1 in 5040^19.
	orders, starts := map[string]bool{}, map[string]bool{}
	for range 20 {
		round := picks(t, New(RoundRobin(), eight...), 8)
		starts[round[0]] = true
		first := slices.Index(round, "a")
		orders[fmt.Sprint(slices.Concat(round[first:], round[:first]))] = true
	}
	if len(orders) == 1 {
		t.Errorf("20 balancers all have the order %v, want orders of their own", orders)
	}
	if len(starts) == 1 {
		t.Errorf("20 balancers all start at %v, want starts of their own", starts)
	}
}

// L-5
func TestRoundRobinStartsAnywhereInItsOrder(t *testing.T) {
	// 64 draws of one in 8 are all alike once in 8^63.
	starts := map[int]bool{}
	for range 64 {
		b := New(RoundRobin(), eight...)
		r := newRotation(b.endpoints)
		starts[slices.Index(r.order, r.pick(untouched(t)))] = true
	}
	if len(starts) == 1 {
		t.Errorf("64 rotations all start at place %v of their order, want any", starts)
	}
}

// untouched returns a call that has tried nothing. It lives until the test
// ends.
func untouched(t *testing.T) *backstay.Call {
	calls, end := make(chan *backstay.Call), make(chan struct{})
	over := make(chan struct{})
	policy := backstay.New(backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(_ context.Context, call *backstay.Call) error {
			calls <- call
			<-end
			return nil
		}
	}))
	go func() {
		defer close(over)
		_, _ = backstay.Do(context.Background(), policy, "test", func(context.Context) (int, error) { return 0, nil })
	}()
	t.Cleanup(func() {
		close(end)
		<-over
	})
	return <-calls
}

// L-5
func TestRoundRobinPassesTheEndOfItsCounter(t *testing.T) {
	for n := 1; n <= len(eight); n++ {
		b := New(RoundRobin(), eight[:n]...)
		r := newRotation(b.endpoints)
		r.turn.Store(math.MaxUint64 - 20)
		var got []string
		for range 40 {
			got = append(got, r.pick(untouched(t)).Name())
		}
		for _, name := range eight[:n] {
			// The round that the counter ends in may be cut short.
			if c := count(got, name); c < 40/n-1 || c > 40/n+2 {
				t.Errorf("around the end of the counter %d endpoints were picked as %v, want each %d times or so", n, got, 40/n)
				break
			}
		}
	}
}

// An attempt finds the one endpoint that is left, wherever the counter stands.
//
// L-5
func TestRoundRobinFindsTheLastUntriedAtTheEndOfItsCounter(t *testing.T) {
	for n := 2; n <= len(eight); n++ {
		b := New(RoundRobin(), eight[:n]...)
		r := newRotation(b.endpoints)
		for back := range uint64(2 * n) {
			for _, left := range r.order {
				call := untouched(t)
				for _, e := range r.order {
					if e != left {
						call.Try(e.name, b)
					}
				}
				r.turn.Store(math.MaxUint64 - back)
				if got := r.pick(call); got != left {
					t.Fatalf("pick with %d of %d tried, %d before the end of the counter = %s, want %s", n-1, n, back, got.Name(), left.Name())
				}
			}
		}
	}
}

func count(s []string, v string) (n int) {
	for _, e := range s {
		if e == v {
			n++
		}
	}
	return n
}

// A retry that took a turn would shift the calls after it: with two endpoints
// every call would begin at the one that is sick.
func TestRetriesDoNotShiftTheTurns(t *testing.T) {
	const calls = 3000
	for _, n := range []int{2, 3, 5} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("endpoint ", i))
		}
		sick := 0
		policy := backstay.New(retry.New(retry.Config{NoBudget: true}), New(RoundRobin(), names...))
		do := backstay.Bind(policy, backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
			if call.Endpoint == names[0] {
				sick++
				return 0, errors.New("sick")
			}
			return 0, nil
		}})
		for range calls {
			if _, err := do(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if want := calls / n; sick < want*9/10 || sick > want*11/10 {
			t.Errorf("of %d endpoints the sick one was tried by %d of %d calls, want about %d", n, sick, calls, want)
		}
	}
}
