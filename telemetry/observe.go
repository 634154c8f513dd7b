package telemetry

import (
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// Observe shows an event of the call or of one of its attempts.
func (s *callSpan) Observe(call *backstay.Call, e backstay.Event) {
	defer contain()
	switch e.Kind {
	case backstay.EventRetry:
		s.announce(call, e)
	case backstay.EventGiveUp:
		s.mu.Lock()
		s.gaveUp = e.Reason
		s.mu.Unlock()
		if reason := suppressed(e.Reason); reason != "" {
			s.spanOf(call).SetAttributes(retrySuppressed.String(reason))
		}
	case backstay.EventReject:
		s.reject(call, e)
	case backstay.EventState:
		s.spanOf(call).AddEvent(eventTransition, trace.WithAttributes(
			breakerName.String(e.Source), breakerState.String(e.To), breakerPrevious.String(e.From)))
	}
}

// reject shows that an attempt was turned away: it has no span of its own.
func (s *callSpan) reject(call *backstay.Call, e backstay.Event) {
	s.mu.Lock()
	delete(s.retries, call)
	s.rejected = known(e.Reason)
	s.mu.Unlock()
	attrs := trace.WithAttributes(errorTypeKey.String(known(e.Reason)))
	if e.Reason == "circuit_open" {
		attrs = trace.WithAttributes(errorTypeKey.String(e.Reason), breakerName.String(e.Source))
	}
	s.span.AddEvent(eventRejected, attrs)
}

// announce keeps what is known of a retry until its attempt begins.
func (s *callSpan) announce(call *backstay.Call, e backstay.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retries == nil {
		s.retries = map[*backstay.Call]backstay.Event{}
	}
	s.retries[call] = e
}

// announced returns what is known of the attempt that call is, the zero Event
// if it is not a retry.
func (s *callSpan) announced(call *backstay.Call) backstay.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.retries[call]
	delete(s.retries, call)
	return e
}

// opened and closed keep the list of attempts whose spans can be written to.
func (s *callSpan) opened(a *attemptSpan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = append(s.open, a)
}

func (s *callSpan) closed(a *attemptSpan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.open {
		if o == a {
			s.open = append(s.open[:i], s.open[i+1:]...)
			return
		}
	}
}

// spanOf returns the span of the attempt that call is, or that of the whole
// call. After a first attempt has failed, retry makes a fork of it, which is
// another Call: where only one attempt is under way, it is that one.
func (s *callSpan) spanOf(call *backstay.Call) trace.Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.open {
		if a.call == call {
			return a.span
		}
	}
	if len(s.open) == 1 {
		return s.open[0].span
	}
	return s.span
}
