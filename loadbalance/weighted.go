package loadbalance

import (
	"container/heap"
	"slices"
	"sync/atomic"
)

// Weighted takes the endpoints in turn, each as often as its weight says, and
// spreads the turns of each: weights 5, 1, 1 give a b a a a c a and not five
// times a in a row. Weights that differ by more than a factor of 4096 are
// rounded.
//
// The turns are made when endpoints or weights change. Those of an endpoint that
// is not well go to others by chance.
func Weighted() Strategy {
	return Strategy{name: "weighted", make: newSchedule}
}

// A schedule takes nodes from a sequence in which each is as often as its weight
// says. It has those too that are not well: to make it takes milliseconds, which
// is too long when an endpoint is ejected on the goroutine of a call.
type schedule struct {
	*weighing
	turns []*Node
	turn  atomic.Uint32
}

func newSchedule(s site, nodes []*Node) picker {
	order := shuffled(s.balancer, nodes)
	p := &schedule{weighing: newWeighing(s, order), turns: turns(order)}
	if before, ok := s.before.(*schedule); ok {
		p.turn.Store(before.turn.Load())
	} else {
		p.turn.Store(uint32(s.balancer.draw()))
	}
	return p
}

// pick takes no turn for an attempt that follows another, for the reason that a
// rotation takes none.
func (s *schedule) pick(q query) (*Node, bool) {
	v := s.view.Load()
	if q.avoid&(tried|trial) == 0 && !q.again && len(v.live) > 0 {
		if n := v.probe(q); n != nil {
			return n, true
		}
		n := s.turns[s.turn.Add(1)%uint32(len(s.turns))]
		if v.has(q, n) && (q.avoid == 0 || q.admits(n)) {
			return n, false
		}
	}
	return s.weighing.pick(q)
}

// maxTurns bounds the length of a sequence, by its least and by the places for
// each node.
const (
	maxTurns    = 4096
	turnsOfNode = 64
)

// turns returns the smooth sequence of nodes by weight: from one turn of a node
// of weight w to the next it is 1/w of the sequence.
func turns(nodes []*Node) []*Node {
	if len(nodes) == 0 {
		return nil
	}
	weights := make([]int, len(nodes))
	total, divisor := 0, 0
	for i, n := range nodes {
		weights[i] = n.Endpoint().weight()
		divisor = gcd(weights[i], divisor)
	}
	for i := range weights {
		weights[i] /= divisor
		total += weights[i]
	}
	if limit := max(maxTurns, turnsOfNode*len(nodes)); total > limit {
		sum := 0
		for i, w := range weights {
			weights[i] = max(1, int(float64(w)*float64(limit)/float64(total)+0.5))
			sum += weights[i]
		}
		total = sum
	}
	return smooth(nodes, weights, total)
}

func smooth(nodes []*Node, weights []int, total int) []*Node {
	alike := map[int]int{} // nodes by weight
	for _, w := range weights {
		alike[w]++
	}
	due, rank := make(deadlines, len(nodes)), map[int]int{}
	for i, w := range weights {
		// Those of one weight begin evenly spread, or their turns would always
		// follow each other and leave the others in a row.
		begin := (float64(rank[w]) + 0.5) / float64(alike[w])
		rank[w]++
		due[i] = deadline{at: begin / float64(w), every: 1 / float64(w), node: i}
	}
	heap.Init(&due)
	sequence := make([]*Node, 0, total)
	for range total {
		sequence = append(sequence, nodes[due[0].node])
		due[0].at += due[0].every
		heap.Fix(&due, 0)
	}
	return slices.Clip(sequence)
}

// deadlines is a heap of when nodes are due for their next turns.
type deadlines []deadline

type deadline struct {
	at, every float64
	node      int
}

func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].node < d[j].node
}
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(any)     {}
func (d *deadlines) Pop() any     { return nil }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
