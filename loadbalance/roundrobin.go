package loadbalance

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// RoundRobin takes the endpoints in turn. Each balancer has an order of its own
// and starts somewhere in it, or all the clients of a service would meet at the
// same endpoint.
//
// It knows nothing of weights and load: a slow endpoint gets as many calls as a
// fast one.
func RoundRobin() Strategy {
	return Strategy{name: "round robin", make: newRotation}
}

// A rotation takes nodes in turn.
type rotation struct {
	list
	turn atomic.Uint32
}

func newRotation(s site, nodes []*Node) picker {
	r := new(rotation)
	if before, ok := s.before.(*rotation); ok {
		r.turn.Store(before.turn.Load())
	} else {
		r.turn.Store(uint32(s.balancer.draw()))
	}
	r.list = list{site: s, nodes: shuffled(s.balancer, nodes), choose: r.next, redraws: maxRedraws}
	r.refresh()
	return r
}

func (r *rotation) pick(q query) (*Node, bool) {
	if v := r.view.Load(); v.calm && q.avoid == 0 {
		return v.live[r.turn.Add(1)%uint32(len(v.live))], false
	}
	return r.list.pick(q)
}

// next returns the node whose turn it is. An attempt that follows another
// draws: if it took a turn, the next call would begin where the sick endpoint
// is, and with two endpoints every call would meet it. So does a pick whose turn
// was that of a node which is passed over.
func (r *rotation) next(q query, among []*Node) *Node {
	if q.again {
		return draw(q, among)
	}
	n := among[r.turn.Add(1)%uint32(len(among))]
	if n.State() == Warming && n.tooCold(q) {
		return draw(q, among)
	}
	return n
}

// shuffled returns nodes in the balancer's own order, in which those that stay
// keep their places when others come and go.
func shuffled(b *Balancer, nodes []*Node) []*Node {
	order := slices.Clone(nodes)
	slices.SortFunc(order, func(x, y *Node) int {
		return cmp.Or(cmp.Compare(b.place(x), b.place(y)), cmp.Compare(x.address, y.address))
	})
	return order
}
