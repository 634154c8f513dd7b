package loadbalance

import (
	"math"
	"math/bits"
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
	var best *Node
	least := math.MaxFloat64
	for _, i := range drawn[:k] {
		n := among[i]
		c := n.latencyAt(now) * float64(n.InFlight()+1) * n.cost(q)
		if c < least {
			best, least = n, c
		}
	}
	return best
}

// distinct draws up to five different numbers below n, in a random order.
func distinct(q query, n int, to *[choices]int) int {
	r := q.random()
	if n <= choices {
		at := below(uint32(r), n)
		for i := range n {
			to[i] = at
			if at++; at == n {
				at = 0
			}
		}
		return n
	}
	at := below(uint32(r), n)
	hi, _ := bits.Mul64(r<<32, uint64(n))
	_ = hi
	for i := range choices {
		to[i] = at
		if at++; at == n {
			at = 0
		}
	}
	return choices
}

// latencyAt returns the latency to expect of n.
func (n *Node) latencyAt(now time.Duration) float64 {
	latency, _ := average(n.average.Load()).parts()
	l := float64(latency)
	if w := int64(n.calls.Load() >> 32); w > 0 {
		l = max(l, float64(int64(now)-n.begun.Load()/w))
	}
	return l
}

// An average is the moving average of latencies in one word: a float32 of
// nanoseconds, and below it the time of the last observation in milliseconds,
// as its last 32 bits.
type average uint64

func newAverage(latency float32, at time.Duration) average {
	return average(math.Float32bits(latency))<<32 | average(uint32(at/time.Millisecond))
}

func (a average) parts() (latency float32, at uint32) {
	return math.Float32frombits(uint32(a >> 32)), uint32(a)
}

// observe takes the latency of an answer into the average: a peak at once,
// anything below slowly, by the time since the last.
func (n *Node) observe(at, took time.Duration) {
	now := uint32(at / time.Millisecond)
	for {
		was := n.average.Load()
		old, seen := average(was).parts()
		is := float32(took)
		if old > is {
			// 1/(1+x) is near enough to exp(-x), and a good deal cheaper.
			w := 1 / (1 + float32(int32(now-seen))*float32(time.Millisecond)/float32(tau))
			is += (old - is) * w
		}
		if n.average.CompareAndSwap(was, uint64(newAverage(is, at))) {
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
