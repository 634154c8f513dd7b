package loadbalance

import "time"

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
	if from == Warming {
		b.warming--
	}
	if to == Warming {
		b.warming++
	}
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
	if n.cameBack.Load() != a.life {
		return // of an earlier life, for which the endpoint has paid
	}
	took, timed := a.took(at)
	switch v {
	case unsent:
		a.ignore()
	case gaveUp:
		if n.Latency() == 0 { // or a slow one that is given up each time would look new
			took = max(took, b.typical(n))
		}
		if timed {
			n.atLeast(at, took)
		}
		a.ignore()
	case refused, answered:
		n.tally.add(at, false)
		if timed {
			n.observe(at, took)
		}
		if v == refused { // quick because nothing was done, which must not draw calls
			n.atLeastAsSlow(at, b.typical(n))
		}
		if n.streak.Load() != 0 {
			n.streak.Store(0)
		}
		if a.probe {
			b.recover(n, at)
		} else if b.health.LatencyFactor > 0 {
			b.compare(n, at)
		}
	case failed:
		n.tally.add(at, true)
		n.observe(at, max(took, penalty))
		b.failure(a, at, int(n.streak.Add(1)), err)
	}
}

// ignore gives the probe back, which has found nothing out.
func (a attempt) ignore() {
	if a.probe && a.node.cameBack.Load() == a.life {
		a.node.probing.Store(0)
	}
}

// panicked counts the end of an attempt that panicked. That is a fault of the
// program and ejects nobody, but it must not look like a quick answer.
func (b *Balancer) panicked(a attempt, at time.Duration) {
	took, _ := a.took(at)
	a.node.observe(at, max(took, penalty))
	a.ignore()
}

// awaitsProbe reports whether n could be given a probe. One that hangs keeps
// others away for no longer than an ejection.
func (n *Node) awaitsProbe(q query) bool {
	since := n.probing.Load()
	return since == 0 || q.now()-time.Duration(since) > n.balancer.health.MaxEjection
}

// takeProbe makes the pick the probe of n, unless another has just become that.
func (n *Node) takeProbe(q query) bool {
	since := n.probing.Load()
	return n.awaitsProbe(q) && n.probing.CompareAndSwap(since, int64(q.now())|1)
}

// failure ejects the node of a, if that is due.
func (b *Balancer) failure(a attempt, at time.Duration, streak int, err error) {
	n := a.node
	inARow := b.health.ConsecutiveFailures != Never && streak >= b.health.ConsecutiveFailures
	if !a.probe && !inARow && !b.suspects(n, at) {
		return
	}
	b.mu.Lock()
	defer b.unlock()
	switch {
	case a.probe:
		n.probing.Store(0)
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

// mayEject reports whether one more endpoint may be ejected.
func (b *Balancer) mayEject() bool {
	nodes := b.set.Load().nodes
	ejected := 0
	for _, n := range nodes {
		if s := n.State(); s == Ejected || s == Probing {
			ejected++
		}
	}
	return ejected == 0 || float64(ejected+1) <= b.health.MaxEjected*float64(len(nodes))
}

// eject leaves n alone for a time, and then has it probed.
func (b *Balancer) eject(n *Node, at time.Duration, err error) {
	w := &n.well
	if w.ejections > 0 && n.State() != Probing {
		w.ejections = max(0, w.ejections-int((at-w.recovered)/b.health.MaxEjection))
	}
	d := b.health.BaseEjection
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
	n.probing.Store(0)
	if n.State() == Probing {
		n.well.recovered = at
		b.restart(n, nil)
	}
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
			if to != Available || b.warming == 0 { // or picks may as well go on as they do
				b.refresh()
			}
		}
	})
}
