package loadbalance

import (
	"context"

	"github.com/backstay-go/backstay"
)

// A Desk gives out endpoints to those who cannot stand around an attempt as a
// middleware does, such as the picker of a gRPC channel: it learns that a call
// begins and, elsewhere, that it has ended.
//
// It is safe for concurrent use. The zero value is not ready and its Pick
// panics: Balancer.Desk makes one.
type Desk struct{ seat seat }

// Desk returns a desk of the balancer. Its picks count as the balancer's own do,
// and go by the same strategy, health and endpoints.
//
// blocks reports whether the endpoint at an address cannot be used now, say for
// want of a connection. It is passed over while there are others, like one whose
// breaker is open. blocks may be nil. It is asked several times for a pick, so
// it must be quick, and safe for concurrent use.
func (b *Balancer) Desk(blocks func(address string) bool) *Desk {
	b.mustBeMade()
	d := &Desk{seat{balancer: b}}
	if blocks != nil {
		d.seat.blockers = []blocker{blockerFunc(blocks)}
	}
	return d
}

type blockerFunc func(address string) bool

func (f blockerFunc) Blocks(address string) bool { return f(address) }

// Pick picks an endpoint for an attempt of call, marks it as tried by the call
// and counts the attempt in, until the lease is ended. ctx is the attempt's:
// that it is over tells callers who gave up from endpoints that failed, so it
// should still be alive when the lease ends.
//
// Pick never waits. Its error is a NoEndpointError, also where there are no
// endpoints yet. Pick uses the Call as its Func does, so it must be called on
// the Call's goroutine, but the lease keeps nothing of it. What the call has
// waited so far, say for a connection, is no latency of the endpoint: Pick does
// what Call.Waited does.
//
// A call whose request has a method Streams() bool that returns true is a
// stream. It is in flight, but nobody waits for its answer, which may come when
// something happens.
func (d *Desk) Pick(ctx context.Context, call *backstay.Call) (*Lease, error) {
	if d.seat.balancer == nil {
		panic("loadbalance: this Desk was not made with Balancer.Desk")
	}
	n, probe, err := d.choose(ctx, call)
	if err != nil {
		d.seat.reject(call, err)
		return nil, err
	}
	return newLease(ctx, n.attempt(call, d.seat.balancer.now(call), probe)), nil
}

func (d *Desk) choose(ctx context.Context, call *backstay.Call) (*Node, bool, error) {
	b := d.seat.balancer
	if b.set.Load() == nil {
		return nil, false, b.none(cause{text: "none were found yet; Update or Follow brings them", empty: true})
	}
	call.Waited()
	return d.seat.choose(ctx, call, nil)
}
