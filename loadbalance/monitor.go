package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// MonitorConfig describes active health checks. It needs a Check.
type MonitorConfig struct {
	// Check reports what is wrong with the endpoint at address. Package
	// httpcall has one that asks for a path. It must be safe for concurrent use
	// and return soon after ctx has ended.
	Check func(ctx context.Context, address string) error

	// Interval is the time from one check of an endpoint to the next, up to a
	// quarter longer by chance. 0 means 10 seconds. The first check of an
	// endpoint is within a second.
	Interval time.Duration

	// Timeout is how long a check may take. 0 means 1 second.
	Timeout time.Duration

	// Failures is how many in a row make an endpoint Unhealthy. 0 means 2.
	Failures int

	// Successes is how many in a row bring it back. 0 means 2.
	Successes int

	// Parallel is how many checks may be under way at a time. 0 means 64: where
	// all checks time out, so many are enough for 600 endpoints in 10 seconds.
	Parallel int
}

// Validate reports what is wrong with the config.
func (c MonitorConfig) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("loadbalance: "+format, args...))
		}
	}
	fault(c.Check == nil, "Monitor needs a Check, which reports what is wrong with the endpoint at an address")
	fault(c.Interval < 0, "Interval is %v; give a positive duration, or 0 for 10s", c.Interval)
	fault(c.Timeout < 0, "Timeout is %v; give a positive duration, or 0 for 1s", c.Timeout)
	fault(c.Failures < 0, "Failures is %d; give a count, or 0 for 2", c.Failures)
	fault(c.Successes < 0, "Successes is %d; give a count, or 0 for 2", c.Successes)
	fault(c.Parallel < 0, "Parallel is %d; give a count, or 0 for 64", c.Parallel)
	return errors.Join(faults...)
}

func (c MonitorConfig) defaults() MonitorConfig {
	c.Interval = cmp.Or(c.Interval, 10*time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Failures = cmp.Or(c.Failures, 2)
	c.Successes = cmp.Or(c.Successes, 2)
	c.Parallel = cmp.Or(c.Parallel, 64)
	return c
}

// Monitor checks the endpoints, whether they have calls or not. One whose checks
// fail is Unhealthy and gets no calls; when they succeed again it begins slowly,
// as if it were new. An endpoint that is ejected stays so for its time, whatever
// the checks say; then a single check that succeeds takes the place of the call
// that would find out whether it is well.
//
// Calls are the better check: they find out sooner and what matters. Monitor is
// for endpoints that get few, and for servers that announce their shutdown by
// failing the check.
//
// Monitor blocks until ctx ends or the balancer is closed, and then returns nil;
// Unhealthy endpoints get calls again, slowly. It returns an error at once if
// cfg is not valid or the balancer has another Monitor. No goroutine is left,
// unless it is in a Check that has not returned a second after its context
// ended.
func (b *Balancer) Monitor(ctx context.Context, cfg MonitorConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	ctx, err := b.enter(ctx, &b.monitor, "Monitor")
	if err != nil {
		return err
	}
	defer b.exit(&b.monitor)
	defer b.unchecked()
	m := monitor{balancer: b, cfg: cfg.defaults(), watched: map[*Node]context.CancelFunc{}}
	m.slots = make(chan struct{}, m.cfg.Parallel)
	m.run(ctx)
	return nil
}

// A monitor is a Monitor under way.
type monitor struct {
	balancer *Balancer
	cfg      MonitorConfig
	watched  map[*Node]context.CancelFunc
	watches  sync.WaitGroup
	slots    chan struct{} // those of the checks under way
}

// run has each node watched as long as it is one of the balancer's.
func (m *monitor) run(ctx context.Context) {
	defer m.watches.Wait()
	for ctx.Err() == nil {
		m.adjust(ctx, m.balancer.Nodes())
		select {
		case <-m.balancer.monitor.wake:
		case <-ctx.Done():
		}
	}
}

func (m *monitor) adjust(ctx context.Context, nodes []*Node) {
	stay := make(map[*Node]bool, len(nodes))
	for _, n := range nodes {
		stay[n] = true
		if m.watched[n] == nil {
			ctx, cancel := context.WithCancel(ctx)
			m.watched[n] = cancel
			m.watches.Go(func() { m.watch(ctx, n) })
		}
	}
	for n, cancel := range m.watched {
		if !stay[n] {
			cancel()
			delete(m.watched, n)
		}
	}
}

// watch checks n until ctx ends.
func (m *monitor) watch(ctx context.Context, n *Node) {
	t := task[struct{}]{name: "Check"}
	row := 0 // checks with the same outcome: successes, or failures below 0
	d := min(m.cfg.Interval, time.Second)
	for d -= time.Duration(m.balancer.draw() % uint64(d)); sleep(ctx, d); d = m.balancer.later(m.cfg.Interval) {
		err := m.check(ctx, &t, n)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			row = min(row, 0) - 1
		default:
			row = max(row, 0) + 1
		}
		m.balancer.checked(n, err, -row >= m.cfg.Failures, row >= m.cfg.Successes)
	}
}

// check checks n once, when there is a slot.
func (m *monitor) check(ctx context.Context, t *task[struct{}], n *Node) error {
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.slots }()
	_, err := t.run(ctx, m.cfg.Timeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, m.cfg.Check(ctx, n.address)
	})
	return err
}

// checked takes the outcome of a check of n, and whether there were so many in a
// row as to call n bad or good.
func (b *Balancer) checked(n *Node, err error, bad, good bool) {
	b.mu.Lock()
	defer b.unlock()
	switch s := n.State(); {
	case bad:
		n.well.unhealthy = true
		if s.picked() || s == Probing {
			n.well.stopTimer()
			b.become(n, Unhealthy, err)
			b.refresh()
			b.stale()
		}
	case good && s == Unhealthy, err == nil && s == Probing:
		n.well.recovered = b.time()
		b.restart(n, nil)
	case good:
		n.well.unhealthy = false
	}
}

// unchecked has no node Unhealthy any more.
func (b *Balancer) unchecked() {
	b.mu.Lock()
	defer b.unlock()
	for _, n := range b.nodes {
		n.well.unhealthy = false
		if n.State() == Unhealthy {
			b.restart(n, nil)
		}
	}
}
