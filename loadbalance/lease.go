package loadbalance

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay"
)

// A Lease is an attempt at an endpoint that a Desk has picked. It must be ended,
// by End, or it counts as in flight for ever. What it is told after
// that changes nothing.
//
// It is safe for concurrent use, and may outlive the Call that it was made for.
// The zero Lease is one that has ended, of no endpoint.
type Lease struct {
	ctx     context.Context
	attempt attempt
	phase   atomic.Uint32
}

// The phases of a Lease.
const (
	over      uint32 = iota
	waiting          // for the answer
	answering        // it has begun to come
)

func newLease(ctx context.Context, a attempt) *Lease {
	a.begin()
	l := &Lease{ctx: ctx, attempt: a}
	l.phase.Store(waiting)
	return l
}

// Address returns the address of the endpoint.
func (l *Lease) Address() string {
	if n := l.attempt.node; n != nil {
		return n.address
	}
	return ""
}

// Answered says that the answer has begun to come, as with the headers of a
// stream: the time since the pick is a latency of the endpoint, which is well.
// The attempt is in flight until the lease ends, and how it ends then says
// nothing about the endpoint.
func (l *Lease) Answered() {
	if l.phase.CompareAndSwap(waiting, answering) {
		l.settle(nil, true)
	}
}

// End ends the lease with the answer, or with the failure err. Like the end of
// an attempt in a policy it is a latency of the endpoint, unless it is that of a
// stream, which may last for hours; and a failure where err is one: what
// backstay.Classify says, and not that the caller gave up. An err of which
// backstay.NotSent is true says nothing about the endpoint.
func (l *Lease) End(err error) {
	was := l.phase.Swap(over)
	if was == over {
		return
	}
	defer l.attempt.node.end()
	if was == waiting {
		l.settle(err, !l.attempt.streams)
	}
}

// settle counts what err says about the endpoint.
func (l *Lease) settle(err error, timed bool) {
	a := l.attempt
	n, at := a.node, a.node.balancer.time()
	a.answered()
	if !timed {
		a.began, a.untimed = at, true
	}
	judged := false
	defer func() {
		if !judged { // a method of the error panicked
			n.balancer.panicked(a, at)
		}
	}()
	v := l.judge(at-a.began, err)
	judged = true
	if v == gaveUp && !timed {
		v = unsent // for all that is known it was answered
	}
	n.balancer.settle(a, at, v, err)
}

// judge is judge for an attempt whose Call is not known.
func (l *Lease) judge(took time.Duration, err error) verdict {
	switch {
	case err == nil:
		return answered
	case backstay.NotSent(err):
		return unsent
	}
	return weigh(l.ctx, l.attempt.node, took, err)
}
