package breaker

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// Config describes a Breaker. The zero value is fit for production: open at
// half of at least 20 calls failing within 10 seconds.
type Config struct {
	// Name is the breaker's in errors, events and metrics.
	Name string

	// FailureRate opens the breaker: the share of failed calls in the window
	// from which on it does, 0 to 1. 0 means 0.5; Never turns it off.
	FailureRate float64

	// SlowAfter is how long a call may take before it counts as slow, however
	// it ends. A call that its caller's deadline ended is a failure if it took
	// as long, and does not count if it did not; where the deadline is that of
	// a timeout.Call, half of the limit is long enough. 0 means that no call is
	// slow, and a second for those deadlines.
	SlowAfter time.Duration

	// SlowRate is like FailureRate, of slow calls. 0 means 0.5.
	SlowRate float64

	// ConsecutiveFailures opens the breaker after so many failures with no
	// success between them, whatever the window says. 0 turns it off.
	ConsecutiveFailures int

	// MinCalls is how many calls the window needs before a rate means
	// anything. 0 means 20.
	MinCalls int

	// Window is the time over which rates are taken. 0 means 10 seconds.
	Window time.Duration

	// Last takes the rates over the last so many calls, not over a time. 0
	// means to use Window.
	Last int

	// Cooldown is how long the breaker stays open before it tries a call. It
	// doubles each time that the breaker opens again before it was closed for
	// as long, and up to a quarter of it is added at random, so that a fleet
	// does not try in step. 0 means 5 seconds.
	Cooldown time.Duration

	// MaxCooldown bounds Cooldown as it grows, and what a callee can make of it
	// with Retry-After. Nothing is added to it at random, so near it the random
	// part is drawn from below, unless that would be less than Cooldown or than
	// the callee has asked for. 0 means a minute, or 2 * Cooldown if that is
	// longer.
	MaxCooldown time.Duration

	// Probes is how many calls are tried, at most at the same time, and must
	// succeed before the breaker closes. 0 means 3.
	Probes int

	// MaxProbe is how long a probe may take. One that has not ended by then
	// counts as failed. 0 means a minute.
	MaxProbe time.Duration

	// Recovery is the time over which a breaker that has closed again lets 10,
	// 25 and 50 % of the calls through before it lets all. 0 lets all through
	// at once.
	Recovery time.Duration

	// Failure reports whether err counts as a failure, in place of the class
	// that it has. It is not asked about calls that were given up or not sent,
	// and Throttled errors that it lets go count neither way. nil means
	// Transient and Broken.
	Failure func(err error) bool

	// OnChange is told of each change of state, in order and once. It runs on
	// the goroutine of a call, which waits for it, without locks held, so it
	// may use the breaker; its panics are swallowed. The breakers of a Group
	// share it and may call it at the same time.
	OnChange func(Change)
}

// Never is a rate that no window reaches.
const Never = -1

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	switch {
	case math.IsNaN(c.FailureRate) || c.FailureRate > 1 || c.FailureRate < 0 && c.FailureRate != Never:
		return fmt.Errorf("breaker: FailureRate is %v; give a share from 0 to 1, such as 0.5, or Never", c.FailureRate)
	case math.IsNaN(c.SlowRate) || c.SlowRate < 0 || c.SlowRate > 1:
		return fmt.Errorf("breaker: SlowRate is %v; give a share from 0 to 1, such as 0.5", c.SlowRate)
	case c.SlowRate != 0 && c.SlowAfter == 0:
		return fmt.Errorf("breaker: SlowRate needs SlowAfter, to tell which calls are slow")
	case c.negative() != "":
		return fmt.Errorf("breaker: %s is negative; leave it 0 for the default", c.negative())
	case c.Probes > math.MaxInt32:
		return fmt.Errorf("breaker: Probes is %d; a few are enough", c.Probes)
	case c.Last > maxLast:
		return fmt.Errorf("breaker: Last is %d; give at most %d, or a Window", c.Last, maxLast)
	case c.Last > 0 && c.Window > 0:
		return fmt.Errorf("breaker: there is a Window and Last; rates are taken over one of them")
	case c.Last > 0 && cmp.Or(c.MinCalls, min(20, c.Last)) > c.Last:
		return fmt.Errorf("breaker: MinCalls of %d are never reached in the Last %d; make it smaller", c.MinCalls, c.Last)
	case c.MaxCooldown > 0 && c.MaxCooldown < cmp.Or(c.Cooldown, 5*time.Second):
		return fmt.Errorf("breaker: MaxCooldown, %v, is below the Cooldown of %v; swap them?", c.MaxCooldown, cmp.Or(c.Cooldown, 5*time.Second))
	case c.FailureRate == Never && c.SlowAfter == 0 && c.ConsecutiveFailures == 0:
		return fmt.Errorf("breaker: nothing opens it; give a FailureRate, SlowAfter or ConsecutiveFailures, or leave it out")
	}
	return nil
}

// negative returns the name of a duration or count that is, or "".
func (c Config) negative() string {
	for _, f := range []struct {
		name string
		is   int64
	}{
		{"SlowAfter", int64(c.SlowAfter)}, {"Window", int64(c.Window)}, {"Cooldown", int64(c.Cooldown)},
		{"MaxCooldown", int64(c.MaxCooldown)}, {"MaxProbe", int64(c.MaxProbe)}, {"Recovery", int64(c.Recovery)},
		{"ConsecutiveFailures", int64(c.ConsecutiveFailures)}, {"MinCalls", int64(c.MinCalls)}, {"Last", int64(c.Last)}, {"Probes", int64(c.Probes)},
	} {
		if f.is < 0 {
			return f.name
		}
	}
	return ""
}

// maxLast bounds the memory of a count window.
const maxLast = 1 << 20

// defaults returns the config with each zero replaced by what it means.
func (c Config) defaults() Config {
	c.FailureRate = cmp.Or(c.FailureRate, 0.5)
	c.SlowRate = cmp.Or(c.SlowRate, 0.5)
	c.MinCalls = cmp.Or(c.MinCalls, 20)
	if c.Last > 0 {
		c.MinCalls = min(c.MinCalls, c.Last)
	} else {
		c.Window = cmp.Or(c.Window, 10*time.Second)
	}
	c.Cooldown = cmp.Or(c.Cooldown, 5*time.Second)
	c.MaxCooldown = cmp.Or(c.MaxCooldown, max(time.Minute, c.Cooldown, 2*c.Cooldown)) // 2* may overflow
	c.Probes = cmp.Or(c.Probes, 3)
	c.MaxProbe = cmp.Or(c.MaxProbe, time.Minute)
	return c
}
