package backstay

import "time"

// An EventKind says what happened in an Event.
type EventKind uint8

// The kinds of events.
const (
	// EventRetry: another attempt follows. Attempt is its number, Reason the
	// error type of the failure that made it, Delay the pause before it and
	// Source what chose the pause: "backoff", "retry_after", "pushback", or
	// "elsewhere" where there is none because it goes to another endpoint.
	EventRetry EventKind = iota + 1

	// EventGiveUp: a failed call is not tried again, and Reason says why:
	// "attempts", "budget", "deadline", "canceled", "non_retryable",
	// "not_idempotent", "body_not_replayable", "server_veto", "circuit_open" or
	// "nested".
	EventGiveUp

	// EventReject: the policy turned the attempt away before it was sent.
	// Source is who, such as "orders" for a breaker of that name, and Reason
	// its error type, such as "circuit_open".
	EventReject

	// EventState: the call made a breaker change its state, From and To, and
	// Source is the breaker's name.
	EventState
)

// An Event is something that a middleware did with a call and that its result
// does not tell.
type Event struct {
	Kind     EventKind
	Attempt  int
	Reason   string
	Source   string
	Delay    time.Duration
	From, To string
	Err      error
}

// An Observer is told the events of a call. It must be safe for concurrent
// use, since hedged attempts overlap, and must not keep the call.
type Observer interface {
	Observe(call *Call, e Event)
}

// Watch has o told the events of the logical call: of this attempt and all
// others.
func (c *Call) Watch(o Observer) {
	c.check()
	s := &c.root.shared
	s.mu.Lock()
	s.dirty = true
	s.observers = append(s.observers, o)
	s.mu.Unlock()
	s.watched.Store(true)
}

// Watched reports whether anybody is told of events, for those who want to
// spare the making of one.
func (c *Call) Watched() bool { c.check(); return c.root.shared.watched.Load() }

// Emit tells the observers of the logical call that e happened to c. One that
// panics does not change the call.
func (c *Call) Emit(e Event) {
	c.check()
	s := &c.root.shared
	if !s.watched.Load() {
		return
	}
	s.mu.Lock()
	observers := s.observers
	s.mu.Unlock()
	for _, o := range observers {
		c.tell(o, e)
	}
}

func (c *Call) tell(o Observer, e Event) {
	defer func() { _ = recover() }()
	o.Observe(c, e)
}
