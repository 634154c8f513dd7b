package loadbalance

import "time"

// restart has n begin as if it were new, slowly.
func (b *Balancer) restart(n *Node, err error) {
	b.warm(n, err)
	b.refresh()
}

func (b *Balancer) warm(n *Node, err error) {
	w := &n.well
	w.stopTimer()
	w.unhealthy = false
	now := b.time()
	n.tally.reset(now)
	n.streak.Store(0)
	n.average.Store(0)
	n.forgetRenewal()
	n.probing.Store(0)
	n.cameBack.Store(int64(now))
	if b.health.SlowStart == Never {
		b.become(n, Available, err)
		return
	}
	b.moveOn(n, b.health.SlowStart, Warming, Available)
	b.become(n, Warming, err)
}

// coldest is the share of its load with which a slow start begins.
const coldest = 0.1

// warmth returns the share of its load that n may have in its slow start.
func (n *Node) warmth(now time.Duration) float64 {
	since := float64(now) - float64(n.cameBack.Load())
	return min(max(since/float64(n.balancer.health.SlowStart), coldest), 1)
}

// tooCold draws whether a pick of n, which is in its slow start, should be
// another node's.
func (n *Node) tooCold(q query) bool {
	return q.unit() >= n.warmth(q.now())
}
