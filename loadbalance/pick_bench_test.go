package loadbalance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/clock"
)

// BenchmarkPick measures what a strategy costs: the pick and what it has to
// count for the next one. "atomic" is the unit: one atomic addition and an
// index, the cheapest round robin there can be.
func BenchmarkPick(b *testing.B) {
	key := strconv.Itoa
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "user " + key(i)
	}
	next := 0
	byKey := func(context.Context, *backstay.Call) string {
		next++
		return keys[next%len(keys)]
	}
	inFlight := func(n *Node) { n.enter(); n.end() }
	answer := func(n *Node, now time.Duration) {
		n.begin(now)
		n.answered(now)
		n.observe(now+time.Millisecond, time.Millisecond)
		n.end()
	}
	rows := []struct {
		name     string
		strategy Strategy
		done     func(n *Node)
		clock    func() time.Duration
	}{
		{"RoundRobin", RoundRobin(), nil, nil},
		{"Random", Random(), nil, nil},
		{"Weighted", Weighted(), nil, nil},
		{"LeastConnections", LeastConnections(), inFlight, nil},
		{"PeakEWMA", PeakEWMA(), nil, clock.Now},
		{"PeakEWMA,shared", PeakEWMA(), nil, nil},
		{"Hash", Hash(HashConfig{Key: byKey}), nil, nil},
		{"Hash,bounded", Hash(HashConfig{Key: byKey, Bound: 1.25}), inFlight, nil},
		{"Maglev", Maglev(HashConfig{Key: byKey}), nil, nil},
		{"Rendezvous", Rendezvous(HashConfig{Key: byKey}), nil, nil},
	}
	for _, n := range []int{3, 10, 100, 1000} {
		b.Run(fmt.Sprintf("atomic/n=%d", n), func(b *testing.B) {
			nodes := New(RoundRobin(), addresses(n)...).Nodes()
			var turn atomic.Uint32
			for b.Loop() {
				picked = nodes[turn.Add(1)%uint32(len(nodes))]
			}
		})
	}
	for _, row := range rows {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/n=%d", row.name, n), func(b *testing.B) {
				lb := New(row.strategy, addresses(n)...)
				lb.clock = row.clock // nil: the reading that the call has already
				inCall(func(call *backstay.Call) {
					q := query{ctx: b.Context(), call: call, seat: &seat{balancer: lb}}
					root := lb.set.Load().root
					for b.Loop() {
						picked, _ = root.pick(q)
						if row.strategy.name == "peak EWMA" {
							answer(picked, lb.now(call))
						} else if row.done != nil {
							row.done(picked)
						}
					}
				})
			})
		}
	}
}

// BenchmarkRetry measures what a retry costs: whether there is another endpoint,
// and the pick of it. n does not matter, but for the strategies that look at
// all endpoints and for the copy that a Custom is given.
//
// L-7
func BenchmarkRetry(b *testing.B) {
	benchmarkSpecial(b, func(lb *Balancer, call *backstay.Call) func() {
		s := &seat{balancer: lb}
		call.Try(lb.Nodes()[0].address, s)
		return func() {
			s.Untried(b.Context(), call)
			picked, _ = lb.set.Load().pick(query{ctx: b.Context(), call: call, seat: s, avoid: tried})
		}
	})
}

// BenchmarkPickOverBreakers measures a pick that passes over open breakers, of
// which there is one.
//
// L-7
func BenchmarkPickOverBreakers(b *testing.B) {
	benchmarkSpecial(b, func(lb *Balancer, call *backstay.Call) func() {
		group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
		for _, n := range lb.Nodes() {
			group.Breaker(n.address)
		}
		group.Breaker(lb.Nodes()[0].address).ForceOpen()
		s := &seat{balancer: lb, blockers: []blocker{group}}
		return func() {
			picked, _ = lb.set.Load().pick(query{ctx: b.Context(), call: call, seat: s, avoid: blocked})
		}
	})
}

// benchmarkSpecial measures picks of each strategy for which some endpoints are
// passed over.
func benchmarkSpecial(b *testing.B, prepare func(lb *Balancer, call *backstay.Call) (pick func())) {
	key := func(context.Context, *backstay.Call) string { return "user 1" }
	for _, st := range []Strategy{
		RoundRobin(), Random(), Weighted(), LeastConnections(), LeastConnectionsOfAll(), PeakEWMA(),
		Hash(HashConfig{Key: key}),
		Custom("custom", func(_ context.Context, _ *backstay.Call, among []*Node) *Node { return among[rand.IntN(len(among))] }),
	} {
		for _, n := range []int{3, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%v/n=%d", st, n), func(b *testing.B) {
				lb := New(st, addresses(n)...)
				inCall(func(call *backstay.Call) {
					pick := prepare(lb, call)
					for b.Loop() {
						pick()
					}
				})
			})
		}
	}
}

var picked *Node

// inCall calls f with a call.
func inCall(f func(call *backstay.Call)) {
	_, _ = backstay.Bind(nil, backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
		f(call)
		return 0, nil
	}})(context.Background(), 0)
}

func addresses(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("10.0.%d.%d:80", i/256, i%256)
	}
	return all
}
