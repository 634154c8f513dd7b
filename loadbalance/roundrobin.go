package loadbalance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/backstay-go/backstay"
)

// A Strategy says which endpoint is next.
type Strategy struct {
	name   string
	picker func(endpoints []*Endpoint) picker
}

// A picker returns the endpoint for an attempt, one that the call has not tried
// where there is one.
type picker func(call *backstay.Call) *Endpoint

// RoundRobin takes the endpoints in turn. Each balancer has an order of its own
// and starts somewhere in it, or all the clients of a service would meet at the
// same endpoint.
//
// It knows nothing of load: a slow endpoint gets as many calls as a fast one.
func RoundRobin() Strategy { return Strategy{"round robin", roundRobin} }

func roundRobin(endpoints []*Endpoint) picker {
	order := append([]*Endpoint(nil), endpoints...)
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	n := uint64(len(order))
	var turn atomic.Uint64
	turn.Store(rand.Uint64N(n))
	return func(call *backstay.Call) *Endpoint {
		first := turn.Add(1)
		for i := range n {
			if e := order[(first+i)%n]; !call.Tried(e.name) {
				return e
			}
		}
		return order[first%n]
	}
}
