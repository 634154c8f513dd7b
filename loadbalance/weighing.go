package loadbalance

import (
	"slices"
	"sync/atomic"
)

// A weighing is a picker that draws a node by weight.
type weighing struct {
	site  site
	nodes []*Node
	view  atomic.Pointer[weighedView]
}

type weighedView struct {
	*view
	sums []int // of the weights of the live nodes up to each
}

func newWeighing(s site, nodes []*Node) *weighing {
	w := &weighing{site: s, nodes: nodes}
	w.refresh()
	return w
}

func (w *weighing) refresh() {
	v := &weighedView{view: look(w.site, w.nodes)}
	v.sums = make([]int, len(v.live))
	sum := 0
	for i, n := range v.live {
		sum += n.Endpoint().weight()
		v.sums[i] = sum
	}
	w.view.Store(v)
}

func (w *weighing) pick(q query) (*Node, bool) {
	v := w.view.Load()
	if q.avoid&trial != 0 {
		return v.any(q), false
	}
	if len(v.probes) > 0 {
		if n := v.probe(q); n != nil {
			return n, true
		}
	}
	if len(v.live) == 0 {
		return nil, false
	}
	if q.avoid&(tried|blocked) == 0 {
		return v.draw(q), false
	}
	if len(v.live) > manageable {
		for range 1 + maxRedraws {
			if n := v.draw(q); q.admits(n) {
				return n, false
			}
		}
	}
	return v.admitted(q), false
}

// has reports whether n is live, and warm enough for q.
func (v *weighedView) has(q query, n *Node) bool {
	switch n.State() {
	case Available:
		return true
	case Warming:
		return !n.tooCold(q)
	}
	return v.panic
}

// draw returns a live node by its weight, and those in their slow start less.
func (v *weighedView) draw(q query) *Node {
	n := v.at(q.index(v.sums[len(v.sums)-1]))
	for range maxRedraws {
		if n.State() != Warming || !n.tooCold(q) {
			break
		}
		n = v.at(q.index(v.sums[len(v.sums)-1]))
	}
	return n
}

// at returns the node that has a place below the sum of all weights.
func (v *weighedView) at(place int) *Node {
	i, _ := slices.BinarySearch(v.sums, place+1)
	return v.live[i]
}

// admitted draws by weight from the live nodes that q admits: each takes the
// place of the one before with the probability of its part in the sum so far.
func (v *weighedView) admitted(q query) *Node {
	var drawn *Node
	sum := 0
	for _, n := range v.live {
		if !q.admits(n) {
			continue
		}
		weight := n.Endpoint().weight()
		if sum += weight; q.index(sum) < weight {
			drawn = n
		}
	}
	return drawn
}
