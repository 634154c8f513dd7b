package sim

import (
	"iter"
	"time"
)

// A fiber is a coroutine that runs calls, one after the other: the stack of one
// serves the next. What it runs is
// suspended in send until the answer has come.
type fiber struct {
	world *world
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	send  func(server int) error

	// The call at hand.
	client   Client
	number   uint64
	attempts uint64
	arrived  time.Duration
	answer   error // of the attempt at hand
	err      error // of the call
	over     bool
}

func newFiber(w *world) *fiber {
	f := &fiber{world: w}
	f.send = func(server int) error {
		f.world.send(f, server)
		f.suspend()
		return f.answer
	}
	f.next, f.stop = iter.Pull(f.run)
	return f
}

// abandoned is what a fiber panics with that is stopped in the middle of a call.
type abandoned struct{}

func (f *fiber) run(yield func(struct{}) bool) {
	defer func() {
		if r := recover(); r != nil && r != (abandoned{}) {
			panic(r)
		}
	}()
	f.yield = yield
	for {
		f.err = f.client.Call(f.send)
		f.over = true
		f.suspend()
	}
}

func (f *fiber) suspend() {
	if !f.yield(struct{}{}) {
		panic(abandoned{})
	}
}

// begin runs a new call up to its first send.
func (f *fiber) begin(number uint64, c Client) {
	f.client, f.number, f.attempts, f.arrived, f.over = c, number, 0, f.world.now, false
	f.resume()
}

// resume runs the call up to its next send or to its end.
func (f *fiber) resume() {
	f.next()
	if f.over {
		f.world.ended(f)
	}
}
