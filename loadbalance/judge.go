package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/stopped"
)

// A verdict is what the end of an attempt says about its endpoint.
type verdict uint8

const (
	unsent   verdict = iota // nothing
	gaveUp                  // the caller did, so it would have taken longer
	refused                 // it is well, and the answer was no
	answered                // it is well
	failed
)

// longAgo is how much of its caller's deadline an attempt must have had for the
// end of it to say something about the endpoint, or many times what that usually
// takes.
const (
	longAgo   = time.Second
	manyTimes = 20
)

// long returns how long is long for n.
func long(n *Node) time.Duration {
	if l := n.balancer.typical(n); l > 0 {
		return min(longAgo, manyTimes*max(l, time.Millisecond))
	}
	return longAgo
}

// typical returns what a quick answer takes at the peers of n, or at n if it has
// none that are known. It looks at a few, of which one will be well.
func (b *Balancer) typical(n *Node) time.Duration {
	const few = 8
	least := time.Duration(0)
	nodes := b.set.Load().nodes // once: the next set may have fewer
	for _, p := range nodes[:min(few, len(nodes))] {
		if l := p.Latency(); p != n && l > 0 && (least == 0 || l < least) {
			least = l
		}
	}
	return cmp.Or(least, n.Latency())
}

// judge returns what err says about the endpoint. A breaker judges by the same
// rules, except that it leaves 429 out: here it counts, for the endpoint does
// not do the work and is quick about it.
func judge(ctx context.Context, call *backstay.Call, n *Node, took time.Duration, err error) verdict {
	if err == nil {
		return answered
	}
	if !call.Sent() || backstay.TypeOf(err) == circuitOpen {
		return unsent // by a policy of its own, where the function has one
	}
	return weigh(ctx, n, took, err)
}

// weigh returns what err, of an attempt that was sent, says by itself.
func weigh(ctx context.Context, n *Node, took time.Duration, err error) verdict {
	switch over := ctx.Err(); {
	case over == nil:
	case !errors.Is(over, context.DeadlineExceeded):
		return gaveUp
	case stopped.Says(err):
		if stopped.Excused(err) || took < stopped.Enough(ctx, long(n)) {
			return gaveUp
		}
		return failed
	}
	switch backstay.Classify(err) {
	case backstay.Success:
		return answered
	case backstay.Permanent, backstay.Pending:
		return refused
	case backstay.Canceled:
		return gaveUp
	}
	return failed
}
