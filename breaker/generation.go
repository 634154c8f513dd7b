package breaker

import (
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/clock"
)

// A generation is a breaker between two changes of its state. Every call is
// judged by the generation that let it pass: what is reported to one that is
// over changes nothing, with no need to look.
type generation struct {
	state State

	// Closed and HalfOpen.
	window      window
	consecutive atomic.Int64
	failed      atomic.Pointer[error] // the last failure
	ramp        *ramp                 // nil for none

	// What calls get that are turned away. In Open a timer says when the time
	// has come to try one, so that turning one away need not read the clock.
	rejection error
	ripe      atomic.Bool

	began  time.Duration
	probes []*probe              // HalfOpen: those under way; guarded by Breaker.mu
	taken  atomic.Pointer[probe] // HalfOpen: the oldest of them, where no other call can pass
}

// succeed counts a success and reports whether all is well.
func (g *generation) succeed() bool {
	if g.consecutive.Load() != 0 {
		g.consecutive.Store(0)
	}
	return g.window.succeed()
}

// record counts an outcome that is not a plain success.
func (g *generation) record(now time.Duration, o outcome, err error) {
	if o&failure != 0 {
		g.failed.Store(&err)
		g.consecutive.Add(1)
	} else if g.consecutive.Load() != 0 {
		g.consecutive.Store(0)
	}
	g.window.record(now, o)
}

func (g *generation) lastFailure() error {
	if err := g.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// blocks reports whether calls are turned away without a look at the clock.
func (g *generation) blocks() bool {
	return g.state == ForcedOpen || g.state == Open && !g.ripe.Load()
}

// asks reports whether it takes the state machine to decide on a call.
func (g *generation) asks() bool {
	return g.state == HalfOpen || g.state == Open && g.ripe.Load()
}

// passes reports whether a call passes that is no probe. Where one does not,
// there is a rejection.
func (g *generation) passes() bool {
	return g.state == Disabled || g.state == Closed && (g.ramp == nil || g.ramp.admit())
}

// A probe is a call that is let pass in HalfOpen. Its report goes to the state
// machine.
type probe struct {
	began  time.Duration
	report func(error) // gobreaker's
}

// A ramp lets a growing share of the calls pass.
type ramp struct {
	began, step time.Duration
	count       atomic.Uint64
	over        atomic.Bool
}

// shares are the percentages of a ramp's steps.
var shares = [...]uint64{10, 25, 50}

func (r *ramp) admit() bool {
	if r.over.Load() {
		return true
	}
	i := int((clock.Now() - r.began) / r.step)
	if i >= len(shares) {
		r.over.Store(true)
		return true
	}
	n := r.count.Add(1) - 1 // 0 for the first, which passes
	return n*shares[i]%100 < shares[i]
}
