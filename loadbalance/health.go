package loadbalance

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Never means none, where a limit or an interval is asked for.
const Never = -1

// HealthConfig says when an endpoint is left alone and how it comes back. The
// zero value is fit for production.
//
// A failure is what the endpoint did not do: refused and broken connections,
// attempts that timed out, errors of the class Transient, Throttled or Broken.
// Not counted are calls that their caller has given up or that were not sent,
// and answers that say no, such as a 404.
type HealthConfig struct {
	// ConsecutiveFailures is how many failures in a row eject an endpoint. 0
	// means 5; Never leaves this limit out.
	ConsecutiveFailures int

	// FailureRate ejects an endpoint whose share of failed attempts is this much
	// above that of the others, such as 0.5 beside 0.2, once it has 20 attempts.
	// It goes by the last 5 to 10 seconds. 0 means 0.3; Never leaves this limit
	// out.
	FailureRate float64

	// LatencyFactor ejects an endpoint whose latency is this many times the
	// median of the others, once it has 20 attempts in the last 5 to 10 seconds. 0 means that none is ejected for being slow, which
	// PeakEWMA makes unnecessary.
	LatencyFactor float64

	// BaseEjection is how long an endpoint is left alone when it is ejected for
	// the first time; then a single call finds out whether it is well. If not,
	// the time doubles, up to MaxEjection, and each MaxEjection in which it is
	// well takes a doubling back. 0 means 5 seconds.
	BaseEjection time.Duration

	// MaxEjection is the longest. 0 means 15 seconds, or BaseEjection if that is
	// more.
	MaxEjection time.Duration

	// MaxEjected is the largest share of the endpoints that may be ejected at a
	// time; one always may. 0 means 0.5.
	MaxEjected float64

	// PanicThreshold is the share of endpoints that must be left to pick from,
	// or else all are picked from again: those that are left could not carry the
	// load. Where those that are left are all blocked, by their breakers or for
	// want of a connection, the others are picked from, too. 0 means 0.5. With
	// Never calls fail when none is left.
	PanicThreshold float64

	// SlowStart is how long it takes a new or recovered endpoint to get its full
	// share. 0 means 5 seconds; Never leaves it out. The hash strategies have
	// none, for a key belongs to one endpoint, and a Custom has what it makes of
	// Node.State.
	SlowStart time.Duration
}

// Validate reports what is wrong with the health limits.
func (h HealthConfig) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("loadbalance: "+format, args...))
		}
	}
	fault(h.ConsecutiveFailures < Never, "ConsecutiveFailures is %d; give a count, 0 for 5, or Never", h.ConsecutiveFailures)
	fault(h.FailureRate != Never && !(h.FailureRate >= 0 && h.FailureRate <= 1), "FailureRate is %v; give a share from 0 to 1, 0 for 0.3, or Never", h.FailureRate)
	fault(h.LatencyFactor != 0 && !(h.LatencyFactor > 1), "LatencyFactor is %v; give a factor above 1, or 0 to eject none for being slow", h.LatencyFactor)
	fault(h.BaseEjection < 0, "BaseEjection is %v; give a positive duration, or 0 for 5s", h.BaseEjection)
	fault(h.MaxEjection < 0 || h.MaxEjection > 0 && h.MaxEjection < cmp.Or(h.BaseEjection, firstEjection), "MaxEjection is %v; give at least the BaseEjection of %v, or 0 for 15s", h.MaxEjection, cmp.Or(h.BaseEjection, firstEjection))
	fault(!(h.MaxEjected >= 0 && h.MaxEjected <= 1), "MaxEjected is %v; give a share from 0 to 1, or 0 for 0.5", h.MaxEjected)
	fault(h.PanicThreshold != Never && !(h.PanicThreshold >= 0 && h.PanicThreshold <= 1), "PanicThreshold is %v; give a share from 0 to 1, 0 for 0.5, or Never", h.PanicThreshold)
	fault(h.SlowStart < 0 && h.SlowStart != Never, "SlowStart is %v; give a positive duration, 0 for 5s, or Never", h.SlowStart)
	return errors.Join(faults...)
}

func (h HealthConfig) defaults() HealthConfig {
	h.ConsecutiveFailures = cmp.Or(h.ConsecutiveFailures, 5)
	h.FailureRate = cmp.Or(h.FailureRate, 0.3)
	h.BaseEjection = cmp.Or(h.BaseEjection, firstEjection)
	h.MaxEjection = max(cmp.Or(h.MaxEjection, 15*time.Second), h.BaseEjection)
	h.MaxEjected = cmp.Or(h.MaxEjected, 0.5)
	h.PanicThreshold = cmp.Or(h.PanicThreshold, 0.5)
	h.SlowStart = cmp.Or(h.SlowStart, 5*time.Second)
	return h
}

// firstEjection is the default of HealthConfig.BaseEjection.
const firstEjection = 5 * time.Second
