package loadbalance

import (
	"context"

	"github.com/backstay-go/backstay"
)

// PrimaryReplica sends writes to the endpoints with the Role Primary, and reads
// to the replicas, picked by the strategy reads; where no replica can be had,
// the primary serves reads too. A write never goes to a replica: with no
// primary it fails with a NoEndpointError.
//
// writes reports whether a call is a write; for HTTP it is httpcall.IsWrite.
// The Unsafe of a call does not say so: a PUT may be repeated and is a write.
func PrimaryReplica(writes func(ctx context.Context, call *backstay.Call) bool, reads Strategy) Strategy {
	if writes == nil {
		panic("loadbalance: PrimaryReplica needs a function that reports whether a call is a write, such as httpcall.IsWrite")
	}
	reads.check("PrimaryReplica")
	return Strategy{name: "primary and replicas, " + reads.name, ages: reads.ages, make: func(s site, nodes []*Node) picker {
		p := &roles{writes: writes}
		before, _ := s.before.(*roles)
		if before == nil {
			before = new(roles)
		}
		var primaries, replicas []*Node
		for _, n := range nodes {
			if n.Endpoint().Role == Primary {
				primaries = append(primaries, n)
			} else {
				replicas = append(replicas, n)
			}
		}
		p.primaries = reads.make(s.under(before.primaries), primaries)
		p.replicas = reads.make(s.under(before.replicas), replicas)
		return p
	}}
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
	primaries, replicas picker
}

func (r *roles) pick(q query) (*Node, bool) {
	if !r.writes(q.ctx, q.call) {
		if n, probe := r.replicas.pick(q); n != nil {
			return n, probe
		}
	}
	return r.primaries.pick(q)
}

func (r *roles) refresh() {
	r.primaries.refresh()
	r.replicas.refresh()
}
