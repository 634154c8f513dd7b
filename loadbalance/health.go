package loadbalance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Never switches a limit of Health off.
const Never = -1

// Health says when an endpoint is left alone and how it comes back. The zero
// value is fit for production.
//
// Failures are what the endpoint did not do: refused and broken connections,
// attempts that timed out, errors of the class Transient, Throttled or Broken.
// Not counted are calls that their caller has given up or that were not sent,
// and answers that say no, such as a 404.
type Health struct {
	// Failures is how many in a row eject an endpoint. 0 means 5; Never leaves
	// this limit out.
	Failures int

	// FailureRate ejects an endpoint of whose attempts a share fails that is
	// this much larger than that of the other endpoints, over 10 seconds and 20
	// attempts at least. 0 means 0.3; Never leaves this limit out.
	FailureRate float64

	// Slower ejects an endpoint whose latency is this many times the median of
	// the others, where those can carry its load. 0 means that none is ejected
	// for being slow, which PeakEWMA makes unnecessary.
	Slower float64

	// Ejection is how long an endpoint is left alone when it is ejected for the
	// first time; then a single call finds out whether it is well. If not, the
	// time doubles, up to MaxEjection, and each MaxEjection in which it is well
	// takes a doubling back. 0 means 5 seconds.
	Ejection time.Duration

	// MaxEjection is the longest. 0 means 15 seconds, or Ejection if that is
	// more.
	MaxEjection time.Duration

	// MaxShare is the largest share of the endpoints that may be ejected at a
	// time; one always may. 0 means 0.5.
	MaxShare float64

	// PanicBelow is the share of endpoints that must be left to pick from, or
	// else all are picked from again: those that are left could not carry the
	// load. 0 means 0.5; Never leaves this out.
	PanicBelow float64

	// SlowStart is how long it takes a new or recovered endpoint to get its full
	// share. 0 means 5 seconds; Never leaves it out. The hash strategies have
	// none, for a key belongs to one endpoint.
	SlowStart time.Duration
}

// Validate reports what is wrong with the health limits.
func (h Health) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("loadbalance: "+format, args...))
		}
	}
	fault(h.Failures < Never, "Failures is %d; give a count, 0 for 5, or Never", h.Failures)
	fault(h.FailureRate != Never && !(h.FailureRate >= 0 && h.FailureRate <= 1), "FailureRate is %v; give a share from 0 to 1, 0 for 0.3, or Never", h.FailureRate)
	fault(h.Slower != 0 && !(h.Slower > 1), "Slower is %v; give a factor above 1, or 0 to eject none for being slow", h.Slower)
	fault(h.Ejection < 0, "Ejection is %v; give a positive duration, or 0 for 5s", h.Ejection)
	fault(h.MaxEjection < 0 || h.MaxEjection > 0 && h.MaxEjection < cmp.Or(h.Ejection, firstEjection), "MaxEjection is %v; give at least the Ejection of %v, or 0 for 15s", h.MaxEjection, cmp.Or(h.Ejection, firstEjection))
	fault(!(h.MaxShare >= 0 && h.MaxShare <= 1), "MaxShare is %v; give a share from 0 to 1, or 0 for 0.5", h.MaxShare)
	fault(h.PanicBelow != Never && !(h.PanicBelow >= 0 && h.PanicBelow <= 1), "PanicBelow is %v; give a share from 0 to 1, 0 for 0.5, or Never", h.PanicBelow)
	fault(h.SlowStart < 0 && h.SlowStart != Never, "SlowStart is %v; give a positive duration, 0 for 5s, or Never", h.SlowStart)
	return errors.Join(faults...)
}

func (h Health) defaults() Health {
	h.Failures = cmp.Or(h.Failures, 5)
	h.FailureRate = cmp.Or(h.FailureRate, 0.3)
	h.Ejection = cmp.Or(h.Ejection, firstEjection)
	h.MaxEjection = max(cmp.Or(h.MaxEjection, 15*time.Second), h.Ejection)
	h.MaxShare = cmp.Or(h.MaxShare, 0.5)
	h.PanicBelow = cmp.Or(h.PanicBelow, 0.5)
	h.SlowStart = cmp.Or(h.SlowStart, 5*time.Second)
	return h
}

// firstEjection is the default of Health.Ejection.
const firstEjection = 5 * time.Second

// The window of failure rates, and how many attempts it must have.
const (
	rateWindow = 10 * time.Second
	rateCalls  = 20
	rateEvery  = 100 * time.Millisecond // how often the rates are compared
)

// wellbeing is what is known of a node's health but read by no pick.
type wellbeing struct {
	ejections int           // in a row: the doublings of the time, and one
	recovered time.Duration // when the last ejection was over
	unhealthy bool          // the active checks say so
	stop      func()        // of the timer for the next state, or nil
	timers    int           // set or stopped so far
}

func (w *wellbeing) stopTimer() {
	w.timers++
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// become changes the state of n, whose mutex is held. The caller refreshes the
// set.
func (b *Balancer) become(n *Node, to State, err error) {
	from := n.State()
	if from == to {
		return
	}
	n.state.Store(uint32(to))
	if b.onChange != nil {
		c := Change{n.Endpoint(), from, to, err}
		b.queue = append(b.queue, func() { b.onChange(c) })
	}
}

// refresh has the picks see the states of the nodes.
func (b *Balancer) refresh() {
	if s := b.set.Load(); s != nil && s.root != nil {
		s.root.refresh()
	}
}

// settle counts the end of an attempt.
func (b *Balancer) settle(a attempt, at time.Duration, v verdict, err error) {
	n := a.node
	if back := n.cameBack.Load(); back != 0 && int64(a.began) < back {
		return // of an earlier life, for which the endpoint has paid
	}
	took := at - a.began
	switch v {
	case unsent:
		a.ignore()
	case gaveUp:
		n.atLeast(at, took)
		a.ignore()
	case answered:
		n.judged.Add(1)
		n.observe(at, took)
		if n.streak.Load() != 0 {
			n.streak.Store(0)
		}
		if a.probe {
			b.recover(n, at)
		} else if b.health.Slower > 0 {
			b.compare(n, at)
		}
	case failed:
		n.judged.Add(1)
		n.failed.Add(1)
		n.observe(at, max(took, penalty))
		b.failure(a, at, int(n.streak.Add(1)), err)
	}
}

// ignore gives the probe back, which has found nothing out.
func (a attempt) ignore() {
	if a.probe {
		a.node.probing.Store(false)
	}
}

// failure ejects the node of a, if that is due.
func (b *Balancer) failure(a attempt, at time.Duration, streak int, err error) {
	n := a.node
	inARow := b.health.Failures != Never && streak >= b.health.Failures
	if !a.probe && !inARow && !b.suspects(n, at) {
		return
	}
	b.mu.Lock()
	defer b.unlock()
	switch {
	case a.probe:
		n.probing.Store(false)
		if n.State() == Probing {
			b.eject(n, at, err)
		}
	case !n.State().picked(): // since this attempt was made
	case inARow, b.sicker(n, at):
		if b.mayEject() {
			b.eject(n, at, err)
		} else {
			n.shun(at)
		}
	}
}

// suspects reports whether so many attempts at n fail that it is worth to
// compare it with its peers. A failure after a quiet window begins another.
func (b *Balancer) suspects(n *Node, at time.Duration) bool {
	if b.health.FailureRate == Never {
		return false
	}
	if began := n.window.Load(); (began == 0 || at-time.Duration(began) > rateWindow) && n.window.CompareAndSwap(began, int64(at)) {
		n.judged.Store(1)
		n.failed.Store(1)
		return false
	}
	calls := n.judged.Load()
	return calls >= rateCalls && float64(n.failed.Load()) >= b.health.FailureRate*float64(calls)
}

// sicker reports whether n fails more than its peers.
func (b *Balancer) sicker(n *Node, at time.Duration) bool {
	if !b.suspects(n, at) || b.judged != 0 && at-b.judged < rateEvery {
		return false
	}
	b.judged = at
	var others, theirs int64
	for _, p := range b.set.Load().nodes {
		if p != n && p.State().picked() {
			others += p.judged.Load()
			theirs += p.failed.Load()
		}
	}
	peers := float64(theirs) / float64(max(others, 1))
	return float64(n.failed.Load())/float64(n.judged.Load()) >= peers+b.health.FailureRate
}

// mayEject reports whether one more endpoint may be ejected.
func (b *Balancer) mayEject() bool {
	nodes := b.set.Load().nodes
	ejected := 0
	for _, n := range nodes {
		if s := n.State(); s == Ejected || s == Probing {
			ejected++
		}
	}
	return ejected == 0 || float64(ejected+1) <= b.health.MaxShare*float64(len(nodes))
}

// eject leaves n alone for a time, and then has it probed.
func (b *Balancer) eject(n *Node, at time.Duration, err error) {
	w := &n.well
	if w.ejections > 0 && n.State() != Probing {
		w.ejections = max(0, w.ejections-int((at-w.recovered)/b.health.MaxEjection))
	}
	d := b.health.Ejection
	for i := 0; i < w.ejections && d < b.health.MaxEjection; i++ {
		d *= 2
	}
	d = min(d, b.health.MaxEjection)
	w.ejections++
	d -= time.Duration(b.draw() % uint64(d/8+1)) // or all clients would probe at once
	b.moveOn(n, d, Ejected, Probing)
	b.become(n, Ejected, err)
	b.refresh()
	b.stale()
}

// recover is called when the probe of n was answered.
func (b *Balancer) recover(n *Node, at time.Duration) {
	b.mu.Lock()
	defer b.unlock()
	n.probing.Store(false)
	if n.State() == Probing {
		n.well.recovered = at
		b.restart(n, nil)
	}
}

// restart has n begin as if it were new, slowly.
func (b *Balancer) restart(n *Node, err error) {
	b.warm(n, err)
	b.refresh()
}

func (b *Balancer) warm(n *Node, err error) {
	w := &n.well
	w.stopTimer()
	w.unhealthy = false
	n.window.Store(0)
	n.streak.Store(0)
	n.judged.Store(0)
	n.failed.Store(0)
	n.average.Store(0)
	n.probing.Store(false)
	n.cameBack.Store(int64(b.time()))
	if b.health.SlowStart == Never {
		b.become(n, Available, err)
		return
	}
	b.moveOn(n, b.health.SlowStart, Warming, Available)
	b.become(n, Warming, err)
}

// moveOn has n go from one state to the next after d.
func (b *Balancer) moveOn(n *Node, d time.Duration, from, to State) {
	w := &n.well
	w.stopTimer()
	timer := w.timers
	w.stop = b.after(d, func() {
		b.mu.Lock()
		defer b.unlock()
		// A timer that was stopped too late must not end a later stay.
		if w.timers == timer && n.State() == from {
			w.stop = nil
			if w.unhealthy {
				to = Unhealthy // the checks say when it is well
			}
			b.become(n, to, nil)
			b.refresh()
		}
	})
}

// compare ejects n if it is far slower than its peers and those can carry its
// load, which they can while they answer as they did.
func (b *Balancer) compare(n *Node, at time.Duration) {
	last := n.compared.Load()
	if n.judged.Load() < rateCalls || last != 0 && at-time.Duration(last) < rateEvery || !n.compared.CompareAndSwap(last, int64(at)) {
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
	if float64(n.Latency()) > b.health.Slower*float64(peers[len(peers)/2]) && b.mayEject() {
		b.eject(n, at, fmt.Errorf("loadbalance: %s answers in %v, the median of the others in %v", n.address, n.Latency(), peers[len(peers)/2]))
	}
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
	return float64(q.random()>>11)/(1<<53) >= n.warmth(q.now())
}
