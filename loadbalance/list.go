package loadbalance

import (
	"sync"
	"sync/atomic"
)

// A chooser returns one of some nodes, of which there is at least one.
type chooser func(q query, among []*Node) *Node

// A list is a picker for strategies to which nodes are alike but for their
// load. Who can be picked changes rarely and is kept as a slice, so that a pick
// looks at no state but that of the nodes it compares.
type list struct {
	site   site
	nodes  []*Node
	choose chooser
	view   atomic.Pointer[view]

	redraws int // how often choose may be asked again for another of the live nodes
}

// A view is what a set of nodes looks like to picks.
type view struct {
	live   []*Node // that can be picked
	probes []*Node // that wait for a probe
	panic  bool    // too few are well, so all are live
	calm   bool    // all nodes are live and none is special
}

func newList(s site, nodes []*Node, choose chooser) *list {
	l := &list{site: s, nodes: nodes, choose: choose, redraws: maxRedraws}
	l.refresh()
	return l
}

func (l *list) refresh() { l.view.Store(look(l.site, l.nodes)) }

// look returns the view of nodes. Where less than the panic threshold are well,
// all are used: what is left would break down under the load of the others.
// While peers elsewhere are well enough, they carry it.
func look(s site, nodes []*Node) *view {
	v := &view{calm: len(nodes) > 0 && !s.reserve}
	for _, n := range nodes {
		switch s := n.State(); {
		case s.picked():
			v.live = append(v.live, n)
		case s == Probing:
			v.probes = append(v.probes, n)
		}
		v.calm = v.calm && n.State() == Available
	}
	well, of := len(v.live), len(nodes)
	if s.peers != nil {
		well, of = countPicked(s.peers), len(s.peers)
	}
	if s.reserve || float64(well) < s.balancer.health.PanicThreshold*float64(of) {
		v.live, v.panic = nodes, true
	}
	return v
}

// countPicked returns how many of the nodes are picked.
func countPicked(nodes []*Node) (n int) {
	for _, node := range nodes {
		if node.State().picked() {
			n++
		}
	}
	return n
}

// probe takes the probe of a node that waits for one. A call does so by chance,
// as it might have picked the node if that were well: a client that calls more
// seldom than ejections last would otherwise send each call to what is sick.
func (v *view) probe(q query) *Node {
	if q.avoid&(probes|tried) != 0 || len(v.live) > 0 && q.index(len(v.live)+len(v.probes)) >= len(v.probes) {
		return nil
	}
	for _, n := range v.probes {
		if n.awaitsProbe(q) && q.admits(n) && n.takeProbe(q) {
			return n
		}
	}
	return nil
}

func (l *list) pick(q query) (*Node, bool) {
	v := l.view.Load()
	if v.calm && q.avoid == 0 { // which is almost always so
		return l.choose(q, v.live), false
	}
	return l.among(q, v)
}

// manageable is how many nodes are quickly looked through for those that are
// left. To choose among them is better than to draw until one is hit.
const manageable = 8

// among picks where some nodes are special.
func (l *list) among(q query, v *view) (*Node, bool) {
	if q.avoid&trial != 0 {
		return v.any(q), false
	}
	if len(v.probes) > 0 {
		if n := v.probe(q); n != nil {
			return n, true
		}
	}
	switch {
	case len(v.live) == 0:
		return nil, false
	case q.avoid&(tried|blocked) == 0:
		return l.choose(q, v.live), false
	case q.avoid&tried != 0:
		q.again = true
	}
	for range l.chances(q, v) {
		if n := l.choose(q, v.live); q.admits(n) {
			return n, false
		}
		q.again = true
	}
	return l.admitted(q, v), false
}

// chances returns how often a node is chosen from all that are live in the hope
// that q admits it, for those that are passed over are few.
func (l *list) chances(q query, v *view) int {
	switch {
	case len(v.live) > manageable:
		return 1 + l.redraws
	case q.avoid&tried == 0: // or a rotation would take no turn
		return 1
	}
	return 0
}

// any returns a live node that q admits. Those that were tried are few, so it
// finds one soon; it begins anywhere, or breakers that are open might all come
// first.
func (v *view) any(q query) *Node {
	if len(v.live) == 0 {
		return nil
	}
	at := q.index(len(v.live))
	for i := range v.live {
		if n := v.live[(at+i)%len(v.live)]; q.admits(n) {
			return n
		}
	}
	return nil
}

// scratch holds slices for the nodes that are left when some are passed over.
var scratch = sync.Pool{New: func() any { return new([]*Node) }}

// admitted picks from the live nodes that q admits.
func (l *list) admitted(q query, v *view) *Node {
	buf := scratch.Get().(*[]*Node)
	among := (*buf)[:0]
	for _, n := range v.live {
		if q.admits(n) {
			among = append(among, n)
		}
	}
	var n *Node
	if q.again = true; len(among) > 0 {
		n = l.choose(q, among)
	}
	clear(among)
	*buf = among
	scratch.Put(buf)
	return n
}
