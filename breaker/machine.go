package breaker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/clock"
)

// A machine is gobreaker's state machine, and what it last changed to. It is
// only told what matters to the state: the failure that trips, and how probes
// end. Its own window, cooldown and callbacks are not used.
type machine struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	moved bool
	to    gobreaker.State
}

// What the machine is told in place of the errors of calls.
var (
	errFailed   = errors.New("breaker: failed")
	errExcluded = errors.New("breaker: excluded")
)

func (m *machine) reset(probes int) {
	m.moved = false
	m.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(probes),
		Timeout:       1, // over when we ask: generation.ripe tells when to
		ReadyToTrip:   func(gobreaker.Counts) bool { return true },
		IsExcluded:    func(err error) bool { return err == errExcluded },
		OnStateChange: func(_ string, _, to gobreaker.State) { m.moved, m.to = true, to },
	})
}

// trip opens the breaker if g is still its generation.
func (b *Breaker) trip(g *generation, cause error) []Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now.Load() != g {
		return nil
	}
	if report, err := b.machine.Allow(); err == nil {
		report(errFailed)
	}
	return b.follow(cause)
}

// try decides on a call while the breaker is open, or half open. It returns the
// generation that there is then, and a probe if the call may pass as one.
func (b *Breaker) try() (*generation, *probe, []Change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.now.Load()
	if !g.asks() { // any more: the caller has looked without the lock
		return g, nil, nil
	}
	now := clock.Now()
	for _, p := range g.probes {
		if b.late(p, now) {
			p.report(errFailed)
			changes := b.follow(b.lateProbe())
			return b.now.Load(), nil, changes
		}
	}
	report, err := b.machine.Allow()
	changes := b.follow(nil)
	g = b.now.Load()
	if err != nil {
		return g, nil, changes
	}
	p := &probe{began: now, report: report}
	g.probes = append(g.probes, p)
	b.take(g)
	return g, p, changes
}

// take notes whether a call can pass before one of the probes has ended.
func (b *Breaker) take(g *generation) {
	var oldest *probe
	if c := b.machine.Counts(); len(g.probes) > 0 && c.Requests-c.TotalExclusions >= uint32(b.cfg.Probes) {
		oldest = g.probes[0]
	}
	g.taken.Store(oldest)
}

// full reports whether calls are turned away because the probes of g are under
// way. Once one is late, the next call opens the breaker.
func (b *Breaker) full(g *generation) bool {
	p := g.taken.Load()
	return p != nil && !b.late(p, clock.Now())
}

// settle reports the end of a probe, unless its generation is over.
func (b *Breaker) settle(g *generation, p *probe, o outcome, err error) []Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(g.probes, p)
	if b.now.Load() != g || i < 0 {
		return nil
	}
	g.probes = slices.Delete(g.probes, i, i+1)
	defer b.take(g)
	switch {
	case o&failure != 0:
		p.report(errFailed)
		return b.follow(err)
	case b.late(p, clock.Now()):
		p.report(errFailed)
		return b.follow(b.lateProbe())
	case o == excluded:
		p.report(errExcluded)
	case o == success:
		p.report(nil)
	default: // slow is not well
		p.report(errFailed)
	}
	return b.follow(nil)
}

func (b *Breaker) late(p *probe, now time.Duration) bool { return now-p.began > b.cfg.MaxProbe }

func (b *Breaker) lateProbe() error {
	return fmt.Errorf("breaker: a probe did not end within %v", b.cfg.MaxProbe)
}

// follow makes the generation for the state that the machine has moved to, if
// it has.
func (b *Breaker) follow(cause error) []Change {
	if !b.machine.moved {
		return nil
	}
	b.machine.moved = false
	old := b.now.Load()
	switch b.machine.to {
	case gobreaker.StateOpen:
		return b.enter(b.open(old, cause), cause)
	case gobreaker.StateHalfOpen:
		return b.enter(&generation{state: HalfOpen, began: clock.Now(), rejection: &OpenError{Name: b.cfg.Name, State: HalfOpen, Cause: openedBy(old)}}, nil)
	default:
		return b.enter(b.closed(old), nil)
	}
}

// enter makes g the breaker's generation.
func (b *Breaker) enter(g *generation, cause error) []Change {
	old := b.now.Load()
	b.now.Store(g)
	c := Change{Name: b.cfg.Name, From: old.state, To: g.state, Cause: cause}
	if g.state == Open {
		c.Cooldown = b.cooldown
	}
	if b.cfg.OnChange != nil {
		b.queue = append(b.queue, c)
	}
	return []Change{c}
}

// closed returns a closed generation, with a ramp if it follows another.
func (b *Breaker) closed(after *generation) *generation {
	g := &generation{state: Closed, began: clock.Now()}
	if b.cfg.Last > 0 {
		g.window = newCountWindow(b.cfg.Last)
	} else {
		g.window = newTimeWindow(b.cfg.Window)
	}
	if after != nil && after.state == HalfOpen && b.cfg.Recovery > 0 {
		g.ramp = &ramp{began: g.began, step: max(b.cfg.Recovery/time.Duration(len(shares)), 1)}
		g.rejection = &OpenError{Name: b.cfg.Name, State: Closed}
	}
	return g
}

// open returns an open generation.
func (b *Breaker) open(after *generation, cause error) *generation {
	now := clock.Now()
	if after.state == Closed && now-after.began >= b.cooldown {
		b.reopened = 0
	} else {
		b.reopened++
	}
	asked, _ := backstay.RetryAfter(cause)
	d := b.cfg.pause(b.reopened, asked)
	b.cooldown = d
	g := &generation{state: Open, began: now}
	g.rejection = &OpenError{Name: b.cfg.Name, State: Open, Cause: cause, until: func() time.Duration { return now + d - clock.Now() }}
	// The timer is never stopped. Late it ripens a generation that is over, which
	// does no harm; stopping one of a synctest bubble from outside ends the program.
	time.AfterFunc(d, func() { g.ripe.Store(true) })
	return g
}

// pause returns how long to stay open after so many reopenings, where the
// callee has asked for a time, or 0. It is never less than Cooldown and, up to
// MaxCooldown, what was asked; near MaxCooldown what is drawn lies below.
func (c *Config) pause(reopened int, asked time.Duration) time.Duration {
	d := c.MaxCooldown
	if reopened < 62 && c.Cooldown <= d>>reopened {
		d = c.Cooldown << reopened
	}
	least := c.Cooldown
	if asked <= c.MaxCooldown {
		least = max(least, asked)
	}
	d = max(d, min(asked, c.MaxCooldown))
	d = min(d, max(least, c.MaxCooldown-c.MaxCooldown/5))
	return d + rand.N(min(d/4, c.MaxCooldown-d)+1)
}

func openedBy(g *generation) error {
	if e, ok := g.rejection.(*OpenError); ok {
		return e.Cause
	}
	return nil
}

// ForceOpen turns every call away until Reset.
func (b *Breaker) ForceOpen() { b.force(ForcedOpen) }

// Disable lets every call pass and judges none, until Reset.
func (b *Breaker) Disable() { b.force(Disabled) }

// Reset closes the breaker and forgets what it has seen.
func (b *Breaker) Reset() { b.force(Closed) }

func (b *Breaker) force(s State) {
	b.mu.Lock()
	b.machine.reset(b.cfg.Probes)
	g := b.closed(nil)
	g.state = s
	if s == ForcedOpen {
		g.rejection = &OpenError{Name: b.cfg.Name, State: ForcedOpen}
	}
	if s == Closed {
		b.reopened, b.cooldown = 0, 0
	}
	var changes []Change
	if b.now.Load().state != s {
		changes = b.enter(g, nil)
	} else {
		b.now.Store(g)
	}
	b.mu.Unlock()
	b.tell(nil, changes)
}
