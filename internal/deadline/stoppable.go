package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// A Stoppable is a Context whose deadline can be called off: it lives on
// without one until it is finished. Its timer runs from the beginning.
type Stoppable struct {
	context.Context // ends when the Stoppable does, and knows the cause
	parent          context.Context
	at              time.Time
	cause           error
	cancel          context.CancelCauseFunc
	timer           *time.Timer
	done            chan struct{}
	unwatch         func() bool // has nobody close done
	stopped         atomic.Bool
}

// NewStoppable returns a child of parent that ends like that of New, unless
// Stop is called before.
func NewStoppable(parent context.Context, at time.Time, cause error) *Stoppable {
	s := &Stoppable{parent: parent, at: at, cause: cause, done: make(chan struct{})}
	s.Context, s.cancel = context.WithCancelCause(parent)
	s.unwatch = context.AfterFunc(s.Context, func() { close(s.done) })
	s.timer = time.AfterFunc(time.Until(at), func() { s.cancel(s.cause) })
	return s
}

// Done has a channel of its own. Contexts derived from s would attach to one of
// the standard library's Context, pass by s, and say context.Canceled after the
// deadline; so they ask AfterFunc.
func (s *Stoppable) Done() <-chan struct{} { return s.done }

// AfterFunc is how the contexts derived from s hear of its end without a
// goroutine each.
func (s *Stoppable) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(s.Context, f) }

// Deadline returns the deadline, or the parent's if that is sooner or the only
// one left after Stop.
func (s *Stoppable) Deadline() (time.Time, bool) {
	if d, ok := s.parent.Deadline(); s.stopped.Load() || ok && d.Before(s.at) {
		return d, ok
	}
	return s.at, true
}

// Err returns context.DeadlineExceeded after the deadline. It is never ahead of
// Done, which a goroutine closes that is on its way by then.
func (s *Stoppable) Err() error {
	err := s.Context.Err()
	if err == nil {
		return nil
	}
	<-s.done
	if s.Expired() {
		return context.DeadlineExceeded
	}
	return err
}

// Expired reports whether the context ended because its own deadline passed.
func (s *Stoppable) Expired() bool { return context.Cause(s.Context) == s.cause }

// Stop calls the deadline off and reports whether it was in time. If not, the
// context has ended or is about to.
func (s *Stoppable) Stop() bool {
	if !s.timer.Stop() {
		return false
	}
	s.stopped.Store(true)
	return true
}

// Finish ends the context and releases its timer.
func (s *Stoppable) Finish() {
	s.timer.Stop()
	alone := s.unwatch()
	s.cancel(nil)
	if alone {
		close(s.done)
	}
}
