package loadbalance

import (
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

func long(n *Node) time.Duration {
	if l := n.Latency(); l > 0 {
		return min(longAgo, manyTimes*l)
	}
	return longAgo
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
	switch over := ctx.Err(); {
	case over == nil:
	case !errors.Is(over, context.DeadlineExceeded):
		return gaveUp
	case stopped.Says(err):
		if took < stopped.Enough(ctx, long(n)) {
			return gaveUp
		}
		return failed
	}
	switch backstay.Classify(err) {
	case backstay.Success, backstay.Permanent:
		return answered
	case backstay.Canceled:
		return gaveUp
	}
	return failed
}
