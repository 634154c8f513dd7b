package loadbalance_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/backstay-go/backstay/loadbalance"
)

// held makes calls that stay in flight until the test ends, and returns how
// many each endpoint has.
func held(t *testing.T, b *loadbalance.Balancer, calls int) map[string]int {
	t.Helper()
	call := holder(b)
	for range calls {
		r, err := call(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
	}
	load := map[string]int{}
	for _, n := range b.Nodes() {
		load[n.Address()] = n.InFlight()
	}
	return load
}

func TestLeastConnectionsOfAllFillsEvenly(t *testing.T) {
	for _, row := range []struct {
		endpoints []loadbalance.Endpoint
		calls     int
		want      map[string]int
	}{
		{weighing(1, 1, 1), 30, map[string]int{"a": 10, "b": 10, "c": 10}},
		{weighing(1, 2, 3), 60, map[string]int{"a": 10, "b": 20, "c": 30}},
		{weighing(1), 7, map[string]int{"a": 7}},
	} {
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.LeastConnectionsOfAll(), Endpoints: row.endpoints})
		if got := held(t, b, row.calls); fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("in flight of %d calls = %v, want %v", row.calls, got, row.want)
		}
	}
}

// Two distinct choices: of two endpoints the idle one is always taken, which a
// draw with replacement misses every fourth time.
//
// L-4
func TestLeastConnectionsComparesTwoDistinctOnes(t *testing.T) {
	b := balance(loadbalance.LeastConnections(), loadbalance.HealthConfig{}, "a", "b")
	for i := range 100 {
		load := held(t, b, 2)
		if load["a"] != i+1 || load["b"] != i+1 {
			t.Fatalf("in flight of %d calls = %v, want as many at each", 2*(i+1), load)
		}
	}
}

// Two choices keep the fullest of 100 endpoints within a few calls of the mean,
// where draws make it some twenty.
func TestLeastConnectionsFillsNearlyEvenly(t *testing.T) {
	b := balance(loadbalance.LeastConnections(), loadbalance.HealthConfig{}, addressesOf(100)...)
	for address, n := range held(t, b, 5000) {
		if n < 40 || n > 56 {
			t.Errorf("%s has %d of 5000 calls, want 50, some less or a few more", address, n)
		}
	}
}

// L-4
func TestTiesBeginAnywhere(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.LeastConnections(), loadbalance.LeastConnectionsOfAll(), loadbalance.Random()} {
		b := balance(st, loadbalance.HealthConfig{}, eight...)
		const calls = 8000
		got := shares(t, b, calls)
		for _, address := range eight {
			// 1000 each, with a standard deviation of 30.
			if n := got[address] * calls; math.Abs(n-1000) > 180 {
				t.Errorf("%v: with nothing in flight %s had %.0f of %d calls, want about 1000", st, address, n, calls)
			}
		}
	}
}
