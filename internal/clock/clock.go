// Package clock reads the monotonic clock for half the price of time.Now,
// which reads the wall clock too.
package clock

import "time"

var epoch = time.Now()

// Now returns a reading of the monotonic clock. Only differences between two
// readings mean something. It is never 0, so that 0 can stand for "not read".
//
// Inside a testing/synctest bubble it reads the bubble's clock.
func Now() time.Duration {
	return time.Since(epoch) | 1
}

// At returns the reading that Now would have given at t, which must come from
// time.Now.
func At(t time.Time) time.Duration { return t.Sub(epoch) | 1 }
