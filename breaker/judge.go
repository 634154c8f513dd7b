package breaker

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/backstay-go/backstay"
)

// longAgo is how much of its caller's deadline a call must have had for the
// end of it to say something about the callee, where no SlowAfter says so.
const longAgo = time.Second

// judge returns what the end of a call says about the callee.
func (b *Breaker) judge(ctx context.Context, call *backstay.Call, err error) outcome {
	long := b.cfg.SlowAfter > 0 && call.Ended()-call.Began() >= b.cfg.SlowAfter
	o := success
	if err != nil {
		o = b.judgeError(ctx, call, err)
	}
	if long && o != excluded {
		o |= slow
	}
	return o
}

func (b *Breaker) judgeError(ctx context.Context, call *backstay.Call, err error) outcome {
	if !call.Sent() {
		return excluded // turned away inside: a limiter, another breaker, no endpoint
	}
	switch ended := ctx.Err(); {
	case ended == nil:
	case !errors.Is(ended, context.DeadlineExceeded):
		return excluded
	case saysStopped(err):
		// The caller's time was up. If it was long, that is the callee's fault.
		if call.Ended()-call.Began() < b.enough(ctx) {
			return excluded
		}
		return failure
	}
	return b.weigh(err)
}

// enough returns how long a call must have had until the deadline of ctx ended
// it for that to say something about the callee. Of a timeout.Call half is: the
// policy's own limit is longer than good calls take, unless others have used
// most of it up.
func (b *Breaker) enough(ctx context.Context) time.Duration {
	long := cmp.Or(b.cfg.SlowAfter, longAgo)
	if limit := limitOf(context.Cause(ctx)); limit > 0 {
		return min(long, limit/2)
	}
	return long
}

// limitOf returns how long a *timeout.Error allowed, or 0. Package timeout is not
// imported, so that a breaker comes without it.
func limitOf(cause error) time.Duration {
	if t, ok := cause.(interface{ Allowed() time.Duration }); ok {
		return t.Allowed()
	}
	return 0
}

// saysStopped reports whether err is how functions say that their context has
// ended. Another error that comes late is still an answer of the callee.
func saysStopped(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// weigh returns what err says by itself.
func (b *Breaker) weigh(err error) outcome {
	class := backstay.Classify(err)
	switch {
	case class == backstay.Canceled, turnedAway(err):
		return excluded
	case b.cfg.Failure != nil && b.cfg.Failure(err):
		return failure
	case class == backstay.Throttled:
		return excluded
	case b.cfg.Failure != nil, class == backstay.Success, class == backstay.Permanent:
		return success
	default:
		return failure
	}
}

// turnedAway reports whether err is the rejection of a breaker, which the
// function has met in a policy of its own. errors.Is would see one too that is
// only among the earlier failures of a retry.
func turnedAway(err error) bool {
	switch e := err.(type) {
	case *OpenError:
		return true
	case interface{ Unwrap() error }:
		return turnedAway(e.Unwrap())
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		return len(all) > 0 && turnedAway(all[0])
	}
	return err == ErrOpen
}
