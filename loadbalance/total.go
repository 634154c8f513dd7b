package loadbalance

import "sync/atomic"

// A total is how many calls are in flight at the nodes of a picker: what they
// have added to it. To add up what each has in flight takes too long where there
// are many.
type total struct{ calls atomic.Int64 }

// A share is what a node has added to a total. A node has as many as there are
// totals that it is part of, which is none for most strategies.
type share struct {
	of   *total
	told atomic.Int64
}

// newTotal returns the total of some nodes, with the calls that they have. The
// balancer's mutex is held.
//
// No call is left out or counted twice: a node first counts a call and then
// looks at its shares, and here it has its share before its calls are read. So
// a call that does not see the share is among those that are read.
func newTotal(nodes []*Node) *total {
	t := new(total)
	for _, n := range nodes {
		s := &share{of: t}
		shares := append([]*share{s}, n.sharing()...)
		n.shares.Store(&shares)
		s.tell(n)
	}
	return t
}

// tell brings the total up to date with what n has in flight. It cannot drift:
// the total is always the sum of what was told, and whoever tells last has seen
// that nothing has changed since. Without the loop, one that reads 1, is
// overtaken by one that reads 0 and tells it, and then tells 1 would be wrong
// until the next call at n.
func (s *share) tell(n *Node) {
	for now := n.calls.Load(); ; {
		s.of.calls.Add(now - s.told.Swap(now))
		then := now
		if now = n.calls.Load(); now == then {
			return
		}
	}
}

// sharing returns the shares of n, the newest first.
func (n *Node) sharing() []*share {
	if s := n.shares.Load(); s != nil {
		return *s
	}
	return nil
}

// tell brings the totals that n is part of up to date.
func (n *Node) tell() {
	if shares := n.shares.Load(); shares != nil { // few strategies have any
		for _, s := range *shares {
			s.tell(n)
		}
	}
}

// forget drops the oldest shares of n, which are those of pickers that are no
// longer in use. The balancer's mutex is held.
func (n *Node) forget(old int) {
	if shares := n.sharing(); old > 0 {
		if shares = shares[:len(shares)-old]; len(shares) == 0 {
			n.shares.Store(nil)
		} else {
			n.shares.Store(&shares)
		}
	}
}
