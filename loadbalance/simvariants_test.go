package loadbalance

import (
	"context"
	"math"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/sim"
)

// variant returns PeakEWMA with another number of choices, and with or without
// the ages of the calls that wait.
func variant(choices int, ages bool) simulation {
	cost := func(n *Node, latency float64, now time.Duration) float64 {
		if ages {
			return n.cost(latency, now)
		}
		return latency * float64(n.InFlight()+1) * n.scarcity(now)
	}
	choose := func(q query, among []*Node) *Node {
		now := q.now()
		drawn := distinct(q, choices, among)
		fastest := math.Inf(1)
		latency := func(n *Node) (float64, bool) {
			a := average(n.average.Load())
			return a.at(tickOf(now)), a != 0
		}
		for _, n := range drawn {
			if l, known := latency(n); known {
				fastest = min(fastest, l)
			}
		}
		best, least := drawn[0], math.Inf(1)
		for _, n := range drawn {
			l, known := latency(n)
			if !known {
				l = fastest
			}
			if c := cost(n, l, now); c < least || c == least && !known {
				best, least = n, c
			}
		}
		return best
	}
	return once(Strategy{name: "variant", make: func(s site, nodes []*Node) picker { return newList(s, nodes, choose) }})
}

// distinct draws so many different nodes.
func distinct(q query, n int, among []*Node) []*Node {
	left := append([]*Node(nil), among...)
	n = min(n, len(left))
	for i := range n {
		j := i + scale(q.random(), len(left)-i)
		left[i], left[j] = left[j], left[i]
	}
	return left[:n]
}

// finagle is the balancer that PeakEWMA comes from, as in
// com.twitter.finagle.loadbalancer.PeakEwma: of two endpoints the one with less
// latency times calls in flight, where a latency above the average replaces it
// at once, one below moves it with a time constant of 10 s, and time that passes
// counts as latency of 0. Failures count as what they took; ejection is ours.
var finagle = simulation{strategy: func(env sim.Env, _ int) Strategy {
	type peak struct {
		cost  float64
		stamp time.Duration
	}
	peaks := map[string]*peak{}
	observe := func(address string, took float64) *peak {
		p := peaks[address]
		if p == nil {
			p = new(peak)
			peaks[address] = p
		}
		kept := math.Exp(-float64(env.Now()-p.stamp) / float64(10*time.Second))
		p.cost, p.stamp = max(took, p.cost*kept+took*(1-kept)), env.Now()
		return p
	}
	load := func(n *Node) float64 {
		p := observe(n.address, 0)
		if p.cost == 0 && n.InFlight() > 0 {
			return math.MaxInt64/2 + float64(n.InFlight())
		}
		return p.cost * float64(n.InFlight()+1)
	}
	pick := func(_ context.Context, call *backstay.Call, among []*Node) *Node {
		i := scale(env.Rand(), len(among))
		n := among[i]
		if len(among) > 1 {
			other := among[(i+1+scale(env.Rand(), len(among)-1))%len(among)]
			if load(other) < load(n) {
				n = other
			}
		}
		began := env.Now()
		call.OnDone(func(error) { observe(n.address, float64(env.Now()-began)) })
		return n
	}
	return Custom("Finagle's", pick)
}}
