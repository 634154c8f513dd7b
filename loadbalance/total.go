package loadbalance

import "sync/atomic"

// A total is how many calls are in flight at the nodes of a picker. To add up
// what each has takes too long where there are many.
type total struct{ calls atomic.Int64 }

// newTotal returns the total of some nodes, with the calls that they have. The
// balancer's mutex is held.
//
// A call that begins or ends at a node in the moment between the two lines below
// is counted twice, or not at all. That is one call of all that are in flight,
// and forgotten with the total when the endpoints change for the next time: not
// worth the atomic operations that would avoid it for every call.
func newTotal(nodes []*Node) *total {
	t := new(total)
	for _, n := range nodes {
		totals := append([]*total{t}, n.partOf()...)
		n.totals.Store(&totals)
		t.calls.Add(n.calls.Load())
	}
	return t
}

// partOf returns the totals that n is part of, the newest first. There are none
// for most strategies.
func (n *Node) partOf() []*total {
	if t := n.totals.Load(); t != nil {
		return *t
	}
	return nil
}

// tell adds a number of calls to the totals that n is part of.
func (n *Node) tell(calls int64) {
	if totals := n.totals.Load(); totals != nil {
		for _, t := range *totals {
			t.calls.Add(calls)
		}
	}
}

// forget drops the oldest totals of n, which are those of pickers that are no
// longer in use. The balancer's mutex is held.
func (n *Node) forget(old int) {
	if totals := n.partOf(); old > 0 {
		if totals = totals[:len(totals)-old]; len(totals) == 0 {
			n.totals.Store(nil)
		} else {
			n.totals.Store(&totals)
		}
	}
}
