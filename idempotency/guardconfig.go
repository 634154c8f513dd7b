package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// GuardConfig describes a Guard. The zero value is fit for production where one
// process serves all requests.
type GuardConfig struct {
	// Store is where keys are remembered. nil means a Memory of the guard's own,
	// which knows nothing of other processes and of what was before a restart.
	Store Store

	// Name sets the guard apart from others that have the same store: the same
	// key under another name is another key. Services that share a store have
	// names of their own.
	Name string

	// Lease is how long the work may not be heard of before its process is taken
	// for dead. It is renewed at each third of it. 0 means 30 seconds.
	Lease time.Duration

	// TTL is how long a key is remembered, at least twice the Lease. Callers must
	// have given up trying again by then. 0 means 24 hours.
	TTL time.Duration

	// Timeout is how long the work may take before its context ends. Work that
	// does not heed that keeps its key to its end. 0 means one minute.
	Timeout time.Duration

	// StoreTimeout is how long a claim, and afterwards the keeping of a result,
	// may take with what it takes to repeat them, if the store heeds its context.
	// 0 means 5 seconds.
	StoreTimeout time.Duration

	// OnLeaseExpiry is what becomes of work that somebody began and was not
	// heard of again. The zero value means Fail, and Reexecute with a Transactor,
	// where work that was not finished has left nothing behind.
	OnLeaseExpiry OnLeaseExpiry

	// FailOpen does the work without protection when the store cannot be asked.
	// Otherwise the request fails with ErrUnavailable.
	FailOpen bool

	// OnEvent is told what became of each request, for logs and counts. It is
	// called in the request's goroutine, or in that of a timer, where a panic
	// ends the process, and must be safe for concurrent use. nil means nobody.
	OnEvent func(context.Context, Event)
}

// OnLeaseExpiry says what becomes of work whose owner was not heard of again.
type OnLeaseExpiry uint8

const (
	// Fail answers ErrOutcomeUnknown until the TTL has passed. The work is never
	// done twice, as long as all that share the store and the Name say so. Who
	// goes over to Reexecute, or to a Transactor, ends the old processes before
	// the first new one, and says Fail for a TTL if one may have died at work.
	Fail OnLeaseExpiry = iota + 1
	// Reexecute does the work again. It is for work that is harmless to do twice,
	// or that leaves nothing behind unless it is complete.
	Reexecute
)

// Validate reports what is wrong with the config.
func (c GuardConfig) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Lease", c.Lease}, {"TTL", c.TTL}, {"Timeout", c.Timeout}, {"StoreTimeout", c.StoreTimeout}} {
		if d.value < 0 {
			return fmt.Errorf("idempotency: %s is %v; give a duration, or 0 for the default", d.name, d.value)
		}
	}
	switch d := c.defaults(); {
	case d.Lease < minLease:
		return fmt.Errorf("idempotency: Lease is %v, too short to be renewed over a network; give at least %v", d.Lease, minLease)
	case d.StoreTimeout < minLease:
		return fmt.Errorf("idempotency: StoreTimeout is %v, too short for a round trip; give at least %v", d.StoreTimeout, minLease)
	case d.TTL < 2*d.Lease:
		return fmt.Errorf("idempotency: a TTL of %v may forget a key whose work is still being done; give at least twice the Lease of %v", d.TTL, d.Lease)
	case d.OnLeaseExpiry > Reexecute:
		return fmt.Errorf("idempotency: OnLeaseExpiry is %d; give Fail or Reexecute", d.OnLeaseExpiry)
	case d.FailOpen && isTransactor(d.Store):
		return errors.New("idempotency: FailOpen with a Transactor would do the work without its transaction; leave it out")
	}
	return nil
}

// minLease leaves a renewal, which has a third of it, time for a round trip.
const minLease = 50 * time.Millisecond

func (c GuardConfig) defaults() GuardConfig {
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	or(&c.Lease, 30*time.Second)
	or(&c.TTL, 24*time.Hour)
	or(&c.Timeout, time.Minute)
	or(&c.StoreTimeout, 5*time.Second)
	if c.OnLeaseExpiry == 0 {
		c.OnLeaseExpiry = Fail
		if isTransactor(c.Store) {
			c.OnLeaseExpiry = Reexecute
		}
	}
	return c
}

func isTransactor(s Store) bool {
	_, ok := s.(Transactor)
	return ok
}
