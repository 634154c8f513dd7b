package backstay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/clock"
)

// A Call is one request on its way through a Policy, with its result.
//
// It is valid until the Func it was passed to returns, and belongs to the
// goroutine of that Func: calls are pooled, so a Call that is kept is somebody
// else's. Builds with the race detector never reuse one, and panic when one is
// used after its end.
type Call struct {
	// Op names the operation, as in "orders.Get". It labels spans, so it holds
	// no identifiers.
	Op string

	// Target says who is called, such as "api.example.com:443"; retry budgets
	// and breakers can be kept per target. Empty where a policy serves one.
	Target string

	// Endpoint is the address this attempt goes to, set with Try by a balancer.
	// Before the pick it is that of the previous attempt.
	Endpoint string

	// IdempotencyKey makes it harmless to send an unsafe call twice, because
	// the callee does the work once for each key.
	IdempotencyKey string

	// Attempt counts from 1, within the middleware that makes the attempts.
	Attempt int

	// Unsafe reports that doing the call twice could do its work twice.
	Unsafe bool

	// Traced reports that what is beneath the policy makes a span of its own
	// for each attempt.
	Traced bool

	state
	self      carrier
	parent    *Call
	root      *Call
	onDone    doneList
	refs      atomic.Int32 // see release
	sentBelow atomic.Bool  // a discarded fork was sent
	shared    shared       // used in the root only
}

// state is what a Call begins without.
type state struct {
	sent   bool // the function was entered by this attempt or by one adopted
	forked bool // a fork has taken the request
	barred bool
	dead   bool // over; only set where poison is
	began  time.Duration
	ended  time.Duration
	live   int32 // forks not adopted yet; the owner's goroutine only
}

// A carrier is the typed part of a Call: its request and result.
type carrier interface {
	send(ctx context.Context) error
	fork() *Call
	ownRequest() error
	disown()
	adopt(from *Call)
	dropResult()
	held() bool
	clear()
	keep(fork *Call)
	recycle()
	request() any
	result() any
	setResult(v any) bool
}

// shared is what a logical call and all its attempts know together, concurrent
// attempts included.
type shared struct {
	mu        sync.Mutex
	dirty     bool
	tried     []string
	router    Router
	observers []Observer
	watched   atomic.Bool // there are observers
}

// ErrPanicked is what the OnDone functions of a call are given when it ended
// in a panic or in runtime.Goexit, which goes on unchanged.
var ErrPanicked = errors.New("backstay: the call panicked")

// Fork returns an attempt of its own, with a copy of the request and no result
// yet. The caller passes it to the next Func and then ends it, with exactly one
// of Adopt and Discard, on every path, a panic's too.
//
// The error tells that the request cannot be sent again, say because its body
// has been used up; the first Fork of a call never fails.
func (c *Call) Fork() (*Call, error) {
	c.check()
	f := c.child()
	if c.forked || c.sent {
		if err := f.self.ownRequest(); err != nil {
			f.Discard(err)
			return nil, err
		}
	}
	c.forked = true
	return f, nil
}

// child returns a new attempt of c.
func (c *Call) child() *Call {
	f := c.self.fork()
	f.Op, f.Target, f.Endpoint, f.IdempotencyKey = c.Op, c.Target, c.Endpoint, c.IdempotencyKey
	f.Attempt, f.Unsafe, f.Traced = 1, c.Unsafe, c.Traced
	f.parent, f.root = c, c.root
	c.live++
	return f
}

// Begin is for a middleware that makes attempts one after the other: it may
// make the first with the call itself and spare the Fork that hardly any call
// needs. The attempt has its own request; should it fail, Split makes
// it the fork that it was not, given what Begin returned.
func (c *Call) Begin() Mark {
	c.check()
	c.ended = 0
	c.self.disown()
	return Mark{onDone: c.onDone.n}
}

// A Mark remembers the state of a call when its first attempt began.
type Mark struct{ onDone int }

// Split turns what c has done since Begin into a fork, as if Fork had been
// called then: its result and its OnDone functions. c has none again.
func (c *Call) Split(m Mark) *Call {
	c.check()
	f := c.child()
	f.sent, f.barred, f.began, f.ended = c.sent, c.barred, c.began, c.ended
	f.sentBelow.Store(c.sentBelow.Load())
	for i := m.onDone; i < c.onDone.n; i++ {
		f.onDone.add(c.onDone.at(i))
	}
	c.onDone.truncate(m.onDone)
	f.self.adopt(c)
	c.sent, c.barred, c.forked, c.ended = false, false, true, 0
	c.sentBelow.Store(false)
	return f
}

// Adopt ends the fork f and makes its result, its Endpoint and its OnDone
// functions those of c.
func (c *Call) Adopt(f *Call) {
	c.check()
	f.check()
	c.Endpoint = f.Endpoint
	c.sent = c.sent || f.Sent()
	c.barred = f.barred
	c.ended = f.ended
	c.onDone.take(&f.onDone)
	c.self.adopt(f)
	c.live--
	if f.live == 0 && !poison {
		c.self.keep(f)
		return
	}
	f.release()
}

// Discard ends a fork that nobody will use: its result is released, and its
// OnDone functions are given err. It may be called from another goroutine than
// that of the call it was forked from, and after that call's end.
func (c *Call) Discard(err error) {
	c.check()
	p := c.parent
	if p == nil {
		panic("backstay: Discard of a call that is not a fork")
	}
	if c.Sent() {
		p.sentBelow.Store(true)
	}
	defer func() {
		c.release()
		p.unref()
	}()
	defer c.onDone.run(err)
	c.self.dropResult()
}

// release gives c back once none of its forks is alive.
//
// Most calls have adopted every fork by then, which only their own goroutine
// has to know. Otherwise each living fork gives its reference back in Discard,
// and whoever gives the last one recycles.
func (c *Call) release() {
	if c.live == 0 || c.refs.Add(c.live) == 0 {
		c.end()
	}
}

// unref is a fork's Discard giving its reference back to its parent. refs goes
// below zero while the parent has not added the forks that live at its own end.
func (c *Call) unref() {
	if c.refs.Add(-1) == 0 {
		c.end()
	}
}

// OnDone has f called when the call is over: after its body was closed or its
// stream has ended where it has one, else when the policy has returned. f gets
// the error that ended the call. Functions run last registered first, once, on
// the goroutine that ends the call.
func (c *Call) OnDone(f func(err error)) {
	c.check()
	c.onDone.add(f)
}

// Held reports whether a result of the call lives on after the policy has
// returned, as a response body does. OnDone tells its end.
func (c *Call) Held() bool {
	c.check()
	return c.self.held()
}

// Repeatable reports whether the call can be made again after err without
// harm: it is safe, or it has an idempotency key, or it was not sent.
func (c *Call) Repeatable(err error) bool {
	c.check()
	return !c.Unsafe || c.IdempotencyKey != "" || !c.Sent() || NotSent(err)
}

// Sent reports whether the call, or an attempt of it, has been passed to the
// function under the policy. An error of a call that was not sent comes from
// the policy itself.
func (c *Call) Sent() bool {
	c.check()
	return c.sent || c.sentBelow.Load()
}

// Began returns the reading of the clock with which the call began. The clock
// is read by the first to ask, so a middleware that needs it asks before it
// calls next. The difference to Ended is what the call took.
func (c *Call) Began() time.Duration {
	c.check()
	if c.began == 0 {
		c.began = clock.Now()
	}
	return c.began
}

// BeganAt gives the call the reading with which it began, if it has none yet:
// for a middleware that has to read the clock anyway. now is from time.Now.
func (c *Call) BeganAt(now time.Time) {
	c.check()
	if c.began == 0 {
		c.began = clock.At(now)
	}
}

// Waited is for a middleware that lets time pass before it calls next, as a
// limiter does: it has Began read the clock anew.
func (c *Call) Waited() { c.check(); c.began = 0 }

// Ended returns the reading of the clock with which the call had its answer.
// The clock is read by the first to ask after next has returned, and the
// reading serves the others.
func (c *Call) Ended() time.Duration {
	c.check()
	if c.ended == 0 {
		c.ended = clock.Now()
	}
	return c.ended
}

// Bar says that this attempt's endpoint would turn away another attempt of the
// call now, as a breaker does that has just opened: the failure at hand is a
// better result than the rejection.
func (c *Call) Bar() { c.check(); c.barred = true }

// Barred reports whether Bar was called on this attempt.
func (c *Call) Barred() bool { c.check(); return c.barred }

// A Router picks endpoints for calls.
type Router interface {
	// Untried reports whether it could give the call an endpoint that none of
	// its attempts was given before.
	Untried(call *Call) bool
}

// Try sets Endpoint and remembers it as tried by the logical call, all its
// attempts together. r may be nil; else Elsewhere asks it.
func (c *Call) Try(endpoint string, r Router) {
	c.check()
	c.Endpoint = endpoint
	s := &c.root.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	s.router, s.dirty = r, true
	for _, t := range s.tried {
		if t == endpoint {
			return
		}
	}
	s.tried = append(s.tried, endpoint)
}

// Tried reports whether an attempt of the logical call was given the endpoint.
func (c *Call) Tried(endpoint string) bool {
	c.check()
	s := &c.root.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tried {
		if t == endpoint {
			return true
		}
	}
	return false
}

// Elsewhere reports whether another attempt would go to an endpoint that this
// call has not tried yet, so that it need not wait.
func (c *Call) Elsewhere() bool {
	c.check()
	s := &c.root.shared
	s.mu.Lock()
	r := s.router
	s.mu.Unlock()
	return r != nil && r.Untried(c)
}

// end gives the Call to the next, or makes it unusable for ever where misuse is
// to be caught.
func (c *Call) end() {
	if poison {
		c.poison()
		return
	}
	c.reset()
	c.self.clear()
	c.self.recycle()
}

func (c *Call) reset() {
	if c.live != 0 {
		c.refs.Store(0)
		c.sentBelow.Store(false)
	}
	c.state = state{}
	c.Unsafe, c.Traced = false, false
	if c.parent != nil {
		c.parent, c.root = nil, c
	}
	if c.Endpoint != "" {
		c.Endpoint = ""
	}
	if c.IdempotencyKey != "" {
		c.IdempotencyKey = ""
	}
	if c.Target != "" {
		c.Target = ""
	}
	if c.shared.dirty {
		c.shared.reset()
	}

}

// check panics where a Call is used after its end. In builds without the race
// detector it compiles to nothing.
func (c *Call) check() {
	if poison && c.dead {
		panic("backstay: a Call was used after its end; a Call must not be kept after its Func has returned")
	}
}

// poison makes a read of any field of an ended call visible, to people by its
// value and to the race detector by the write.
func (c *Call) poison() {
	const ended = "backstay: Call used after its end"
	c.Op, c.Target, c.Endpoint, c.IdempotencyKey = ended, ended, ended, ended
	c.Attempt = -1
	c.dead = true
}

func (s *shared) reset() {
	clear(s.tried)
	clear(s.observers)
	s.tried, s.observers, s.router = s.tried[:0], s.observers[:0], nil
	s.dirty = false
	s.watched.Store(false)
}
