package breaker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/clock"
)

// A Breaker turns calls away while the callee is sick. It is a
// backstay.Middleware, and Allow is for those who cannot wrap their calls.
//
// It is safe for concurrent use; make it with New.
type Breaker struct {
	cfg Config
	now atomic.Pointer[generation]
	one bool // it is for one endpoint

	mu        sync.Mutex // guards what follows, and changes of now
	machine   machine
	reopened  int           // how often in a row it has opened without a stable time between
	cooldown  time.Duration // the last
	queue     []Change      // not told to OnChange yet
	notifying bool
}

// New returns a closed breaker. It panics if cfg is not valid.
func New(cfg Config) *Breaker {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	b := &Breaker{cfg: cfg.defaults()}
	b.machine.reset(b.cfg.Probes)
	b.now.Store(b.closed(nil))
	return b
}

// String returns "breaker(name)".
func (b *Breaker) String() string {
	if b.cfg.Name == "" {
		return "breaker"
	}
	return "breaker(" + b.cfg.Name + ")"
}

// Traits states that the breaker judges, over which window.
func (b *Breaker) Traits() backstay.Traits {
	return backstay.Traits{Judges: true, Window: b.cfg.Window}
}

// Name returns the name in the Config.
func (b *Breaker) Name() string { return b.cfg.Name }

// State returns the state that the breaker is in. Asking changes nothing: a
// breaker whose cooldown is over is open until a call comes.
func (b *Breaker) State() State { return b.now.Load().state }

// Blocks reports whether the breaker would turn a call away now. Unlike State it
// knows when a cooldown is over, and whether those that may try a half-open one
// are under way: a balancer that passes over an endpoint whose breaker blocks
// comes back to it with the call that tries it.
func (b *Breaker) Blocks() bool {
	g := b.now.Load()
	return g.blocks() || b.full(g)
}

// Wrap returns next behind the breaker.
func (b *Breaker) Wrap(next backstay.Func) backstay.Func {
	if b == nil || b.now.Load() == nil {
		panic("breaker: this Breaker was not made with New; breaker.New(breaker.Config{}) makes one")
	}
	return func(ctx context.Context, call *backstay.Call) error { return b.run(ctx, call, next) }
}

func (b *Breaker) run(ctx context.Context, call *backstay.Call, next backstay.Func) error {
	g := b.now.Load()
	var p *probe
	if g.state != Closed || g.ramp != nil {
		var rejection error
		if g, p, rejection = b.admit(g, call); rejection != nil {
			return rejection
		}
	}
	timed := b.cfg.SlowAfter > 0
	if !timed {
		_, timed = ctx.Deadline()
	}
	if timed {
		call.Began()
	}
	returned := false
	defer func() {
		if !returned {
			b.report(call, g, p, failure, backstay.ErrPanicked)
		}
	}()
	err := next(ctx, call)
	o := success
	if err != nil || b.cfg.SlowAfter > 0 {
		o = b.judge(ctx, call, err)
	}
	if b.one && elsewhere(call, err) {
		o = excluded
	}
	returned = true
	b.report(call, g, p, o, err)
	if err != nil && b.now.Load().blocks() {
		call.Bar()
	}
	return err
}

// admit decides on a call where the breaker is not simply closed. It returns
// the generation that lets the call pass, and the call's part as a probe. call
// is nil for those of Allow.
func (b *Breaker) admit(g *generation, call *backstay.Call) (*generation, *probe, error) {
	var p *probe
	if g.asks() {
		var changes []Change
		g, p, changes = b.try()
		b.announce(call, g, p, changes)
	}
	if p != nil || g.passes() {
		return g, p, nil
	}
	if call != nil && call.Watched() {
		call.Emit(backstay.Event{Kind: backstay.EventReject, Attempt: call.Attempt, Reason: "circuit_open", Source: b.cfg.Name, Err: g.rejection})
	}
	return nil, nil, g.rejection
}

// announce tells of the changes that letting a probe pass has made. The probe
// is given back should an observer end the goroutine here, before the call.
func (b *Breaker) announce(call *backstay.Call, g *generation, p *probe, changes []Change) {
	told := false
	defer func() {
		if !told && p != nil {
			b.settle(g, p, excluded, nil)
		}
	}()
	b.tell(call, changes)
	told = true
}

// report records the outcome of a call that g let pass.
func (b *Breaker) report(call *backstay.Call, g *generation, p *probe, o outcome, err error) {
	switch {
	case p != nil:
		b.tell(call, b.settle(g, p, o, err))
		return
	case o == excluded || g.state != Closed:
		return
	case o == success && g.succeed():
		return
	}
	now := ended(call)
	if o != success {
		g.record(now, o, err)
	}
	if cause, trips := b.trips(g, now); trips {
		b.tell(call, b.trip(g, cause))
	}
}

// ended returns when call ended: now for those that Allow let pass.
func ended(call *backstay.Call) time.Duration {
	if call == nil {
		return clock.Now()
	}
	return call.Ended()
}

// trips reports whether what g has seen opens the breaker, and the failure
// that is to blame: none where calls were only slow.
func (b *Breaker) trips(g *generation, now time.Duration) (cause error, trips bool) {
	if n := b.cfg.ConsecutiveFailures; n > 0 && g.consecutive.Load() >= int64(n) {
		return g.lastFailure(), true
	}
	t := g.window.tally(now)
	if t.calls < int64(b.cfg.MinCalls) {
		return nil, false
	}
	if t.failures > 0 {
		cause = g.lastFailure()
	}
	return cause, b.cfg.FailureRate != Never && t.reaches(b.cfg.FailureRate, t.failures) ||
		b.cfg.SlowAfter > 0 && t.reaches(b.cfg.SlowRate, t.slow)
}
