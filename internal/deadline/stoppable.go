package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// A Stoppable is a Context whose deadline can be called off: it lives on
// without one until it is finished. Its timer runs from the beginning.
//
// The context in it is one of the standard library, so contexts derived from a
// Stoppable attach to that one without a goroutine, even with a WithValue in
// between, as those of net/http have.
type Stoppable struct {
	context.Context // a child of end
	end             end
	at              time.Time
	cancel          context.CancelFunc // of Context
	timer           *time.Timer
	stopped         atomic.Bool
}

// NewStoppable returns a child of parent that ends like that of New, unless
// Stop is called before.
func NewStoppable(parent context.Context, at time.Time, cause error) *Stoppable {
	s := &Stoppable{at: at, end: end{Context: parent, cause: cause}}
	s.Context, s.cancel = context.WithCancel(&s.end)
	s.timer = time.AfterFunc(time.Until(at), s.end.expire)
	return s
}

// Deadline returns the deadline, or the parent's if that is sooner or the only
// one left after Stop.
func (s *Stoppable) Deadline() (time.Time, bool) {
	if d, ok := s.Context.Deadline(); s.stopped.Load() || ok && d.Before(s.at) {
		return d, ok
	}
	return s.at, true
}

// lastingKey is the key by which Lasting finds a Stoppable.
type lastingKey struct{}

// Value returns the value of the context within.
func (s *Stoppable) Value(key any) any {
	if key == (lastingKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// Lasting returns the deadline of ctx for what goes on after the answer: the one
// that is left when each Stoppable in it has been stopped.
func Lasting(ctx context.Context) (time.Time, bool) {
	at, ok := ctx.Deadline()
	s, found := ctx.Value(lastingKey{}).(*Stoppable)
	if !found {
		return at, ok
	}
	if own, has := s.Deadline(); has && own.Equal(at) {
		return Lasting(s.end.Context)
	}
	return at, ok // a sooner one below
}

// Err returns context.DeadlineExceeded after the deadline. It is never ahead of
// Done, which a goroutine closes that is on its way by then, nor behind the
// parent's.
func (s *Stoppable) Err() error {
	if s.end.Err() != nil {
		<-s.Done()
	}
	return s.Context.Err()
}

// Expired reports whether the context ended because its own deadline passed.
func (s *Stoppable) Expired() bool { return s.Err() != nil && context.Cause(s.Context) == s.end.cause }

// Stop calls the deadline off and reports whether it was in time. If not, the
// context has ended or is about to.
func (s *Stoppable) Stop() bool {
	if s.timer.Stop() {
		s.stopped.Store(true)
	}
	return s.stopped.Load()
}

// Finish ends the context and releases its timer.
func (s *Stoppable) Finish() {
	s.timer.Stop()
	s.cancel()
}

// An end is between a Stoppable's context and its parent. A context that the
// standard library cancels says so; as a child of an end it says what the end
// does, which after the deadline is DeadlineExceeded.
type end struct {
	context.Context // the parent
	cause           error
	tell            func()       // ends the child
	first           atomic.Int32 // what came first
	expired         context.Context
}

// What comes first: expired may be read once it is the deadline.
const (
	parentEnded int32 = iota + 1
	deadlinePassed
)

func (e *end) expire() {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(e.cause)
	e.expired = ctx
	if e.first.CompareAndSwap(0, deadlinePassed) {
		e.tell()
	}
}

// never makes an end a type of its own to the standard library, which looks for
// a context of its kind with the same channel, and calls AfterFunc if there is
// none.
var never = make(chan struct{})

func (e *end) Done() <-chan struct{} { return never }

// AfterFunc is called once, for the child.
func (e *end) AfterFunc(f func()) (stop func() bool) {
	e.tell = f
	return context.AfterFunc(e.Context, func() {
		e.first.CompareAndSwap(0, parentEnded)
		f()
	})
}

func (e *end) Err() error {
	if e.first.Load() == deadlinePassed {
		return context.DeadlineExceeded
	}
	return e.Context.Err()
}

// Value tells context.Cause the cause, which it looks for in the context that
// it is given here.
func (e *end) Value(key any) any {
	if e.first.Load() == deadlinePassed {
		if v := e.expired.Value(key); v != nil {
			return v
		}
	}
	return e.Context.Value(key)
}
