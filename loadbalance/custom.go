package loadbalance

import (
	"context"

	"github.com/backstay-go/backstay"
)

// Custom returns a strategy of your own. pick returns one of the nodes in
// among, of which there is at least one: they are well, not tried yet by the
// call where there are such, and their breakers are closed. It must be safe for
// concurrent use and must not keep among. If it returns nil the call fails with
// a NoEndpointError.
func Custom(name string, pick func(ctx context.Context, call *backstay.Call, among []*Node) *Node) Strategy {
	if pick == nil {
		panic("loadbalance: Custom needs a function that picks a node")
	}
	return Strategy{name: name, make: func(s site, nodes []*Node) picker {
		l := newList(s, nodes, func(q query, among []*Node) *Node { return pick(q.ctx, q.call, among) })
		l.strict = true
		return l
	}}
}
