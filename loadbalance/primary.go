package loadbalance

import (
	"context"

	"github.com/backstay-go/backstay"
)

// PrimaryReplica sends writes to the endpoints with the Role Primary, and reads
// to the replicas; where no replica can be had, or all were tried, the primary
// serves reads too. The strategy within picks among the replicas, and among the
// primaries where there are several.
//
// A write never goes to a replica: with no primary it fails with a
// NoEndpointError. It is not kept from a primary that is ejected or unhealthy
// while all are, for there is nowhere else to go.
//
// writes reports whether a call is a write; for HTTP it is httpcall.IsWrite.
// The Unsafe of a call does not say so: a PUT may be repeated and is a write.
//
// It panics if there is no function or strategy.
func PrimaryReplica(writes func(ctx context.Context, call *backstay.Call) bool, within Strategy) Strategy {
	if writes == nil {
		panic("loadbalance: PrimaryReplica needs a function that reports whether a call is a write, such as httpcall.IsWrite")
	}
	within.check("PrimaryReplica")
	return Strategy{name: "primary and replicas, " + within.name, make: func(s site, nodes []*Node) picker {
		before, _ := s.before.(*roles)
		if before == nil {
			before = new(roles)
		}
		if s.peers == nil {
			s.peers = nodes
		}
		primaries, replicas := byRole(nodes)
		others, _ := byRole(s.peers)
		return &roles{
			writes:    writes,
			writable:  primaries,
			primaries: within.make(s.inner(before.primaries, others), primaries),
			replicas:  within.make(s.inner(before.replicas, s.peers), replicas),
		}
	}}
}

func byRole(nodes []*Node) (primaries, replicas []*Node) {
	for _, n := range nodes {
		if n.Endpoint().Role == Primary {
			primaries = append(primaries, n)
		} else {
			replicas = append(replicas, n)
		}
	}
	return primaries, replicas
}

// check panics where a strategy that another one uses is the zero value.
func (s Strategy) check(user string) {
	if s.make == nil {
		panic("loadbalance: " + user + " needs a strategy to pick with, such as PeakEWMA()")
	}
}

// roles picks by what a call does.
type roles struct {
	writes              func(ctx context.Context, call *backstay.Call) bool
	writable            []*Node // the nodes of primaries
	primaries, replicas picker
}

func (r *roles) pick(q query) (*Node, bool) {
	if !r.writes(q.ctx, q.call) {
		if n, probe := r.replicas.pick(q); n != nil {
			return n, probe
		}
		return r.primaries.pick(q)
	}
	n, probe := r.primaries.pick(q)
	if n == nil && countPicked(r.writable) == 0 {
		n = r.sick(q)
	}
	return n, probe
}

// sick returns a primary that q admits, whatever its state.
func (r *roles) sick(q query) *Node {
	v := view{live: r.writable}
	return v.any(q)
}

// why says why there is no node for q.
func (r *roles) why(q query) cause {
	if len(r.writable) == 0 && r.writes(q.ctx, q.call) {
		return cause{text: "there is no primary"} // until the next update says who it is
	}
	return cause{}
}

func (r *roles) refresh() {
	r.primaries.refresh()
	r.replicas.refresh()
}
