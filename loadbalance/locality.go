package loadbalance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// LocalityConfig says which endpoints are near.
type LocalityConfig struct {
	// Local is the client's own locality, as in "europe-west1/b". Endpoints of
	// the same are nearest, then those that have its first parts in common.
	Local string

	// Overprovisioning is how many times its usual load a locality can bear: with the
	// 1.4 that 0 means, calls go elsewhere when less than 71 % of the near
	// endpoints are well, as many as those cannot bear.
	Overprovisioning float64

	// Spill sends a call elsewhere where the endpoint picked has so many calls
	// in flight for each unit of its weight, and one farther away has fewer.
	// 0 means that load alone sends no call elsewhere.
	Spill int
}

// Validate reports what is wrong with the config.
func (c LocalityConfig) Validate() error {
	switch {
	case c.Local == "":
		return fmt.Errorf("loadbalance: Local is empty; give the client's own locality, such as \"europe-west1/b\"")
	case c.Overprovisioning != 0 && !(c.Overprovisioning >= 1):
		return fmt.Errorf("loadbalance: Overprovisioning is %v; give a factor of at least 1, or 0 for 1.4", c.Overprovisioning)
	case c.Spill < 0:
		return fmt.Errorf("loadbalance: Spill is %d; give a number of calls in flight, or 0 for none", c.Spill)
	}
	return nil
}

// Locality picks with a strategy from the endpoints that are nearest, and from
// those farther away as far as the near ones cannot bear the load or were
// tried. It panics if cfg is not valid.
//
// It is for calls whose way is long compared to their work. Where every zone has
// not enough endpoints for its own clients, Spill is needed, or the near ones
// are overloaded while others idle.
func Locality(cfg LocalityConfig, s Strategy) Strategy {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	s.check("Locality")
	cfg.Overprovisioning = cmp.Or(cfg.Overprovisioning, 1.4)
	return Strategy{name: s.name + " near " + cfg.Local, make: func(at site, nodes []*Node) picker {
		before, _ := at.before.(*nearness)
		if at.peers == nil {
			at.peers = nodes
		}
		r := &nearness{cfg: cfg, tiers: byDistance(cfg.Local, nodes)}
		for i := range r.tiers {
			t := &r.tiers[i]
			t.picker = s.make(at.inner(before.at(t.common), at.peers), t.nodes)
		}
		r.share()
		return r
	}}
}

// A nearness is the endpoints around the client, the nearest first.
type nearness struct {
	cfg   LocalityConfig
	tiers []tier
	view  atomic.Pointer[nearView]
}

// A nearView is what the tiers look like to picks.
type nearView struct {
	shares  []float64 // of the load, summed up from the nearest
	waiting []int     // tiers that have no share and wait for a probe
}

// A tier is the endpoints that have so many parts of their locality in common
// with the client.
type tier struct {
	common int
	nodes  []*Node
	picker picker
}

func byDistance(local string, nodes []*Node) []tier {
	var tiers []tier
	for _, n := range nodes {
		c := common(local, n.Endpoint().Locality)
		i := slices.IndexFunc(tiers, func(t tier) bool { return t.common == c })
		if i < 0 {
			i = len(tiers)
			tiers = append(tiers, tier{common: c})
		}
		tiers[i].nodes = append(tiers[i].nodes, n)
	}
	slices.SortFunc(tiers, func(a, b tier) int { return cmp.Compare(b.common, a.common) })
	return tiers
}

// common returns how many parts two localities begin with alike.
func common(a, b string) (parts int) {
	for a != "" && b != "" {
		x, restA, _ := strings.Cut(a, "/")
		y, restB, _ := strings.Cut(b, "/")
		if x != y {
			break
		}
		parts++
		a, b = restA, restB
	}
	return parts
}

// at returns the picker of a tier, or nil.
func (r *nearness) at(common int) picker {
	if r != nil {
		for _, t := range r.tiers {
			if t.common == common {
				return t.picker
			}
		}
	}
	return nil
}

func (r *nearness) refresh() {
	for _, t := range r.tiers {
		t.picker.refresh()
	}
	r.share()
}

// share gives each tier the load that it can bear, of what those before it have
// left. Where all together cannot bear it, each has its part of it.
func (r *nearness) share() {
	v := &nearView{shares: make([]float64, len(r.tiers))}
	sum := 0.0
	for i, t := range r.tiers {
		well := wellShare(t.nodes)
		sum += min(r.cfg.Overprovisioning*well, 1-sum)
		v.shares[i] = sum
		if well == 0 && slices.ContainsFunc(t.nodes, func(n *Node) bool { return n.State() == Probing }) {
			v.waiting = append(v.waiting, i)
		}
	}
	if sum > 0 {
		for i := range v.shares {
			v.shares[i] /= sum
		}
	}
	r.view.Store(v)
}

// wellShare returns how many of the nodes can be picked, by weight.
func wellShare(nodes []*Node) float64 {
	well, all := 0, 0
	for _, n := range nodes {
		w := n.Endpoint().weight()
		all += w
		if n.State().picked() {
			well += w
		}
	}
	return float64(well) / float64(all)
}

func (r *nearness) pick(q query) (*Node, bool) {
	v := r.view.Load()
	for _, i := range v.waiting {
		if n, probe := r.tiers[i].picker.pick(q); probe {
			return n, true
		}
	}
	first := v.first(q)
	for i := first; i < len(r.tiers); i++ {
		if n, probe := r.tiers[i].picker.pick(q); n != nil {
			return r.spilled(q, i, n, probe)
		}
	}
	for _, t := range r.tiers[:first] {
		if n, probe := t.picker.pick(q); n != nil {
			return n, probe
		}
	}
	return nil, false
}

// first returns the tier that the call goes to if it can.
func (v *nearView) first(q query) int {
	if len(v.shares) == 0 || v.shares[0] == 1 {
		return 0
	}
	at := q.unit()
	for i, sum := range v.shares {
		if at < sum {
			return i
		}
	}
	return 0 // none is well
}

// spilled returns a node farther away in place of n, of tier i, if n has too
// much to do and that one has less.
func (r *nearness) spilled(q query, i int, n *Node, probe bool) (*Node, bool) {
	if r.cfg.Spill == 0 || probe || n.burden() < float64(r.cfg.Spill) {
		return n, probe
	}
	q.avoid |= probes
	for _, t := range r.tiers[i+1:] {
		if far, _ := t.picker.pick(q); far != nil && far.burden() < n.burden() {
			return far, false
		}
	}
	return n, false
}
