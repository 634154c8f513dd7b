package loadbalance

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/hashing"
)

// HashConfig describes a hash strategy. It needs a Key.
type HashConfig struct {
	// Key returns what decides where a call goes, such as a user's ID. Calls
	// for which it returns "" go to any endpoint. Package httpcall has keys for
	// requests.
	Key func(ctx context.Context, call *backstay.Call) string

	// Bound is how many times the mean load an endpoint may have before its
	// keys go to the next, such as 1.25: a key that everybody wants would
	// otherwise break the endpoint that has it. 0 means no bound.
	Bound float64

	// Strict has a key go to its endpoint only, though it is ejected, or the
	// attempt before failed there: for services where no other has the data.
	Strict bool
}

// Validate reports what is wrong with the config.
func (c HashConfig) Validate() error {
	switch {
	case c.Key == nil:
		return fmt.Errorf("loadbalance: a hash strategy needs a Key, such as httpcall.ByHeader(\"X-User\")")
	case c.Bound != 0 && !(c.Bound > 1):
		return fmt.Errorf("loadbalance: Bound is %v; give a factor above 1, such as 1.25, or 0 for no bound", c.Bound)
	case c.Bound != 0 && c.Strict:
		return fmt.Errorf("loadbalance: Bound sends keys elsewhere and Strict forbids it; leave one of them out")
	}
	return nil
}

// Hash gives each key to an endpoint by consistent hashing on a ring: when an
// endpoint comes or goes, only its own keys move. Where the endpoint is not
// well, or was tried, the call goes to the next on the ring, and the keys come
// home when it has recovered. Every process maps keys alike.
//
// With the same weights the most loaded of 100 endpoints has 1.2 times the mean.
// Maglev is more even and moves more keys.
//
// It panics if cfg is not valid.
func Hash(cfg HashConfig) Strategy {
	return hashStrategy("hash", cfg, func(before owners, members []hashing.Member) owners {
		if b, ok := before.(ring); ok {
			return ring{b.Update(members)}
		}
		return ring{hashing.NewRing(members)}
	})
}

// Rendezvous gives each key to the endpoint with the highest score for it: as
// even as drawing at random, and when an endpoint leaves its keys go to all
// others alike. It computes the score of each endpoint for each pick, so it is
// for some tens of endpoints.
//
// It panics if cfg is not valid.
func Rendezvous(cfg HashConfig) Strategy {
	return hashStrategy("rendezvous", cfg, func(_ owners, members []hashing.Member) owners {
		return rendezvous{hashing.NewRendezvous(members), len(members)}
	})
}

// Maglev gives keys to endpoints by a table in which all have equally many
// places: the most even of the hash strategies. When an endpoint comes or goes,
// a few keys of others move too.
//
// It panics if cfg is not valid.
func Maglev(cfg HashConfig) Strategy {
	return hashStrategy("maglev", cfg, func(_ owners, members []hashing.Member) owners {
		// A hundred places for each make the shares equal to 1 %.
		return maglev{hashing.NewMaglev(members, max(0, 100*len(members)/65536*65536))}
	})
}

// owners knows in which order endpoints come for a hash.
type owners interface {
	// first returns the index of the owner.
	first(hash uint64) int
	// owner returns the first node, in the order of hash, that q fits on.
	owner(h *hashed, q query, v *hashView, hash uint64) *Node
}

func hashStrategy(name string, cfg HashConfig, build func(before owners, members []hashing.Member) owners) Strategy {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	if cfg.Bound > 0 {
		name = fmt.Sprintf("%s bounded by %v", name, cfg.Bound)
	}
	return Strategy{name: name, make: func(s site, nodes []*Node) picker {
		h := &hashed{site: s, cfg: cfg, nodes: nodes}
		if cfg.Bound > 0 {
			h.careful = probes
		}
		members := make([]hashing.Member, len(nodes))
		for i, n := range nodes {
			members[i] = hashing.Member{Name: n.address, Weight: n.Endpoint().weight()}
		}
		if before, ok := s.before.(*hashed); ok {
			h.total, h.release = before.total, before.release
			h.owners = build(before.owners, members)
		} else {
			h.total = new(atomic.Int64)
			h.release = func(error) { h.total.Add(-1) }
			h.owners = build(nil, members)
		}
		h.refresh()
		return h
	}}
}

// hashed is the picker of the hash strategies.
type hashed struct {
	site    site
	cfg     HashConfig
	nodes   []*Node
	owners  owners
	view    atomic.Pointer[hashView]
	total   *atomic.Int64 // calls in flight, where there is a bound
	release func(error)
	careful avoid // not 0 where a calm view is not enough to take the owner
}

type hashView struct {
	*view
	room float64 // in flight for each unit of weight, per call in flight
}

func (h *hashed) refresh() {
	v := &hashView{view: look(h.site.balancer, h.nodes)}
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
	v := h.view.Load()
	key := h.cfg.Key(q.ctx, q.call)
	hash := hashing.Sum(key)
	if key == "" {
		hash = q.random()
	}
	if v.calm && q.avoid|h.careful == 0 {
		return h.nodes[h.owners.first(hash)], false
	}
	if h.cfg.Strict && key != "" {
		return h.strictly(q, hash)
	}
	for {
		n := h.owners.owner(h, q, v, hash)
		if n == nil {
			n = h.whatever(q, v, hash)
		}
		if n == nil {
			return nil, false
		}
		if probe, ok := v.take(q, n); ok {
			if h.cfg.Bound > 0 && q.avoid&probes == 0 {
				h.total.Add(1)
				q.call.OnDone(h.release)
			}
			return n, probe
		}
	}
}

// strictly returns the owner, if the call may go there at all.
func (h *hashed) strictly(q query, hash uint64) (*Node, bool) {
	n := h.nodes[h.owners.first(hash)]
	if q.avoid&tried != 0 && q.call.Tried(n.address) {
		return nil, false
	}
	return n, q.avoid&probes == 0 && n.State() == Probing && n.probing.CompareAndSwap(false, true)
}

// fits reports whether q can go to n.
func (h *hashed) fits(q query, v *hashView, n *Node) bool {
	if !v.calm && !v.open(q, n) {
		return false
	}
	if h.cfg.Bound > 0 {
		if float64(n.InFlight())*n.perWeight() >= v.room*float64(h.total.Load()+1) {
			return false
		}
	}
	return q.avoid == 0 || q.admits(n)
}

// open reports whether n is well, or waits for a probe that q could be.
func (v *view) open(q query, n *Node) bool {
	s := n.State()
	return s.picked() || v.panic || s == Probing && q.avoid&probes == 0 && !n.probing.Load()
}

// take makes the pick of n the probe, if n waits for one. It fails if another
// pick has just become that.
func (v *view) take(q query, n *Node) (probe, ok bool) {
	if n.State() != Probing || q.avoid&probes != 0 {
		return false, true
	}
	probe = n.probing.CompareAndSwap(false, true)
	return probe, probe || v.panic
}

// whatever returns a node that q admits though there is no room, beginning
// where hash says.
func (h *hashed) whatever(q query, v *hashView, hash uint64) *Node {
	at := scale(hash, len(h.nodes))
	for i := range h.nodes {
		if n := h.nodes[(at+i)%len(h.nodes)]; v.open(q, n) && q.admits(n) {
			return n
		}
	}
	return nil
}

// maxWalk bounds the walk on a ring or in a table, for picks among hundreds of
// endpoints of which hardly one can be had. Then any is right.
const maxWalk = 2048

type ring struct{ *hashing.Ring }

func (r ring) first(hash uint64) int { return r.At(r.Find(hash)) }

func (r ring) owner(h *hashed, q query, v *hashView, hash uint64) *Node {
	pos := r.Find(hash)
	for range maxWalk {
		if n := h.nodes[r.At(pos)]; h.fits(q, v, n) {
			return n
		}
		pos = r.Next(pos)
	}
	return nil
}

type maglev struct{ *hashing.Maglev }

func (m maglev) first(hash uint64) int { return m.At(hash) }

func (m maglev) owner(h *hashed, q query, v *hashView, hash uint64) *Node {
	for i := range maxWalk {
		if n := h.nodes[m.Probe(hash, i)]; h.fits(q, v, n) {
			return n
		}
	}
	return nil
}

type rendezvous struct {
	*hashing.Rendezvous
	members int
}

func (r rendezvous) first(hash uint64) (best int) {
	most := uint64(0)
	for i := range r.members {
		if score := r.Score(hash, i); score > most {
			best, most = i, score
		}
	}
	return best
}

func (r rendezvous) owner(h *hashed, q query, v *hashView, hash uint64) *Node {
	var best *Node
	var most uint64
	for i, n := range h.nodes {
		if score := r.Score(hash, i); (best == nil || score > most) && h.fits(q, v, n) {
			best, most = n, score
		}
	}
	return best
}
