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
func Weighted() Strategy {
	return Strategy{name: "weighted", make: func(s site, nodes []*Node) picker {
		turn := new(atomic.Uint32)
		if before, ok := s.before.(*schedule); ok && before.turn != nil {
			turn.Store(before.turn.Load())
		} else {
			turn.Store(uint32(s.balancer.draw()))
		}
		p := newSchedule(s, shuffled(s.balancer, nodes), func(_ query, turns int) int { return int(turn.Add(1) % uint32(turns)) })
		p.turn = turn
		return p
	}}
}

// A schedule is a picker that takes its nodes from a sequence, made when the
// nodes change, in which each is as often as its weight says.
type schedule struct {
	site     site
	nodes    []*Node
	position func(q query, turns int) int
	turn     *atomic.Uint32
	view     atomic.Pointer[scheduleView]
}

type scheduleView struct {
	*view
	turns []*Node
}

func newSchedule(s site, nodes []*Node, position func(q query, turns int) int) *schedule {
	p := &schedule{site: s, nodes: nodes, position: position}
	p.refresh()
	return p
}

func (s *schedule) refresh() {
	v := look(s.site, s.nodes)
	s.view.Store(&scheduleView{v, turns(v.live)})
}

func (s *schedule) pick(q query) (*Node, bool) {
	v := s.view.Load()
	if len(v.probes) > 0 {
		if n := v.probe(q); n != nil {
			return n, true
		}
	}
	if len(v.turns) == 0 {
		return nil, false
	}
	if q.avoid&tried == 0 && !q.again {
		n := v.turns[s.position(q, len(v.turns))]
		if n.State() == Warming && n.tooCold(q) {
			n = draw(q, v.turns)
		}
		if q.avoid&blocked == 0 || !q.seat.blocks(n) {
			return n, false
		}
	}
	// A retry draws a place in the sequence, for the reason that it does so in
	// a rotation. To take the next node that is left would give those that
	// follow one that is not more than their share, so that is done only where
	// few are left.
	at := 0
	for range 4 {
		at = scale(q.random(), len(v.turns))
		if n := v.turns[at]; q.admits(n) {
			return n, false
		}
	}
	for i := range v.turns {
		if n := v.turns[(at+i)%len(v.turns)]; q.admits(n) {
			return n, false
		}
	}
	return nil, false
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
