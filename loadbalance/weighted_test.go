package loadbalance_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/loadbalance"
)

// weighing returns endpoints named from "a" with the given weights.
func weighing(weights ...int) []loadbalance.Endpoint {
	var all []loadbalance.Endpoint
	for i, w := range weights {
		all = append(all, loadbalance.Endpoint{Address: string(rune('a' + i)), Weight: w})
	}
	return all
}

// L-5
func TestWeightedSpreadsTheTurnsOfEach(t *testing.T) {
	for _, row := range []struct {
		weights []int
		want    string // a round, which may begin anywhere and have b and c the other way around
	}{
		{[]int{5, 1, 1}, "abaaaca"},
		{[]int{2, 1}, "aab"},
		{[]int{1, 1}, "ab"},
		{[]int{0, 0}, "ab"},
		{[]int{10, 20}, "abb"},
	} {
		for range 20 {
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Weighted(), Endpoints: weighing(row.weights...)})
			got := strings.Join(picks(t, b, len(row.want)), "")
			mirrored := strings.NewReplacer("b", "c", "c", "b").Replace(row.want)
			if !strings.Contains(row.want+row.want, got) && !strings.Contains(mirrored+mirrored, got) {
				t.Fatalf("a round with the weights %v is %s, want %s", row.weights, got, row.want)
			}
		}
	}
}

// The sequence is smooth whatever the weights are: the calls that an endpoint
// has had never differ from its share by more than two.
//
// L-5
func TestWeightedIsNeverFarFromTheShares(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var weights []int
		total := 0
		for range 1 + r.IntN(10) {
			w := 1 + r.IntN(20)
			weights = append(weights, w)
			total += w
		}
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Weighted(), Endpoints: weighing(weights...)})
		had := make([]int, len(weights))
		for i, address := range picks(t, b, 2*total) {
			had[address[0]-'a']++
			for e, w := range weights {
				if share := float64(i+1) * float64(w) / float64(total); float64(had[e]) < share-2 || float64(had[e]) > share+2 {
					t.Fatalf("weights %v: after %d calls endpoint %d had %d, want %.1f ± 2", weights, i+1, e, had[e], share)
				}
			}
		}
	}
}

// L-5
func TestWeightedBoundsWhatHugeWeightsTake(t *testing.T) {
	for _, row := range []struct {
		endpoints int
		weight    func(i int) int
		most      int // turns
	}{
		{2, func(i int) int { return 1 + i*65534 }, 4097},
		{8, func(i int) int { return 65535 - i }, 4100},
		{1000, func(i int) int { return 65535 - i*64 }, 64500},
		{1000, func(i int) int { return 65535 }, 1000},
	} {
		var all []loadbalance.Endpoint
		for i := range row.endpoints {
			all = append(all, loadbalance.Endpoint{Address: fmt.Sprint(i), Weight: row.weight(i)})
		}
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Weighted(), Endpoints: all})
		if n := b.Turns(); n > row.most {
			t.Errorf("%d endpoints with weights from %d to %d make a sequence of %d, want %d at most", row.endpoints, row.weight(0), row.weight(row.endpoints-1), n, row.most)
		}
		for _, n := range b.Nodes() {
			if !slices.Contains(picks(t, b, b.Turns()), n.Address()) {
				t.Errorf("%s is in no turn of %d, want each at least once", n.Address(), b.Turns())
			}
			break
		}
	}
}

// shares returns the share of each of n calls that went to an address.
func shares(t *testing.T, b *loadbalance.Balancer, n int) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, address := range picks(t, b, n) {
		got[address] += 1 / float64(n)
	}
	return got
}

// L-6
func TestWeightsCanBeChanged(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.Weighted(), loadbalance.Random()} {
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: st, Endpoints: weighing(1, 3)})
		n := b.Nodes()[0]
		for _, row := range []struct {
			weights []int
			want    float64 // the share of the first
		}{{[]int{1, 3}, 0.25}, {[]int{9, 1}, 0.9}, {[]int{1, 1}, 0.5}} {
			if err := b.Update(weighing(row.weights...)...); err != nil {
				t.Fatal(err)
			}
			// 10000 draws have a standard deviation of half a percent.
			if got := shares(t, b, 10000)["a"]; got < row.want-0.03 || got > row.want+0.03 {
				t.Errorf("%v: share with the weights %v = %.3f, want %.2f", st, row.weights, got, row.want)
			}
			if b.Nodes()[0] != n {
				t.Errorf("%v: the node is another after a change of its weight, want the same", st)
			}
		}
	}
}
