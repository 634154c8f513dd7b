// Package deadline is context.WithTimeout for calls that mostly need no timer.
package deadline

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// A Context ends at its deadline, with its parent, or when it is finished. Its
// timer starts when somebody calls Done; until then it costs one allocation
// and asks the clock.
//
// It always agrees with itself: from the first time that it is seen to have
// ended, Err, Done and context.Cause tell the same for ever. To that end they
// are all answered by one context of the standard library, made when first
// needed; contexts derived from it attach to that one, without a goroutine.
type Context struct {
	parent context.Context
	at     time.Time
	cause  *error // shared by many, to keep this small

	state  atomic.Uint32
	real   context.Context
	cancel context.CancelFunc
}

// The states of a Context: real may be read once it is real.
const (
	lazy uint32 = iota
	finished
	making
	real
)

// New returns a child of parent that ends at the given time, with
// context.DeadlineExceeded and the cause, or when it is finished, which it must
// be.
func New(parent context.Context, at time.Time, cause *error) *Context {
	return &Context{parent: parent, at: at, cause: cause}
}

// Deadline returns the deadline, which is the parent's if that is sooner.
func (c *Context) Deadline() (time.Time, bool) {
	if d, ok := c.parent.Deadline(); ok && d.Before(c.at) {
		return d, true
	}
	return c.at, true
}

// Done starts the timer.
func (c *Context) Done() <-chan struct{} { return c.materialize().Done() }

// Err returns nil until the context has ended.
func (c *Context) Err() error {
	if c.state.Load() == lazy && c.parent.Err() == nil && time.Until(c.at) > 0 {
		return nil
	}
	return c.materialize().Err()
}

// Value returns the parent's value. Once there is a context of the standard
// library underneath it is that one's, which is how the children of a Context
// find what to attach to, and context.Cause the cause.
func (c *Context) Value(key any) any {
	if c.state.Load() == real {
		return c.real.Value(key)
	}
	return c.parent.Value(key)
}

// Expired reports whether the context ended because its own deadline passed.
func (c *Context) Expired() bool {
	return c.Err() != nil && context.Cause(c) == *c.cause
}

// Finish ends the context, with context.Canceled where it has not ended yet,
// and releases the timer.
func (c *Context) Finish() {
	for !c.state.CompareAndSwap(lazy, finished) {
		switch c.state.Load() {
		case real:
			c.cancel()
			return
		case finished:
			return
		}
		runtime.Gosched() // it is being made
	}
}

// materialize returns the context of the standard library that answers for c.
func (c *Context) materialize() context.Context {
	for {
		switch before := c.state.Load(); {
		case before == real:
			return c.real
		case before != making && c.state.CompareAndSwap(before, making):
			c.begin(before == finished)
			c.state.Store(real)
			return c.real
		}
		runtime.Gosched() // another goroutine makes it
	}
}

// begin makes the context underneath. If c was finished before anybody saw that
// its deadline has passed, it has not.
func (c *Context) begin(over bool) {
	if over {
		c.real, c.cancel = context.WithCancel(c.parent)
		c.cancel()
		return
	}
	c.real, c.cancel = context.WithDeadlineCause(c.parent, c.at, *c.cause)
}
