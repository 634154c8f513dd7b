package breaker

import (
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/clock"
)

// Allow is for callers that cannot wrap their calls. Where it returns no
// error, the call may go ahead and done must be called with its error, once;
// more often does nothing. The error is an *OpenError.
//
// The breaker knows no context here: done(context.Canceled) is the caller
// giving up, and every other error is judged by its class or by Failure.
func (b *Breaker) Allow() (done func(err error), err error) {
	g := b.now.Load()
	var p *probe
	if g.state != Closed || g.ramp != nil {
		var rejection error
		if g, p, rejection = b.admit(g, nil); rejection != nil {
			return nil, rejection
		}
	}
	var began time.Duration
	if b.cfg.SlowAfter > 0 {
		began = clock.Now()
	}
	var over atomic.Bool
	return func(err error) {
		if !over.Swap(true) {
			b.done(g, p, began, err)
		}
	}, nil
}

func (b *Breaker) done(g *generation, p *probe, began time.Duration, err error) {
	long := b.cfg.SlowAfter > 0 && clock.Now()-began >= b.cfg.SlowAfter
	o := failure // should Failure panic
	defer func() { b.report(nil, g, p, o, err) }()
	if err == nil {
		o = success
	} else {
		o = b.weigh(err)
	}
	if long && o != excluded {
		o |= slow
	}
}
