package loadbalance

import (
	"context"
	"fmt"
	"strings"

	"github.com/backstay-go/backstay"
)

// A Balancer gives each attempt of a call an endpoint. It is a
// backstay.Middleware and safe for concurrent use. The zero value has no
// endpoints, and its Wrap panics: make one with New.
type Balancer struct {
	strategy  Strategy
	pick      picker
	endpoints []*Endpoint
}

// New returns a balancer over the given endpoints: "host:port" for calls over a
// network, and any name that the function under the policy understands.
//
// It panics if there is no endpoint, or one is empty, a URL, or given twice.
func New(s Strategy, endpoints ...string) *Balancer {
	if s.picker == nil {
		panic("loadbalance: New needs a strategy, such as RoundRobin()")
	}
	if len(endpoints) == 0 {
		panic("loadbalance: New needs at least one endpoint, such as \"10.0.0.1:80\"")
	}
	b := &Balancer{strategy: s}
	seen := map[string]bool{}
	for _, name := range endpoints {
		if name == "" {
			panic("loadbalance: an endpoint is empty; give its address, such as \"10.0.0.1:80\"")
		}
		if strings.Contains(name, "://") {
			panic(fmt.Sprintf("loadbalance: the endpoint %q is a URL; give its address, such as \"10.0.0.1:80\"", name))
		}
		if seen[name] {
			panic(fmt.Sprintf("loadbalance: the endpoint %q is given twice; give each once", name))
		}
		seen[name] = true
		b.endpoints = append(b.endpoints, newEndpoint(name))
	}
	b.pick = s.picker(b.endpoints)
	return b
}

// String returns "balance(strategy over n)".
func (b *Balancer) String() string {
	return fmt.Sprintf("balance(%s over %d)", b.strategy.name, len(b.endpoints))
}

// Traits states that the balancer picks.
func (b *Balancer) Traits() backstay.Traits { return backstay.Traits{Picks: true} }

// Endpoints returns the endpoints in the order they were given.
func (b *Balancer) Endpoints() []*Endpoint { return append([]*Endpoint(nil), b.endpoints...) }

// Wrap returns next with an endpoint picked for each call.
func (b *Balancer) Wrap(next backstay.Func) backstay.Func {
	if b.pick == nil {
		panic("loadbalance: this Balancer was not made with New; loadbalance.New(loadbalance.RoundRobin(), \"10.0.0.1:80\") makes one")
	}
	return func(ctx context.Context, call *backstay.Call) error {
		e := b.choose(call)
		e.inFlight.Add(1)
		call.OnDone(e.done)
		return next(ctx, call)
	}
}

// choose picks an endpoint and marks it as tried. Where another attempt of the
// call has marked it since the pick, it picks again, as long as there is one
// that is left for this attempt.
func (b *Balancer) choose(call *backstay.Call) *Endpoint {
	for {
		e := b.pick(call)
		if call.Try(e.name, b) || !b.Untried(call) {
			return e
		}
	}
}

// Untried reports whether there is an endpoint that the call has not tried.
func (b *Balancer) Untried(call *backstay.Call) bool {
	for _, e := range b.endpoints {
		if !call.Tried(e.name) {
			return true
		}
	}
	return false
}
