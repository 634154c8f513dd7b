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

// choices is how many endpoints PeakEWMA compares. With 2 a black hole costs it
// a third in p99; with 8 it is better by a twentieth, for a pick that costs more.
const choices = 5

// PeakEWMA takes the endpoint that will answer soonest of five different ones
// drawn at random, by what each has taken lately and how much it has to do. It
// is for nearly everything: it finds out what is slow without waiting for a
// timeout, because calls that wait for an answer say how long they have waited,
// and failures count as 2 seconds.
//
// Unlike Finagle's metric of that name it has no peaks: the age of the calls that
// wait does their work better. docs/loadbalancing.md tells why, with numbers.
func PeakEWMA() Strategy {
	return Strategy{name: "peak EWMA", make: func(s site, nodes []*Node) picker {
		return newList(s, shuffled(s.balancer, nodes), soonest)
	}}
}

// soonest returns the cheapest of some nodes. One of which nothing is known is
// taken to be as fast as the fastest of the others, and so is tried. By their
// mean, a single one that fails would keep it from that for as long as the
// failure is remembered.
func soonest(q query, among []*Node) *Node {
	var few [choices]int
	drawn := few[:draws(q, len(among), &few)]
	now := q.now()
	tick := tickOf(now)
	var best, novice *Node
	least, fastest := math.MaxFloat64, math.MaxFloat64
	for _, i := range drawn {
		n := among[i]
		a := average(n.average.Load())
		if a == 0 {
			if novice == nil || n.calls.Load() < novice.calls.Load() {
				novice = n
			}
			continue
		}
		latency := a.at(tick)
		fastest = min(fastest, latency)
		if c := n.cost(latency, now); c < least {
			best, least = n, c
		}
	}
	if novice != nil && (best == nil || novice.cost(fastest, now) <= least) {
		return novice
	}
	return best
}

// cost returns what one more call has to expect where calls take so long: the
// time for all of them, or that which those without an answer have waited
// already, together.
func (n *Node) cost(latency float64, now time.Duration) float64 {
	cost := latency * float64(n.calls.Load()+1)
	if n.waiting.Load() != 0 {
		cost = max(cost, n.ages(now))
	}
	if n.State() == Warming {
		return cost * n.scarcity(now)
	}
	return cost * n.perWeight()
}

// draws draws up to five different numbers below n: any one, and others at equal
// distances. Each is drawn equally often. Pairs are not: of six to eight nodes
// those five are drawn that follow each other, so neighbours meet more often than
// others. The order of the nodes is the balancer's own, so that they are other
// pairs for each client.
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

// An average is the moving average of latencies in one word: the bits of a
// float32 of nanoseconds, and below them the tick of the last observation.
type average uint64

// A tick is 1.05 ms, of which the last 32 bits are kept.
const tickUnit = 20

func tickOf(at time.Duration) uint32 { return uint32(at >> tickUnit) }

func newAverage(latency float64, tick uint32) average {
	return average(math.Float32bits(float32(latency)))<<32 | average(tick)
}

// latency returns the average as it was observed last.
func (a average) latency() float64 { return float64(math.Float32frombits(uint32(a >> 32))) }

// at returns the average as it has faded by a tick: one that nothing renews
// goes towards 0, so that what was slow is tried again.
func (a average) at(tick uint32) float64 { return fade(uint32(a>>32), tick-uint32(a)) }

// fade returns the float32 with the given bits times exp(-t/tau), to 6 %, for t
// in ticks. The bits of a float are nearly its logarithm: Schraudolph, "A Fast,
// Compact Approximation of the Exponential Function" (1999).
func fade(bits, t uint32) float64 {
	fall := uint64(elapsed(t)) * fallPerTick
	if fall >= uint64(bits) {
		return 0
	}
	return float64(math.Float32frombits(bits - uint32(fall)))
}

// fallPerTick is by how much the bits of a float32 are less after a tick.
var fallPerTick = uint64(math.Round(math.Log2E * (1 << tickUnit) / float64(tau) * (1 << 23)))

// elapsed returns t, or 0 if it is from the future: clocks are read before what
// they are compared with. Far below 0 it is a month or two.
func elapsed(t uint32) uint32 {
	if t > math.MaxUint32-1<<12 {
		return 0
	}
	return t
}

// kept returns the weight of an average in the next, t ticks later. It is nearly
// exp(-t/tau), which fade is not for a small t: there it falls too slowly.
func kept(t uint32) float64 {
	x := float64(elapsed(t)) * (1 << tickUnit) / float64(tau)
	return 1 / (1 + x + x*x/2)
}

// observe takes the latency of an answer into the average, by the time since the
// last. A failure is taken in like that too: what fails now and then costs its
// share of the penalty, and what always fails costs all of it.
func (n *Node) observe(at, took time.Duration) {
	tick := tickOf(at)
	for {
		was := average(n.average.Load())
		is := float64(max(took, 1)) // 0 is for what is not known
		if was != 0 {
			is += (was.latency() - is) * kept(tick-n.observed(was))
		}
		if n.average.CompareAndSwap(uint64(was), uint64(newAverage(is, tick))) {
			n.forgetRenewal()
			return
		}
	}
}

// observed returns the tick of the last observation in an average.
func (n *Node) observed(a average) uint32 {
	if tick := n.renewed.Load(); tick != 0 {
		return tick
	}
	return uint32(a)
}

// forgetRenewal makes the tick of the average that of an observation. Most
// averages were never renewed, and a load costs nothing.
func (n *Node) forgetRenewal() {
	if n.renewed.Load() != 0 {
		n.renewed.Store(0)
	}
}

// renew makes the average one of now, and no less than what is typical. A stream
// does so that begins: its answer may never be a latency, and where there are
// streams only, averages that nothing renews would be compared by their age.
//
// It is no observation: the next one weighs as much as it would have, so that a
// stream that fails at once costs what a call costs that does.
func (n *Node) renew(now time.Duration) {
	tick := tickOf(now)
	was := average(n.average.Load())
	is := max(was.at(tick), float64(n.balancer.typical(n)))
	if is == 0 || !n.average.CompareAndSwap(uint64(was), uint64(newAverage(is, tick))) { // or an answer has just done it
		return
	}
	last := uint32(was)
	if was == 0 {
		last = tick - forgotten
	}
	n.renewed.CompareAndSwap(0, last)
}

// forgotten is so many ticks that nothing is left of an average.
const forgotten = 1 << 20

// shun makes the average the penalty, for a node that is to be ejected and must
// not be. It fails fast, so the time that its failures stand for is short: it
// would look idle and get nearly every call.
func (n *Node) shun(at time.Duration) {
	n.average.Store(uint64(newAverage(float64(penalty), tickOf(at))))
	n.forgetRenewal()
}

// atLeastAsSlow makes the average no less than a latency.
func (n *Node) atLeastAsSlow(at, latency time.Duration) {
	if n.Latency() < latency {
		n.average.Store(uint64(newAverage(float64(latency), tickOf(at))))
		n.forgetRenewal()
	}
}

// atLeast takes a latency into the average that would have been longer, or of
// which no more is known.
func (n *Node) atLeast(at, took time.Duration) {
	if took > n.Latency() {
		n.observe(at, took)
	}
}
