// Package stopped tells errors that mean the end of a context from others.
package stopped

import (
	"context"
	"errors"
	"time"

	"github.com/backstay-go/backstay"
)

// Says reports whether err is how functions say that their context has ended.
// Another error that comes late is still an answer of the callee.
func Says(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// Excused reports whether err, which says that a time was up, also says that the
// callee did not owe an answer by then: as on a stream on which nothing has
// happened yet.
func Excused(err error) bool {
	return backstay.Classify(err) == backstay.Canceled && errors.Is(err, context.DeadlineExceeded)
}

// Enough returns how long a call must have had until the deadline of ctx ended
// it for that to say something about the callee. Of a timeout.Call half is: the
// policy's own limit is longer than good calls take, unless others have used
// most of it up. Otherwise it is long.
func Enough(ctx context.Context, long time.Duration) time.Duration {
	// Package timeout is not imported, so that others come without it.
	if t, ok := context.Cause(ctx).(interface{ Allowed() time.Duration }); ok {
		if limit := t.Allowed(); limit > 0 {
			return min(long, limit/2)
		}
	}
	return long
}
