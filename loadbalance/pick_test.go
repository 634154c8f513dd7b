package loadbalance

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
)

// draws gives different numbers, each equally often.
//
// L-4
func TestDrawsAreDistinctAndEven(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := query{seat: &seat{balancer: &Balancer{random: r.Uint64}}}
	for _, n := range []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 100} {
		const rounds = 20000
		had := make([]int, n)
		for range rounds {
			var to [choices]int
			drawn := to[:draws(q, n, &to)]
			if len(drawn) != min(n, choices) {
				t.Fatalf("draws(%d) = %v, want %d", n, drawn, min(n, choices))
			}
			for i, d := range drawn {
				if d < 0 || d >= n || slices.Contains(drawn[:i], d) {
					t.Fatalf("draws(%d) = %v, want different numbers from 0 to %d", n, drawn, n-1)
				}
				had[d]++
			}
		}
		want := rounds * float64(min(n, choices)) / float64(n)
		for d, c := range had {
			if math.Abs(float64(c)-want) > 6*math.Sqrt(want) {
				t.Errorf("draws(%d) had %d in %d of %d rounds, want about %.0f", n, d, c, rounds, want)
			}
		}
	}
}

// A gate blocks some endpoints and counts how often it is asked.
type gate struct {
	blocked map[string]bool
	asked   int
}

func (g *gate) Blocks(endpoint string) bool {
	g.asked++
	return g.blocked[endpoint]
}

// What a pick looks up does not grow with the number of endpoints, for a retry
// over breakers either.
//
// L-7
func TestPickLooksAtFewEndpoints(t *testing.T) {
	const endpoints, picks = 1000, 100
	last := func(_ context.Context, _ *backstay.Call, among []*Node) *Node { return among[len(among)-1] }
	for _, st := range []Strategy{RoundRobin(), Weighted(), Random(), LeastConnections(), PeakEWMA(), Custom("last", last)} {
		all := Endpoints(addresses(endpoints)...)
		for i := range all {
			all[i].Weight = 1 + i%3
		}
		b := NewBalancer(Config{Strategy: st, Endpoints: all})
		for name, how := range map[string]avoid{"pick": blocked, "retry": tried | blocked, "trial": tried | blocked | probes | trial} {
			inCall(func(call *backstay.Call) {
				g := &gate{blocked: map[string]bool{all[1].Address: true, all[2].Address: true}}
				s := &seat{balancer: b, blockers: []blocker{g}}
				call.Try(all[0].Address, s)
				for range picks {
					n, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: s, avoid: how})
					if n == nil || g.blocked[n.address] || how&tried != 0 && n.address == all[0].Address {
						t.Fatalf("%v: a %s = %v, want a node that is not passed over", st, name, n)
					}
				}
				// A few that are passed over, and one of 1000 scans.
				if each := float64(g.asked) / picks; each > 15 {
					t.Errorf("%v: a %s looks at the breakers of %.1f endpoints, want a few", st, name, each)
				}
			})
		}
	}
}

// A call whose attempts outnumber the endpoints looks at each of them once, not
// at each turn.
func TestWeightedLooksOnceAtEachWhereNoneIsLeft(t *testing.T) {
	b := NewBalancer(Config{Strategy: Weighted(), Endpoints: []Endpoint{{Address: "a", Weight: 4095}, {Address: "b", Weight: 1}}})
	inCall(func(call *backstay.Call) {
		g := &gate{blocked: map[string]bool{"a": true, "b": true}}
		s := &seat{balancer: b, blockers: []blocker{g}}
		n, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: s, avoid: blocked})
		if n != nil || g.asked > 4 {
			t.Errorf("pick with both breakers open = %v after a look at %d breakers, want none after 4 at most", n, g.asked)
		}
	})
}

// Retries go evenly to those that are left, whichever the call has tried.
func TestRetriesAreSpread(t *testing.T) {
	const rounds = 19000
	for _, st := range []Strategy{RoundRobin(), Weighted(), Random(), LeastConnections(), PeakEWMA()} {
		for _, n := range []int{4, 8, 9, 20} {
			b := New(st, addresses(n)...)
			had := map[*Node]int{}
			inCall(func(call *backstay.Call) {
				s := &seat{balancer: b}
				call.Try(b.Nodes()[0].address, s)
				for range rounds {
					p, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: s, avoid: tried})
					had[p]++
				}
			})
			want := float64(rounds) / float64(n-1)
			for _, node := range b.Nodes()[1:] {
				if c := float64(had[node]); st.name != "peak EWMA" && math.Abs(c-want) > want/6 || c < want/3 {
					t.Errorf("%v: of %d retries %s of %d had %.0f, want about %.0f", st, rounds, node.address, n, c, want)
				}
			}
			if c := had[b.Nodes()[0]]; c > 0 {
				t.Errorf("%v: of %d retries %d went to the endpoint that was tried, want none", st, rounds, c)
			}
		}
	}
}

// Retries of few endpoints go by weight too.
func TestRetriesAreSpreadByWeight(t *testing.T) {
	for _, st := range []Strategy{Weighted(), Random()} {
		b := NewBalancer(Config{Strategy: st, Endpoints: []Endpoint{{Address: "a", Weight: 9}, {Address: "b", Weight: 1}, {Address: "c", Weight: 4}}})
		had := map[string]int{}
		inCall(func(call *backstay.Call) {
			s := &seat{balancer: b}
			call.Try("a", s)
			for range 5000 {
				n, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: s, avoid: tried})
				had[n.address]++
			}
		})
		if had["a"] != 0 || math.Abs(float64(had["b"])-1000) > 200 {
			t.Errorf("%v: 5000 retries where a was tried and b, c have the weights 1, 4 were %v, want 1000 of b and 4000 of c", st, had)
		}
	}
}

// Of few endpoints those that are left are compared with each other, and none
// wins because it is better than the one that was tried.
//
// L-4, L-23
func TestRetryComparesWhatIsLeft(t *testing.T) {
	for _, st := range []Strategy{LeastConnections(), LeastConnectionsOfAll()} {
		b := New(st, "a", "b", "c")
		for i, calls := range []int64{10, 1, 0} {
			b.Nodes()[i].calls.Store(calls)
		}
		inCall(func(call *backstay.Call) {
			s := &seat{balancer: b}
			call.Try("a", s)
			for range 100 {
				n, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: s, avoid: tried})
				if n.address != "c" {
					t.Fatalf("%v: a retry with 10, 1, 0 in flight at a, b, c where a was tried = %s, want c", st, n.address)
				}
			}
		})
	}
}

// An ejection, which happens on a call's goroutine, does not make the sequence
// anew, and the shares of the others stay by weight.
//
// L-5
func TestWeightedKeepsItsTurnsWhenStatesChange(t *testing.T) {
	b := NewBalancer(Config{Strategy: Weighted(), Endpoints: []Endpoint{{Address: "a", Weight: 3}, {Address: "b", Weight: 1}, {Address: "c", Weight: 2}}})
	turns := &b.set.Load().root.(*schedule).turns[0]
	b.mu.Lock()
	b.eject(b.Nodes()[0], 0, nil)
	b.unlock()
	if &b.set.Load().root.(*schedule).turns[0] != turns {
		t.Error("an ejection made the turns anew, want those of before")
	}
	had := map[string]int{}
	inCall(func(call *backstay.Call) {
		for range 6000 {
			n, _ := b.set.Load().root.pick(query{ctx: t.Context(), call: call, seat: &seat{balancer: b}})
			had[n.address]++
		}
	})
	if had["a"] != 0 || math.Abs(float64(had["b"])-2000) > 200 {
		t.Errorf("with a of 3, 1, 2 ejected 6000 picks were %v, want 2000 of b and 4000 of c", had)
	}
}

// A picker that counts its refreshes.
type refreshed struct{ times int }

func (r *refreshed) pick(query) (*Node, bool) { return nil, false }
func (r *refreshed) refresh()                 { r.times++ }

// Many slow starts that end together have the picks see it once.
func TestSlowStartsThatEndTogetherRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(refreshed)
		b := NewBalancer(Config{Strategy: Strategy{name: "counting", make: func(site, []*Node) picker { return r }}, Endpoints: Endpoints("old")})
		if err := b.Update(Endpoints(addresses(100)...)...); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		for _, n := range b.Nodes() {
			if n.State() != Available {
				t.Fatalf("State() of %s after its slow start = %v, want available", n.address, n.State())
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if r.times != 1 {
			t.Errorf("100 slow starts that ended refreshed the picks %d times, want once", r.times)
		}
	})
}

// The function is asked about all endpoints, and again about those that are left
// where its choice is passed over.
//
// L-1, L-7
func TestCustomIsAskedAgainWhereItsChoiceIsPassedOver(t *testing.T) {
	var offered []int
	b := New(Custom("first", func(_ context.Context, _ *backstay.Call, among []*Node) *Node {
		offered = append(offered, len(among))
		return among[0]
	}), addresses(20)...)
	inCall(func(call *backstay.Call) {
		s := &seat{balancer: b, blockers: []blocker{&gate{blocked: map[string]bool{addresses(1)[0]: true}}}}
		n, _ := b.set.Load().pick(query{ctx: t.Context(), call: call, seat: s, avoid: blocked})
		if want := addresses(2)[1]; n.address != want || fmt.Sprint(offered) != "[20 19]" {
			t.Errorf("pick = %s of %v nodes, want %s of [20 19]", n.address, offered, want)
		}
	})
}
