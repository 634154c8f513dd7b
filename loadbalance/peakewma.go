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

// choices is how many endpoints PeakEWMA compares.
const choices = 5

// PeakEWMA takes the endpoint that will answer soonest of five drawn at random,
// by what each has taken lately and how much it has to do.
func PeakEWMA() Strategy {
	return Strategy{name: "peak EWMA", ages: true, make: func(s site, nodes []*Node) picker {
		return newList(s, nodes, cheapest)
	}}
}

func cheapest(q query, among []*Node) *Node {
	if len(among) == 1 {
		return among[0]
	}
	var drawn [choices]int
	k := distinct(q, len(among), &drawn)
	now := q.now()
	var best, novice *Node
	least, sum := math.MaxFloat64, 0.0
	known := 0
	for _, i := range drawn[:k] {
		n := among[i]
		l := n.expected(now)
		if l == 0 {
			novice = n
			continue
		}
		sum += l
		known++
		if c := l * n.crowd(q); c < least {
			best, least = n, c
		}
	}
	if novice != nil && (best == nil || sum/float64(known)*novice.crowd(q) < least) {
		return novice
	}
	return best
}

// distinct draws up to five different numbers below n, the first of which is
// any of them alike. Floyd's algorithm: Bentley and Floyd, "A Sample of
// Brilliance" (1987).
func distinct(q query, n int, to *[choices]int) int {
	if n <= choices {
		at := scale(q.random(), n)
		for i := range n {
			to[i] = at
			if at++; at == n {
				at = 0
			}
		}
		return n
	}
	const lane = 21 // bits of randomness for each
	r := [2]uint64{q.random(), q.random()}
	for i := range choices {
		last := n - choices + i
		at := int(r[i/3] & (1<<lane - 1) * uint64(last+1) >> lane)
		r[i/3] >>= lane
		for _, other := range to[:i] {
			if at == other {
				at = last
				break
			}
		}
		to[i] = at
	}
	// The last numbers can only be drawn late, and ties go to the first.
	first := r[1] & (1<<lane - 1) * choices >> lane
	to[0], to[first] = to[first], to[0]
	return choices
}

// expected returns the latency to expect of n, and 0 where nothing is known. An
// average that nothing renews fades away, so that what was slow is tried again.
// Calls that have no answer yet say that it takes as long as they have waited.
func (n *Node) expected(now time.Duration) float64 {
	a := average(n.average.Load())
	if a == 0 {
		return 0
	}
	l := a.at(now)
	if w := int64(n.calls.Load() >> 32); w > 0 {
		l = max(l, float64(int64(now)-n.begun.Load()/w))
	}
	return l
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

// observe takes the latency of an answer into the average: a peak at once,
// anything below slowly, by the time since the last. A failure counts as the
// penalty, and slowly though that is a peak: what fails now and then costs its
// share of it, and what fails always costs all of it.
func (n *Node) observe(at, took time.Duration, failure bool) {
	now := uint32(at / time.Millisecond)
	for {
		was := average(n.average.Load())
		old, is := was.latency(), float64(took)
		kept := fade(int32(now - uint32(was)))
		switch {
		case failure:
			is = max(old*kept, is)*kept + float64(penalty)*(1-kept)
		case old*kept > is:
			is += (old - is) * kept
		}
		if n.average.CompareAndSwap(uint64(was), uint64(newAverage(is, at))) {
			return
		}
	}
}

// atLeast takes a latency into the average that would have been longer.
func (n *Node) atLeast(at, took time.Duration) {
	if is := n.Latency(); is > 0 && took > is {
		n.observe(at, took, false)
	}
}
