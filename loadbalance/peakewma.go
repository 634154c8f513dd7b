package loadbalance

import (
	"math"
	"time"
)

// penalty is the latency that a failure counts as. Measured by its own, a fast
// failure would look like a fast endpoint.
const penalty = 5 * time.Second

// tau is the time constant of the moving average of latencies.
const tau = 3 * time.Second

// observe takes the latency of an answer into the average: a peak at once,
// anything below slowly, by the time since the last.
func (n *Node) observe(at, took time.Duration) {
	since := at - time.Duration(n.seen.Swap(int64(at)))
	for {
		was := n.latency.Load()
		old := math.Float64frombits(was)
		is := float64(took)
		if old > is {
			w := math.Exp(-float64(max(since, 0)) / float64(tau))
			is = old*w + is*(1-w)
		}
		if n.latency.CompareAndSwap(was, math.Float64bits(is)) {
			return
		}
	}
}

// atLeast takes a latency into the average that would have been longer.
func (n *Node) atLeast(at, took time.Duration) {
	if is := n.Latency(); is > 0 && took > is {
		n.observe(at, took)
	}
}

// PeakEWMA is a placeholder until the simulation has spoken.
func PeakEWMA() Strategy {
	return Strategy{name: "peak EWMA", ages: true, make: func(s site, nodes []*Node) picker {
		return newList(s, nodes, cheapest)
	}}
}

func cheapest(q query, among []*Node) *Node { return lessLoaded(q, among) }
