package loadbalance

import (
	"math"
	"time"
)

// penalty is the latency that a failure counts as at least. Measured by its
// own, a fast failure would look like a fast endpoint.
const penalty = 2 * time.Second

// tau is the time constant of the moving average of latencies.
const tau = 3 * time.Second

// choices is how many endpoints PeakEWMA compares. In the simulation 3 cost a
// tenth in p99, and 8 gain hardly anything.
const choices = 5

// PeakEWMA takes the endpoint that will answer soonest of five different ones
// drawn at random, by what each has taken lately and how much it has to do. It
// is for nearly everything: it finds out what is slow without waiting for a
// timeout, because calls that wait for an answer say how long they have waited,
// and failures count as 2 seconds.
//
// It is Finagle's load metric of that name, with what the simulation has shown
// to be better: docs/loadbalancing.md tells.
func PeakEWMA() Strategy {
	return Strategy{name: "peak EWMA", make: func(s site, nodes []*Node) picker {
		return newList(s, shuffled(s.balancer, nodes), soonest)
	}}
}

// soonest returns the cheapest of some nodes. One of which nothing is known
// takes as long as the others do.
func soonest(q query, among []*Node) *Node {
	var few [choices]int
	drawn := few[:draws(q, len(among), &few)]
	now := q.now()
	var best, novice *Node
	least, sum, known := math.MaxFloat64, 0.0, 0
	for _, i := range drawn {
		n := among[i]
		a := average(n.average.Load())
		if a == 0 {
			novice = n
			continue
		}
		latency := a.at(now)
		sum += latency
		known++
		if c := n.load.cost(latency, now) * n.cost(q); c < least {
			best, least = n, c
		}
	}
	if novice == nil {
		return best
	}
	if best == nil || novice.load.cost(sum/float64(known), now)*novice.cost(q) < least {
		return novice
	}
	return best
}

// cost returns what one more call has to expect where calls take so long: the
// time for all of them, or that which those without an answer have waited
// already, together.
func (l *load) cost(latency float64, now time.Duration) float64 {
	calls := l.calls.Load()
	cost := latency * float64(uint32(calls)+1)
	if waiting := int64(calls >> 32); waiting > 0 {
		cost = max(cost, float64(waiting*int64(now)-l.begun.Load()))
	}
	return cost
}

// draws draws up to five different numbers below n: any one, and others at equal
// distances. The order of the nodes is the balancer's own, so that this comes
// to the same as to draw each.
func draws(q query, n int, to *[choices]int) int {
	r := q.random()
	at := below(uint32(r), n)
	if n <= choices {
		for i := range n {
			to[i] = at
			if at++; at == n {
				at = 0
			}
		}
		return n
	}
	stride := 1 + below(uint32(r>>32), (n-1)/(choices-1))
	for i := range choices {
		to[i] = at
		if at += stride; at >= n {
			at -= n
		}
	}
	return choices
}

// An average is the moving average of latencies in one word: a float32 of
// nanoseconds, and below it the time of the last observation in milliseconds,
// as its last 32 bits.
type average uint64

func newAverage(latency float64, at time.Duration) average {
	return average(math.Float32bits(float32(latency)))<<32 | average(uint32(at/time.Millisecond))
}

// latency returns the average as it was observed last.
func (a average) latency() float64 { return float64(math.Float32frombits(uint32(a >> 32))) }

// at returns the average as it has faded by now.
func (a average) at(now time.Duration) float64 {
	since := int32(uint32(now/time.Millisecond) - uint32(a))
	return a.latency() * fade(since)
}

// fade returns exp(-t/tau) for t in milliseconds, to 6 %. The bits of a float64
// are nearly the logarithm of it: Schraudolph, "A Fast, Compact Approximation of
// the Exponential Function" (1999).
func fade(t int32) float64 {
	const perMilli = math.Log2E * float64(time.Millisecond) / float64(tau) * (1 << 52)
	const longest = 1 << 20 // after which nothing is left
	return math.Float64frombits(1023<<52 - uint64(float64(min(max(t, 0), longest))*perMilli))
}

// observe takes the latency of an answer into the average, by the time since the
// last. A failure is taken in like that too: what fails now and then costs its
// share of the penalty, and what always fails costs all of it.
func (n *Node) observe(at, took time.Duration) {
	for {
		was := average(n.average.Load())
		is := float64(max(took, 1)) // 0 is for what is not known
		if was != 0 {
			is += (was.latency() - is) * fade(int32(uint32(at/time.Millisecond)-uint32(was)))
		}
		if n.average.CompareAndSwap(uint64(was), uint64(newAverage(is, at))) {
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
