package retry

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// A Backoff says how long to pause before each retry. The zero Backoff is
// Exponential(50*time.Millisecond, time.Second). It is safe for concurrent use.
type Backoff struct {
	name  string
	limit time.Duration // of the pauses; 0 where it is not known
	fresh func() Intervals
}

// String returns the backoff as it was made, as in "exponential(50ms, 1s)".
func (b Backoff) String() string { return b.orDefault().name }

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
// It panics if shortest is negative, or above the limit of b.
func (b Backoff) Floor(shortest time.Duration) Backoff {
	b = b.orDefault()
	switch {
	case shortest < 0:
		panic(fmt.Sprintf("retry: Floor(%v): a pause cannot be negative", shortest))
	case b.limit > 0 && shortest > b.limit:
		panic(fmt.Sprintf("retry: the floor of %v is above the limit of %s; lower it", shortest, b.name))
	}
	fresh := b.fresh
	return Backoff{fmt.Sprintf("%s.Floor(%v)", b.name, shortest), b.limit, func() Intervals {
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
	return Backoff{name, limit, func() Intervals {
		previous := first
		return intervals(func() time.Duration {
			previous = min(limit, first+upTo(3*previous-first))
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
	return Backoff{fmt.Sprintf("constant(%v)", d), d, func() Intervals { return backoff.NewConstantBackOff(d) }}
}

// NoPause returns no pauses at all. A callee that fails because it has too
// much to do gets more: for callees inside the same process.
func NoPause() Backoff {
	return Backoff{"none", 0, func() Intervals { return &backoff.ZeroBackOff{} }}
}

func (b Backoff) orDefault() Backoff {
	if b.fresh == nil {
		return Exponential(50*time.Millisecond, time.Second)
	}
	return b
}

// growing draws from the intervals of a backoff.ExponentialBackOff, which is
// used without its own jitter: it comes after the limit there and exceeds it.
func growing(kind string, first, limit time.Duration, jitter func(time.Duration) time.Duration) Backoff {
	name := ordered(kind, first, limit)
	return Backoff{name, limit, func() Intervals {
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
	case limit > longest:
		panic(fmt.Sprintf("retry: the limit of %v is longer than a pause can be; give one below %v", limit, longest))
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
