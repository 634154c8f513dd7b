package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// A Stoppable is a Context whose deadline can be called off: it lives on
// without one until it is finished. Its timer runs from the beginning.
//
// A context derived from it that ends with the deadline says context.Canceled,
// as the standard library has no other way to stop its own timers; the cause is
// the right one in both.
type Stoppable struct {
	context.Context
	parent  context.Context
	at      time.Time
	cause   error
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	stopped atomic.Bool
}

// NewStoppable returns a child of parent that ends like that of New, unless
// Stop is called before.
func NewStoppable(parent context.Context, at time.Time, cause error) *Stoppable {
	s := &Stoppable{parent: parent, at: at, cause: cause}
	s.Context, s.cancel = context.WithCancelCause(parent)
	s.timer = time.AfterFunc(time.Until(at), s.expire)
	return s
}

func (s *Stoppable) expire() { s.cancel(s.cause) }

// Deadline returns the deadline, or the parent's if that is sooner or the only
// one left after Stop.
func (s *Stoppable) Deadline() (time.Time, bool) {
	if d, ok := s.parent.Deadline(); s.stopped.Load() || ok && d.Before(s.at) {
		return d, ok
	}
	return s.at, true
}

// Err returns context.DeadlineExceeded after the deadline.
func (s *Stoppable) Err() error {
	err := s.Context.Err()
	if err != nil && context.Cause(s.Context) == s.cause {
		return context.DeadlineExceeded
	}
	return err
}

// Expired reports whether the context ended because its own deadline passed.
func (s *Stoppable) Expired() bool {
	return s.Err() == context.DeadlineExceeded && context.Cause(s.Context) == s.cause
}

// Stop calls the deadline off and reports whether it was in time.
func (s *Stoppable) Stop() bool {
	s.stopped.Store(true)
	return s.timer.Stop()
}

// Finish ends the context and releases its timer.
func (s *Stoppable) Finish() {
	s.timer.Stop()
	s.cancel(nil)
}
