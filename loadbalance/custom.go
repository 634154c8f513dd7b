package loadbalance

import (
	"context"
	"sync/atomic"

	"github.com/backstay-go/backstay"
)

// Custom returns a strategy of your own. pick returns one of the nodes in among,
// of which there is at least one. If it returns nil the call fails with a
// NoEndpointError.
//
// The nodes are well, in the order of their endpoints. Those in their slow start
// are among them, and so are those that wait for a probe, which the call becomes
// that pick returns one for: Node.State tells, and a strategy that never returns
// them never has them back. A node that the call has tried, or whose breaker is
// open, may be among them too. Where pick returns such a node it is asked again,
// with all of these left out, as long as there are others.
//
// So pick may be asked more than once for an attempt. It must be safe for
// concurrent use. among is a copy: pick may sort it, and must not keep it.
func Custom(name string, pick func(ctx context.Context, call *backstay.Call, among []*Node) *Node) Strategy {
	if pick == nil {
		panic("loadbalance: Custom needs a function that picks a node")
	}
	return Strategy{name: name, make: func(s site, nodes []*Node) picker {
		c := &custom{site: s, nodes: nodes, choose: pick}
		c.refresh()
		return c
	}}
}

// A custom is the picker of a strategy of the user.
type custom struct {
	site   site
	nodes  []*Node
	choose func(ctx context.Context, call *backstay.Call, among []*Node) *Node
	view   atomic.Pointer[customView]
}

type customView struct {
	*view
	offer []*Node // the live nodes and those that wait for a probe
}

func (c *custom) refresh() {
	v := &customView{view: look(c.site, c.nodes)}
	v.offer = v.live
	if len(v.probes) > 0 && !v.panic {
		v.offer = nil
		for _, n := range c.nodes {
			if s := n.State(); s.picked() || s == Probing {
				v.offer = append(v.offer, n)
			}
		}
	}
	c.view.Store(v)
}

// maxAsks bounds how often the function is asked because another call has just
// taken the probe of the node that it returned.
const maxAsks = 3

// pick asks the function about all nodes first, for to look which of many can be
// had costs more than to ask again.
func (c *custom) pick(q query) (*Node, bool) {
	v := c.view.Load()
	if q.avoid&trial != 0 {
		return v.any(q), false
	}
	all := v.calm && q.avoid == 0 || len(v.offer) > manageable
	var n *Node
	for range maxAsks {
		if n = c.ask(q, v, all); n == nil {
			return nil, false
		}
		if !all || v.fits(q, n) {
			if probe, ok := v.take(q, n); ok {
				return n, probe
			}
		}
		all = false
	}
	return n, false
}

// ask returns what the function chooses, of all nodes or of those that fit.
func (c *custom) ask(q query, v *customView, all bool) *Node {
	buf := scratch.Get().(*[]*Node)
	among := (*buf)[:0]
	if all {
		among = append(among, v.offer...)
	} else {
		for _, n := range v.offer {
			if v.fits(q, n) {
				among = append(among, n)
			}
		}
	}
	var n *Node
	if len(among) > 0 {
		n = c.choose(q.ctx, q.call, among)
	}
	clear(among)
	*buf = among
	scratch.Put(buf)
	return n
}

// fits reports whether q can go to n.
func (v *customView) fits(q query, n *Node) bool {
	return (v.panic || n.State() != Probing || v.open(q, n)) && (q.avoid == 0 || q.admits(n))
}
