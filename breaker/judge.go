package breaker

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/stopped"
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
	switch over := ctx.Err(); {
	case over == nil:
	case !errors.Is(over, context.DeadlineExceeded):
		return excluded
	case stopped.Says(err):
		// The caller's time was up. If it was long, that is the callee's fault.
		if stopped.Excused(err) || call.Ended()-call.Began() < stopped.Enough(ctx, cmp.Or(b.cfg.SlowAfter, longAgo)) {
			return excluded
		}
		return failure
	}
	return b.weigh(err)
}

// notConnected is the type of an error that says that there was no connection to
// the endpoint while there was one to others.
const notConnected = "not_connected"

// elsewhere reports whether an attempt has ended at another endpoint than it was
// for, or is to be made at one: balancers know what is connected, and one call
// that waits for a connection looks often.
func elsewhere(call *backstay.Call, err error) bool {
	return call.Moved() || err != nil && backstay.TypeOf(err) == notConnected && backstay.NotSent(err)
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
	case b.cfg.Failure != nil, class == backstay.Success, class == backstay.Permanent, class == backstay.Pending:
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
