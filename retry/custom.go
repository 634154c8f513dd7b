package retry

import (
	"fmt"
	"math"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Intervals gives the pauses of one call, one after the other; a negative
// duration ends the retries. Every backoff.BackOff of
// github.com/cenkalti/backoff/v4 is one. It is used by one goroutine at a time.
type Intervals interface {
	NextBackOff() time.Duration
}

// Custom returns the pauses of what fresh makes. fresh is called once for each
// call that is retried, by many goroutines at a time, and must make a new one
// each time; where it returns nil, the call is not retried.
//
// A *backoff.ExponentialBackOff is kept from pausing longer than its
// MaxInterval, which by itself it does. Its MaxElapsedTime holds, 15 minutes
// unless set. One that is wrapped, as by backoff.WithMaxRetries, is used as it
// is.
//
// Custom calls fresh to see what it makes, and panics if that is nil or a
// *backoff.ExponentialBackOff that would not pause.
func Custom(fresh func() Intervals) Backoff {
	if fresh == nil {
		panic("retry: Custom needs a function that makes the Intervals of one call")
	}
	if err := validate(fresh()); err != nil {
		panic(err.Error())
	}
	return Backoff{"custom", 0, func() Intervals { return tame(fresh()) }}
}

// validate reports what is wrong with i.
func validate(i Intervals) error {
	if i == nil {
		return fmt.Errorf("retry: the function given to Custom returned nil; return the Intervals of one call")
	}
	e, ok := i.(*backoff.ExponentialBackOff)
	switch {
	case !ok:
		return nil
	case e == nil || e.Clock == nil:
		return fmt.Errorf("retry: an ExponentialBackOff needs a Clock; make it with backoff.NewExponentialBackOff")
	case e.InitialInterval <= 0:
		return fmt.Errorf("retry: an InitialInterval of %v does not pause; give a positive one, or use NoPause", e.InitialInterval)
	case e.InitialInterval > e.MaxInterval:
		return fmt.Errorf("retry: the InitialInterval, %v, is above the MaxInterval, %v; swap them?", e.InitialInterval, e.MaxInterval)
	case e.MaxInterval > longest:
		return fmt.Errorf("retry: a MaxInterval of %v overflows; give one below %v", e.MaxInterval, longest)
	case !(e.Multiplier >= 1): // NaN too
		return fmt.Errorf("retry: a Multiplier of %v makes the pauses shrink; give 1 or more", e.Multiplier)
	case !(e.RandomizationFactor >= 0 && e.RandomizationFactor <= 1):
		return fmt.Errorf("retry: a RandomizationFactor of %v draws negative pauses; give one from 0 to 1", e.RandomizationFactor)
	case e.MaxElapsedTime != 0 && e.Stop >= 0:
		return fmt.Errorf("retry: a Stop of %v is a pause and not an end; set it to backoff.Stop", e.Stop)
	}
	return nil
}

// tame returns i without the surprises of a backoff.ExponentialBackOff: one
// that was made as a literal pauses for 0 until it is reset, and the jitter
// comes after the limit.
func tame(i Intervals) Intervals {
	if i == nil {
		return intervals(func() time.Duration { return backoff.Stop })
	}
	e, ok := i.(*backoff.ExponentialBackOff)
	if !ok {
		return i
	}
	e.Reset()
	return intervals(func() time.Duration { return min(e.NextBackOff(), e.MaxInterval) })
}

// longest bounds what is multiplied and added to, far from overflow.
const longest = time.Duration(math.MaxInt64 / 4)

type intervals func() time.Duration

func (f intervals) NextBackOff() time.Duration { return f() }
