package loadbalance

import "sync/atomic"

// An Endpoint is one of those that a Balancer picks from. It can be read while
// the balancer runs.
type Endpoint struct {
	name     string
	inFlight atomic.Int64
	done     func(error) // counts a call out; made once, so that a pick allocates nothing
}

func newEndpoint(name string) *Endpoint {
	e := &Endpoint{name: name}
	e.done = func(error) { e.inFlight.Add(-1) }
	return e
}

// Name returns what the endpoint was given as.
func (e *Endpoint) Name() string { return e.name }

// InFlight returns how many attempts are at the endpoint: picked, and their
// result neither failed nor closed.
func (e *Endpoint) InFlight() int { return int(e.inFlight.Load()) }
