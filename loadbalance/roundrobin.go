package loadbalance

import (
	"math/rand/v2"
	"slices"
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
func RoundRobin() Strategy {
	return Strategy{"round robin", func(endpoints []*Endpoint) picker { return newRotation(endpoints).pick }}
}

// A rotation is an order of endpoints and whose turn it is.
type rotation struct {
	order []*Endpoint
	turn  atomic.Uint64
}

func newRotation(endpoints []*Endpoint) *rotation {
	r := &rotation{order: slices.Clone(endpoints)}
	rand.Shuffle(len(r.order), func(i, j int) { r.order[i], r.order[j] = r.order[j], r.order[i] })
	r.turn.Store(rand.Uint64N(uint64(len(r.order))))
	return r
}

func (r *rotation) pick(call *backstay.Call) *Endpoint {
	n := uint64(len(r.order))
	first := r.first(call, n)
	for i := range n {
		if e := r.order[(first+i)%n]; !call.Tried(e.name) {
			return e
		}
	}
	return r.order[first]
}

// first returns where to begin. An attempt that follows another draws: if it
// took a turn, the next call would begin where the sick endpoint is, and with
// two endpoints every call would meet it.
func (r *rotation) first(call *backstay.Call, n uint64) uint64 {
	if call.Endpoint != "" {
		return rand.Uint64N(n)
	}
	return r.turn.Add(1) % n // now: a sum would pass the largest number
}
