package loadbalance

import (
	"context"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/backstay-go/backstay"
)

// A Strategy says which endpoint a call goes to. Make one with the functions of
// this package, or one of your own with Custom. A Strategy may be given to
// several balancers; each has a state of its own.
type Strategy struct {
	name string
	make func(s site, nodes []*Node) picker
}

// String returns the name of the strategy.
func (s Strategy) String() string { return s.name }

// A picker is a Strategy at work on a set of nodes.
type picker interface {
	// pick returns a node that q admits, or nil if there is none. It reports
	// whether the pick is the probe of that node.
	pick(q query) (n *Node, probe bool)
	// refresh is called when the state of a node may have changed. The
	// balancer's mutex is held.
	refresh()
}

// A site is what a picker is made in.
type site struct {
	balancer *Balancer
	before   picker  // in place of which it is made, or nil
	peers    []*Node // its nodes and those that serve in their place; nil where there are no others
	reserve  bool    // it is for when nothing that is live can be had, so all are live to it
}

// inner returns the site of a picker that this one uses.
func (s site) inner(before picker, peers []*Node) site {
	s.before, s.peers = before, peers
	return s
}

// A query is one pick.
type query struct {
	ctx   context.Context
	call  *backstay.Call
	seat  *seat
	avoid avoid
	lost  []string // the addresses that the attempt has found not to be connected
	again bool     // the strategy has chosen a node before that is passed over, or could be
}

// avoid says which nodes a pick passes over.
type avoid uint8

const (
	tried   avoid = 1 << iota // those that the call was given before
	blocked                   // those whose breaker is open, or that are not connected, or lost
	probes                    // those that would be probed
	trial                     // none, but the pick only finds out whether there is a node, and changes nothing
)

// admits reports whether the pick may be n, as far as the call goes.
func (q query) admits(n *Node) bool {
	if q.avoid&tried != 0 && q.call.Tried(n.address) {
		return false
	}
	return q.avoid&blocked == 0 || !q.seat.blocks(n) && !slices.Contains(q.lost, n.address)
}

func (q query) now() time.Duration { return q.seat.balancer.now(q.call) }

// random returns random bits.
func (q query) random() uint64 {
	if r := q.seat.balancer.random; r != nil {
		return r()
	}
	return rand.Uint64()
}

// unit returns a random number in [0, 1).
func (q query) unit() float64 { return float64(q.random()>>11) / (1 << 53) }

// index returns a random number in [0, n).
func (q query) index(n int) int { return scale(q.random(), n) }

// below returns a number in [0, n) made of 32 random bits.
func below(random uint32, n int) int { return int(uint64(random) * uint64(n) >> 32) }

// scale returns a number in [0, n) made of 64 random bits.
func scale(random uint64, n int) int {
	hi, _ := bits.Mul64(random, uint64(n))
	return int(hi)
}
