package main

import (
	"slices"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

type span = sdk.ReadOnlySpan

// A trace is the span of a call, and those of its attempts in order.
type trace struct {
	call     span
	attempts []span
}

// spans keeps what OpenTelemetry is given.
type spans struct {
	provider *sdk.TracerProvider
	recorder *tracetest.SpanRecorder
}

func newSpans() *spans {
	recorder := tracetest.NewSpanRecorder()
	return &spans{sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)), recorder}
}

// longest returns the trace of the call that took the most attempts, of several
// that of the given method if there is one.
func (s *spans) longest(method string) (t trace) {
	ended := s.recorder.Ended()
	for _, call := range ended {
		if call.Parent().IsValid() {
			continue
		}
		attempts := under(call, ended)
		more := len(attempts) - len(t.attempts)
		if t.call == nil || more > 0 || more == 0 && strings.HasSuffix(call.Name(), "/"+method) {
			t = trace{call, attempts}
		}
	}
	return t
}

// under returns the spans of a call's attempts.
func under(call span, all []span) (attempts []span) {
	for _, s := range all {
		if s.Parent().SpanID() == call.SpanContext().SpanID() {
			attempts = append(attempts, s)
		}
	}
	slices.SortFunc(attempts, func(x, y span) int { return x.StartTime().Compare(y.StartTime()) })
	return attempts
}

func outcome(attempt span) string {
	if code := attribute(attempt, "error.type"); code != "" {
		return code
	}
	return "OK"
}

func attribute(s span, key string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}
