package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// Config says what calls are shown with. The zero value is fit for production:
// it uses what the program has set in package otel, before or after the policy
// was built.
type Config struct {
	// TracerProvider makes the spans. nil means otel.GetTracerProvider(), asked
	// anew at each call.
	TracerProvider trace.TracerProvider

	// Propagator writes the trace context into the headers or metadata of each
	// attempt, also where there are no spans. nil means
	// otel.GetTextMapPropagator(), asked anew at each call.
	Propagator propagation.TextMapPropagator

	// Policy is the resilience.policy.name of the spans, such as "orders".
	// Empty leaves it out.
	Policy string

	// NoAttemptSpans leaves the spans of attempts to somebody else, or out. It
	// is not needed over an otelhttp.Transport, which httpcall detects, nor
	// over otelgrpc, which grpccall detects.
	NoAttemptSpans bool
}

// Observe returns p with Call outside and Attempt inside.
func Observe(p *backstay.Policy, cfg Config) *backstay.Policy {
	in := newInstruments(cfg)
	stack := append([]backstay.Middleware{&calls{in}}, p.Stack()...)
	return backstay.New(append(stack, &attempts{in})...)
}

// instruments are what both ends of a policy record with. Metrics have their
// seat here, beside the spans.
type instruments struct {
	tracer         *follower[trace.TracerProvider, trace.Tracer]
	propagator     *follower[propagation.TextMapPropagator, *propagator]
	policy         []attribute.KeyValue // its name, or nothing
	callOptions    []trace.SpanStartOption
	noAttemptSpans bool
}

func newInstruments(cfg Config) *instruments {
	in := &instruments{
		tracer:         followTracer(cfg.TracerProvider),
		propagator:     followPropagator(cfg.Propagator),
		noAttemptSpans: cfg.NoAttemptSpans,
		callOptions:    []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal)},
	}
	if cfg.Policy != "" {
		in.policy = []attribute.KeyValue{policyName.String(cfg.Policy)}
		in.callOptions = append(in.callOptions, trace.WithAttributes(in.policy...))
	}
	return in
}

// inContext is the key under which the context holds the *callSpan of a call
// whose span is recorded and, inside an attempt of it, the attemptNumber.
type inContext struct{}

type attemptNumber int

// AttemptNumber returns the number of the attempt that ctx belongs to, from 1,
// among all the attempts of its call, hedges included. The second result
// reports whether it is known: inside an attempt whose span is recorded, or
// whose span is left to somebody else.
func AttemptNumber(ctx context.Context) (int, bool) {
	n, ok := ctx.Value(inContext{}).(attemptNumber)
	return int(n), ok
}

// contain, deferred, keeps a panic in telemetry from reaching the call.
func contain() { _ = recover() }
