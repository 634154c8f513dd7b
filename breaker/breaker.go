package breaker

import (
	"context"
	"errors"
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

// Wrap returns next behind the breaker.
func (b *Breaker) Wrap(next backstay.Func) backstay.Func {
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
	returned = true
	b.report(call, g, p, o, err)
	if err != nil && b.now.Load().blocks() {
		call.Bar()
	}
	return err
}

// longAgo is how much of its caller's deadline a call must have had for the
// end of it to say something about the callee, where no SlowAfter says so.
const longAgo = time.Second

// judge returns what the end of a call says about the callee.
func (b *Breaker) judge(ctx context.Context, call *backstay.Call, err error) outcome {
	long := b.cfg.SlowAfter > 0 && call.Ended()-call.Began() >= b.cfg.SlowAfter
	o := success
	if err != nil {
		o = b.judgeError(ctx, call, err)
	}
	if long && o != excluded {
		o |= slow
	}
	return o
}

func (b *Breaker) judgeError(ctx context.Context, call *backstay.Call, err error) outcome {
	if !call.Sent() {
		return excluded // turned away inside: a limiter, another breaker, no endpoint
	}
	switch ended := ctx.Err(); {
	case ended == nil:
	case !errors.Is(ended, context.DeadlineExceeded):
		return excluded
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		// The caller's time was up. If it was long, that is the callee's fault.
		if call.Ended()-call.Began() < or(b.cfg.SlowAfter, longAgo) {
			return excluded
		}
		return failure
	}
	if b.cfg.Failure != nil {
		if b.cfg.Failure(err) {
			return failure
		}
		return success
	}
	return byClass(err)
}

func byClass(err error) outcome {
	switch backstay.Classify(err) {
	case backstay.Throttled, backstay.Canceled:
		return excluded
	case backstay.Success, backstay.Permanent:
		return success
	default:
		return failure
	}
}

// Allow is for callers that cannot wrap their calls. Where it returns no
// error, the call may go ahead and done must be called with its error, once;
// more often does nothing.
func (b *Breaker) Allow() (done func(err error), err error) {
	g := b.now.Load()
	var p *probe
	if g.state != Closed || g.ramp != nil {
		var rejection error
		if g, p, rejection = b.admit(g, nil); rejection != nil {
			return nil, rejection
		}
	}
	began := clock.Now()
	var over atomic.Bool
	return func(err error) {
		if over.Swap(true) {
			return
		}
		o := failure // should Failure panic
		defer func() { b.report(nil, g, p, o, err) }()
		switch {
		case err == nil:
			o = success
		case b.cfg.Failure == nil:
			o = byClass(err)
		case !b.cfg.Failure(err):
			o = success
		}
		if b.cfg.SlowAfter > 0 && clock.Now()-began >= b.cfg.SlowAfter && o != excluded {
			o |= slow
		}
	}, nil
}

// admit decides on a call where the breaker is not simply closed. It returns
// the generation that let the call pass, and the call's part as a probe.
func (b *Breaker) admit(g *generation, call *backstay.Call) (*generation, *probe, error) {
	var p *probe
	rejection := g.rejection
	switch {
	case g.blocks():
	case g.state == Disabled, g.state == Closed && g.ramp.admit():
		return g, nil, nil
	case g.state != Closed:
		var changes []Change
		g, p, rejection, changes = b.try()
		b.tell(call, changes)
	}
	if rejection == nil {
		return g, p, nil
	}
	if call != nil && call.Watched() {
		call.Emit(backstay.Event{Kind: backstay.EventReject, Attempt: call.Attempt, Reason: "circuit_open", Source: b.cfg.Name, Err: rejection})
	}
	return nil, nil, rejection
}

// report records the outcome of a call that g let pass.
func (b *Breaker) report(call *backstay.Call, g *generation, p *probe, o outcome, err error) {
	switch {
	case p != nil:
		b.tell(call, b.settle(g, p, o, err))
		return
	case o == excluded || g.state != Closed:
		return
	case o == success:
		if g.succeed() {
			return
		}
	}
	now := ended(call)
	if o != success {
		g.record(now, o)
	}
	if b.trips(g, now) {
		b.tell(call, b.trip(g, err))
	}
}

// ended returns when call ended: now for those that Allow let pass.
func ended(call *backstay.Call) time.Duration {
	if call == nil {
		return clock.Now()
	}
	return call.Ended()
}

func (b *Breaker) trips(g *generation, now time.Duration) bool {
	if n := b.cfg.ConsecutiveFailures; n > 0 && g.consecutive.Load() >= int64(n) {
		return true
	}
	t := g.window.tally(now)
	if t.calls < int64(b.cfg.MinCalls) {
		return false
	}
	calls := float64(t.calls)
	return b.cfg.FailureRate != Never && float64(t.failures) >= b.cfg.FailureRate*calls && t.failures > 0 ||
		b.cfg.SlowAfter > 0 && float64(t.slow) >= b.cfg.SlowRate*calls && t.slow > 0
}

// tell reports changes to the call that caused them and to OnChange. Changes
// are told in order: where another goroutine is telling, it goes on with these.
func (b *Breaker) tell(call *backstay.Call, changes []Change) {
	if len(changes) == 0 {
		return
	}
	if call != nil {
		for _, c := range changes {
			call.Emit(backstay.Event{Kind: backstay.EventState, Attempt: call.Attempt, Source: c.Name, From: c.From.String(), To: c.To.String(), Err: c.Cause})
		}
	}
	for b.tellNext() {
	}
}

func (b *Breaker) tellNext() bool {
	b.mu.Lock()
	if b.notifying || len(b.queue) == 0 {
		b.mu.Unlock()
		return false
	}
	c := b.queue[0]
	b.queue = b.queue[1:]
	b.notifying = true
	b.mu.Unlock()
	defer func() {
		_ = recover() // an observer never changes what the call returns
		b.mu.Lock()
		b.notifying = false
		b.mu.Unlock()
	}()
	b.cfg.OnChange(c)
	return true
}
