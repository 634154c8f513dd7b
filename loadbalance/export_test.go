package loadbalance

import (
	"sync"
	"sync/atomic"
	"time"
)

// NewInOrder returns a balancer whose own order of the endpoints is that of all
// balancers which this returns.
func NewInOrder(s Strategy, addresses ...string) *Balancer {
	b := newBalancer(Config{Strategy: s})
	b.seed = 0
	b.mustUpdate(Endpoints(addresses...))
	return b
}

// CountTimers returns how many timers of the balancer are set, from now on.
func (b *Balancer) CountTimers() *atomic.Int64 {
	set, after := new(atomic.Int64), b.after
	b.after = func(d time.Duration, f func()) func() {
		set.Add(1)
		over := sync.OnceFunc(func() { set.Add(-1) })
		stop := after(d, func() { over(); f() })
		return func() { over(); stop() }
	}
	return set
}

// SetTurn sets the counter of a RoundRobin or Weighted.
func (b *Balancer) SetTurn(turn uint32) {
	switch p := b.set.Load().root.(type) {
	case *rotation:
		p.turn.Store(turn)
	case *schedule:
		p.turn.Store(turn)
	}
}

// Turns returns how long the sequence of a Weighted is.
func (b *Balancer) Turns() int { return len(b.set.Load().root.(*schedule).turns) }

// Waiting returns how many attempts at the node wait for an answer.
func (n *Node) Waiting() int { return int(n.waiting.Load() >> ageBits) }
