package idempotency

import (
	"context"
	"errors"
	"time"
)

// A lease is renewed while work is done under it. The context of the work ends
// when that fails.
type lease struct {
	g        *Guard
	c        Claim
	detached context.Context // of the request, without its end

	cancel   context.CancelCauseFunc // of the work
	renewing context.Context
	stop     context.CancelFunc // ends a renewal that is under way

	turn  chan struct{} // full while one renews, or changes what follows
	over  bool          // nothing is to be renewed any more
	ends  time.Time     // when the lease has run out, by this process's clock
	timer *time.Timer
}

// hold has the lease renewed from now on, and returns the context of the work.
// The lease began no earlier than the claim was made, at began.
func (l *lease) hold(ctx context.Context, began time.Time) context.Context {
	ctx, l.cancel = context.WithCancelCause(ctx)
	l.renewing, l.stop = context.WithCancel(l.detached)
	l.turn = make(chan struct{}, 1)
	l.turn <- struct{}{} // the timer may be quicker than this function
	defer func() { <-l.turn }()
	l.ends = began.Add(l.c.Lease)
	l.timer = time.AfterFunc(time.Until(began.Add(l.c.Lease/3)), l.renew)
	return ctx
}

// renew begins a new lease, and comes again: after a third of the lease, or
// sooner where the store could not be reached.
func (l *lease) renew() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.over {
		return
	}
	// A lease ends on time even if the store is late to notice that its own
	// context has ended.
	expiry := time.AfterFunc(time.Until(l.ends), func() { l.cancel(ErrLeaseLost) })
	began := time.Now()
	err := l.attempt(began)
	expiry.Stop()
	switch {
	case errors.Is(err, ErrLeaseLost) || !time.Now().Before(l.ends):
		l.over = true
		l.cancel(ErrLeaseLost)
		l.g.tell(l.detached, LeaseLost, err)
	case l.renewing.Err() != nil: // the work has ended meanwhile
	case err == nil:
		l.ends = began.Add(l.c.Lease)
		l.timer.Reset(time.Until(began.Add(l.c.Lease / 3)))
	default:
		l.g.tell(l.detached, StoreFailed, err)
		l.timer.Reset(min(time.Until(began.Add(l.c.Lease/10)), time.Until(l.ends)))
	}
}

// attempt renews, and gives up in time for another attempt.
func (l *lease) attempt(began time.Time) error {
	end := began.Add(l.c.Lease / 3)
	if l.ends.Before(end) {
		end = l.ends
	}
	ctx, cancel := context.WithDeadline(l.renewing, end)
	defer cancel()
	return l.g.store.Renew(ctx, l.c)
}

// settled ends the renewals, and returns when none is under way. The context of
// the work goes on, since a transaction ends with it.
func (l *lease) settled() {
	l.stop()
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.over = true
	l.timer.Stop()
}
