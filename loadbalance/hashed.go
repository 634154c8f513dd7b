package loadbalance

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/backstay-go/backstay/internal/hashing"
)

// hashed is the picker of the hash strategies.
type hashed struct {
	site   site
	cfg    HashConfig
	nodes  []*Node
	owners owners
	total  *total // nil where there is no bound, or few nodes
	view   atomic.Pointer[hashView]
}

type hashView struct {
	*view
	room float64 // in flight for each unit of weight, per call in flight
}

// few is up to how many nodes it is cheaper to add up what they have in flight
// for a pick than to keep a total of it.
const few = 16

func (h *hashed) inFlight() (calls int64) {
	if h.total != nil {
		return h.total.calls.Load()
	}
	for _, n := range h.nodes {
		calls += int64(n.InFlight())
	}
	return calls
}

func (h *hashed) refresh() {
	v := &hashView{view: look(h.site, h.nodes), room: math.Inf(1)}
	if h.cfg.Bound > 0 {
		weight := 0
		for _, n := range v.live {
			weight += n.Endpoint().weight()
		}
		v.room = h.cfg.Bound / float64(max(weight, 1))
	}
	h.view.Store(v)
}

func (h *hashed) pick(q query) (*Node, bool) {
	if len(h.nodes) == 0 {
		return nil, false
	}
	key := h.cfg.Key(q.ctx, q.call)
	hash := hashing.Sum(key)
	if key == "" {
		hash = q.random()
	}
	v := h.view.Load()
	switch {
	case h.cfg.Strict && key != "":
		return h.strictly(q, hash)
	case h.cfg.Bound > 0:
		return h.bounded(q, v, hash)
	case v.calm && q.avoid == 0: // which is almost always so
		_, i := h.owners.find(hash)
		return h.nodes[i], false
	}
	return h.among(q, v, hash, math.Inf(1))
}

// bounded picks from the nodes that have room for one more call. Where those
// are tried or blocked, the others are used all the same.
func (h *hashed) bounded(q query, v *hashView, hash uint64) (*Node, bool) {
	n, probe := h.among(q, v, hash, v.room*float64(h.inFlight()+1))
	if n == nil {
		n, probe = h.among(q, v, hash, math.Inf(1))
	}
	return n, probe
}

// among picks the first node in the order of hash that has less than limit in
// flight for each unit of its weight.
func (h *hashed) among(q query, v *hashView, hash uint64, limit float64) (*Node, bool) {
	for {
		n := h.walk(q, v, hash, limit)
		if n == nil {
			return nil, false
		}
		if probe, ok := v.take(q, n); ok {
			return n, probe
		}
	}
}

// strictly returns the owner, which is probed by its own keys like any other.
func (h *hashed) strictly(q query, hash uint64) (*Node, bool) {
	_, i := h.owners.find(hash)
	n := h.nodes[i]
	if q.avoid&tried != 0 && q.call.Tried(n.address) {
		return nil, false
	}
	return n, q.avoid&probes == 0 && n.State() == Probing && n.takeProbe(q)
}

// walk returns the first node in the order of hash that q fits on.
func (h *hashed) walk(q query, v *hashView, hash uint64, limit float64) *Node {
	place, i := h.owners.find(hash)
	if n := h.nodes[i]; v.fits(q, n, limit) {
		return n
	}
	seen := newVisits(len(h.nodes))
	defer visitsPool.Put(seen)
	seen.add(i)
	left := len(h.nodes) - 1
	for range maxWalk {
		if left == 0 {
			return nil
		}
		place, i = h.owners.next(hash, place)
		if !seen.add(i) {
			continue
		}
		left--
		if n := h.nodes[i]; v.fits(q, n, limit) {
			return n
		}
	}
	at := scale(hash, len(h.nodes))
	for i := range h.nodes {
		if n := h.nodes[(at+i)%len(h.nodes)]; v.fits(q, n, limit) {
			return n
		}
	}
	return nil
}

// maxWalk bounds the walk on a ring or in a table, for picks among hundreds of
// endpoints of which hardly one can be had. Then any is right.
const maxWalk = 2048

// fits reports whether q can go to n.
func (v *hashView) fits(q query, n *Node, limit float64) bool {
	return (v.calm || v.open(q, n)) &&
		n.burden() < limit &&
		(q.avoid == 0 || q.admits(n))
}

// burden returns how many calls n has in flight for each unit of its weight.
func (n *Node) burden() float64 { return float64(n.InFlight()) * n.perWeight() }

// open reports whether n is well, or waits for a probe that q could be.
func (v *view) open(q query, n *Node) bool {
	s := n.State()
	return s.picked() || v.panic || s == Probing && q.avoid&(probes|tried) == 0 && n.awaitsProbe(q)
}

// take makes the pick of n the probe, if n waits for one. It fails if another
// pick has just become that.
func (v *view) take(q query, n *Node) (probe, ok bool) {
	if n.State() != Probing || q.avoid&(probes|tried) != 0 {
		return false, true
	}
	probe = n.takeProbe(q)
	return probe, probe || v.panic
}

// visits are the nodes that a walk has come by: a bit for each index.
type visits []uint64

var visitsPool = sync.Pool{New: func() any { return new(visits) }}

func newVisits(nodes int) *visits {
	v := visitsPool.Get().(*visits)
	words := (nodes + 63) / 64
	*v = slices.Grow((*v)[:0], words)[:words]
	clear(*v)
	return v
}

// add reports whether the walk comes by for the first time.
func (v visits) add(i int) bool {
	word, bit := &v[i/64], uint64(1)<<(i%64)
	first := *word&bit == 0
	*word |= bit
	return first
}
