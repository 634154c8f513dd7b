package backstay

import (
	"context"
	"errors"
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
	// Before the pick it is that of the previous attempt, and after the attempt
	// it may be another, see Move.
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
	copies    bool // attempts have requests of their own
	self      carrier
	parent    *Call
	root      *Call
	onDone    doneList
	refs      atomic.Int32 // see release
	sentBelow atomic.Bool  // a fork was sent
	shared    shared       // used in the root only
}

// state is what a Call begins without.
type state struct {
	sent   bool // the function was entered by this attempt itself
	forked bool // there were forks, of which the first took the request
	barred bool
	moved  bool
	dead   bool // over; only set where poison is
	began  time.Duration
	ended  time.Duration
	live   int32 // forks that have not given c back; the owner's goroutine only
}

// A carrier is the typed part of a Call: its request and result.
type carrier interface {
	send(ctx context.Context) error
	fork() *Call
	begin() (request any)
	split(request any) *Call
	ownRequest() error
	adopt(from *Call)
	dropResult()
	held() bool
	clear()
	keep(fork *Call)
	recycle()
	request() any
	resultAny() any
	setResultAny(v any) bool
}

// ErrPanicked is what the OnDone functions of a call are given when it ended
// in a panic or in runtime.Goexit, which goes on unchanged.
var ErrPanicked = errors.New("backstay: the call panicked")

// OnDone has f called when the call is over: after its body was closed or its
// stream has ended where it has one, else when the policy has returned. f gets
// the error that ended the call, nil where its caller has a result, whatever
// the policy thought of it. Functions run last registered first, once, on the
// goroutine that ends the call; they must not use the Call, which may be over
// for long.
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
// limiter does: the call begins now for those that have not asked before.
func (c *Call) Waited() {
	c.check()
	if c.began != 0 {
		c.began = clock.Now()
	}
}

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

// Move says that this attempt has ended at another endpoint than the balancer
// gave it, as where gRPC makes it again by itself: its end says nothing about
// that one. It sets Endpoint, and remembers it as tried as Try does.
func (c *Call) Move(endpoint string) {
	c.check()
	c.Endpoint, c.moved = endpoint, true
	s := &c.root.shared
	if !c.alone() {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	s.add(endpoint)
}

// Moved reports whether Move was called on this attempt.
func (c *Call) Moved() bool { c.check(); return c.moved }

// check panics where a Call is used after its end. In builds without the race
// detector it compiles to nothing.
func (c *Call) check() {
	if poison && c.dead {
		panic("backstay: a Call was used after its end; a Call must not be kept after its Func has returned")
	}
}
