package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
)

// A State of a Breaker.
type State uint8

// The states of a breaker.
const (
	Closed     State = iota // calls pass and are judged
	Open                    // calls are turned away
	HalfOpen                // a few calls pass, to see whether the callee is well
	ForcedOpen              // turned away by ForceOpen, until Reset
	Disabled                // calls pass and are not judged, by Disable, until Reset
)

// String returns the name of the state: closed, open, half_open, forced_open or
// disabled.
func (s State) String() string {
	names := [...]string{"closed", "open", "half_open", "forced_open", "disabled"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// A Change is a breaker going from one state to another.
type Change struct {
	Name     string
	From, To State
	// Cause is the failure that opened the breaker: the last, where a success
	// tipped the scales. It is nil if calls were only slow.
	Cause error
	// Cooldown is how long a breaker that opened stays open.
	Cooldown time.Duration
}

// ErrOpen is what every OpenError is to errors.Is.
var ErrOpen = errors.New("breaker: open")

// An OpenError is what a call gets that the breaker did not let pass. The call
// was not sent.
type OpenError struct {
	// Name is the breaker's.
	Name string
	// State is that in which it turned the call away: Open, ForcedOpen,
	// HalfOpen when there are probes enough under way, or Closed when it lets
	// only a share of the calls pass, after it has recovered.
	State State
	// Cause is that of the Change that opened the breaker, or nil. It is the
	// failure of another call, so OpenError does not unwrap to it, and may hold
	// what only that call's caller should see, such as a URL.
	Cause error

	until func() time.Duration
}

// RetryAfter returns how long it is from now until the breaker tries a call,
// or 0 if that is not known.
func (e *OpenError) RetryAfter() time.Duration {
	if e.until == nil {
		return 0
	}
	return max(e.until(), 0)
}

// Error returns the breaker's name and state, and the type of the cause where
// it has one.
func (e *OpenError) Error() string {
	text := "breaker: " + e.State.String()
	if e.State == Closed {
		text = "breaker: recovering"
	}
	if e.Name != "" {
		text = fmt.Sprintf("breaker %s: %s", e.Name, text[len("breaker: "):])
	}
	if kind := backstay.TypeOf(e.Cause); kind != "" && kind != "_OTHER" {
		text += ": " + kind
	}
	return text
}

// Is reports whether target is ErrOpen.
func (e *OpenError) Is(target error) bool { return target == ErrOpen }

// Details tells policies that the call was not sent.
func (e *OpenError) Details() backstay.Error {
	return backstay.Error{Class: backstay.Transient, RetryAfter: e.RetryAfter(), NotSent: true, Type: "circuit_open"}
}
