package retry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Intervals gives the pauses of one call, one after the other; a negative
// duration ends the retries. Every backoff.BackOff of
// github.com/cenkalti/backoff is one. It is used by one goroutine at a time.
type Intervals interface {
	NextBackOff() time.Duration
}

// A Backoff says how long to pause before each retry. The zero Backoff is
// Exponential(50*time.Millisecond, time.Second).
type Backoff struct {
	name  string
	fresh func() Intervals
}

// String returns the backoff as it was made, as in "exponential(50ms, 1s)".
func (b Backoff) String() string { return b.name }

// Exponential returns pauses drawn evenly from [0, first), [0, 2*first),
// [0, 4*first) and so on, never above limit: the "full jitter" of
// https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
// Of all it spreads callers best; use it unless a pause must not be short.
//
// It panics unless 0 < first <= limit.
func Exponential(first, limit time.Duration) Backoff {
	return growing("exponential", first, limit, upTo)
}

// Floor returns b with no pause shorter than shortest.
//
// It panics if shortest is negative.
func (b Backoff) Floor(shortest time.Duration) Backoff {
	if shortest < 0 {
		panic(fmt.Sprintf("retry: Floor(%v): a pause cannot be negative", shortest))
	}
	b = b.orDefault()
	fresh := b.fresh
	return Backoff{fmt.Sprintf("%s.Floor(%v)", b.name, shortest), func() Intervals {
		inner := fresh()
		return intervals(func() time.Duration {
			d := inner.NextBackOff()
			if d < 0 {
				return d
			}
			return max(d, shortest)
		})
	}}
}

// Equal returns pauses of which one half grows like those of Exponential and
// the other is drawn: from [v/2, v) with v = first, 2*first, and so on.
//
// It panics unless 0 < first <= limit.
func Equal(first, limit time.Duration) Backoff {
	return growing("equal", first, limit, func(v time.Duration) time.Duration { return v/2 + upTo(v-v/2) })
}

// Plain returns pauses of first, 2*first, 4*first and so on, never above
// limit, without jitter. Callers that failed together come back together: for
// tests and for callees with one caller.
//
// It panics unless 0 < first <= limit.
func Plain(first, limit time.Duration) Backoff {
	return growing("plain", first, limit, func(v time.Duration) time.Duration { return v })
}

// Decorrelated returns pauses drawn from [first, 3*previous), never above
// limit: the "decorrelated jitter" of the same source as Exponential.
//
// It panics unless 0 < first <= limit.
func Decorrelated(first, limit time.Duration) Backoff {
	name := ordered("decorrelated", first, limit)
	return Backoff{name, func() Intervals {
		previous := first
		return intervals(func() time.Duration {
			high := limit
			if previous < limit/3 {
				high = 3 * previous
			}
			previous = first
			if high > first {
				previous += upTo(high - first)
			}
			return previous
		})
	}}
}

// Constant returns pauses of d.
//
// It panics if d is negative.
func Constant(d time.Duration) Backoff {
	if d < 0 {
		panic(fmt.Sprintf("retry: Constant(%v): a pause cannot be negative", d))
	}
	return Backoff{fmt.Sprintf("constant(%v)", d), func() Intervals { return backoff.NewConstantBackOff(d) }}
}

// NoPause returns no pauses at all. A callee that fails because it has too
// much to do gets more: for callees inside the same process.
func NoPause() Backoff {
	return Backoff{"none", func() Intervals { return &backoff.ZeroBackOff{} }}
}

// Custom returns the pauses of what fresh makes, which it is asked to do for
// each call that is retried.
//
// It panics if fresh is nil.
func Custom(fresh func() Intervals) Backoff {
	if fresh == nil {
		panic("retry: Custom needs a function that makes the Intervals of one call")
	}
	return Backoff{"custom", fresh}
}

func (b Backoff) orDefault() Backoff {
	if b.fresh == nil {
		return Exponential(50*time.Millisecond, time.Second)
	}
	return b
}

type intervals func() time.Duration

func (f intervals) NextBackOff() time.Duration { return f() }

// growing draws from the intervals of a backoff.ExponentialBackOff, which is
// used without its own jitter: it comes after the limit there and exceeds it.
func growing(kind string, first, limit time.Duration, jitter func(time.Duration) time.Duration) Backoff {
	name := ordered(kind, first, limit)
	return Backoff{name, func() Intervals {
		inner := backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(first),
			backoff.WithMaxInterval(limit),
			backoff.WithMultiplier(2),
			backoff.WithRandomizationFactor(0),
			backoff.WithMaxElapsedTime(0),
		)
		return intervals(func() time.Duration { return jitter(min(inner.NextBackOff(), limit)) })
	}}
}

// ordered returns the name of a backoff after it has checked its parameters.
func ordered(kind string, first, limit time.Duration) string {
	switch {
	case first <= 0:
		panic(fmt.Sprintf("retry: the first pause is %v; give a positive duration, or NoPause", first))
	case limit < first:
		panic(fmt.Sprintf("retry: the first pause, %v, is above the limit, %v; swap them?", first, limit))
	case limit > math.MaxInt64/4:
		panic(fmt.Sprintf("retry: the limit of %v is longer than a pause can be; give one below %v", limit, time.Duration(math.MaxInt64/4)))
	}
	return fmt.Sprintf("%s(%v, %v)", kind, first, limit)
}

// upTo returns an evenly drawn duration in [0, d).
func upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
