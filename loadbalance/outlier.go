package loadbalance

import (
	"fmt"
	"slices"
	"time"
)

// The window of failure rates, see tally, and how many attempts it must have.
const (
	rateWindow = 10 * time.Second
	rateCalls  = 20
	rateEvery  = 100 * time.Millisecond // how often the rates are compared
)

// suspects reports whether so many attempts at n fail that it is worth to
// compare it with its peers.
func (b *Balancer) suspects(n *Node, at time.Duration) bool {
	if b.health.FailureRate == Never {
		return false
	}
	attempts, failures := n.tally.read(at)
	return attempts >= rateCalls && float64(failures) >= b.health.FailureRate*float64(attempts)
}

// sicker reports whether n fails more than its peers. Their rate is that of all
// their attempts: what a call has to expect that goes elsewhere.
func (b *Balancer) sicker(n *Node, at time.Duration) bool {
	if !b.suspects(n, at) || b.judged != 0 && at-b.judged < rateEvery {
		return false
	}
	b.judged = at
	var others, theirs int64
	for _, p := range b.set.Load().nodes {
		if p != n && p.State().picked() {
			attempts, failures := p.tally.read(at)
			others += attempts
			theirs += failures
		}
	}
	peers := float64(theirs) / float64(max(others, 1))
	attempts, failures := n.tally.read(at)
	return float64(failures)/float64(max(attempts, 1)) >= peers+b.health.FailureRate
}

// compare ejects n if it is far slower than its peers and those can carry its
// load, which they can while they answer as they did.
func (b *Balancer) compare(n *Node, at time.Duration) {
	last := n.compared.Load()
	if attempts, _ := n.tally.read(at); attempts < rateCalls || last != 0 && at-time.Duration(last) < rateEvery || !n.compared.CompareAndSwap(last, int64(at)) {
		return
	}
	b.mu.Lock()
	defer b.unlock()
	if !n.State().picked() {
		return
	}
	var peers []time.Duration
	for _, p := range b.set.Load().nodes {
		if l := p.Latency(); p != n && p.State().picked() && l > 0 {
			peers = append(peers, l)
		}
	}
	if len(peers) == 0 {
		return
	}
	slices.Sort(peers)
	if float64(n.Latency()) > b.health.LatencyFactor*float64(peers[len(peers)/2]) && b.mayEject() {
		b.eject(n, at, fmt.Errorf("loadbalance: %s answers in %v, the median of the others in %v", n.address, n.Latency(), peers[len(peers)/2]))
	}
}
