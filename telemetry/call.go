package telemetry

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// Call returns a middleware that gives each call a span. It stands outermost;
// Observe puts it there, together with Attempt.
func Call(cfg Config) backstay.Middleware { return &calls{newInstruments(cfg)} }

type calls struct{ *instruments }

func (c *calls) String() string          { return "telemetry" }
func (c *calls) Traits() backstay.Traits { return backstay.Traits{PerCall: true} }

func (c *calls) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		inner, s := c.begin(ctx, call)
		err := next(inner, call)
		if s != nil {
			s.returned(call, err)
		}
		return err
	}
}

// begin returns the context for the call and its span, if it is recorded. One
// that is not need not be ended, since nothing that is done to it has effect.
func (c *calls) begin(ctx context.Context, call *backstay.Call) (inner context.Context, s *callSpan) {
	inner = ctx
	defer contain()
	tracer := c.tracer.get()
	if tracer == nil {
		return ctx, nil
	}
	var span trace.Span
	name, opts, isRPC := c.startOf(call)
	inner, span = start(ctx, tracer, name, opts...)
	if span == nil || !span.IsRecording() {
		return inner, nil
	}
	s = &callSpan{span: span, ctx: ctx, isRPC: isRPC}
	call.OnDone(s.end)
	call.Watch(s)
	return context.WithValue(inner, inContext{}, s), s
}

// startOf returns the name and the options of a call's span, and whether it
// stands for an RPC: not where something beneath makes such a span of each
// attempt.
func (c *calls) startOf(call *backstay.Call) (name string, opts []trace.SpanStartOption, isRPC bool) {
	r := rpcOf(call)
	if r == nil || call.Traced {
		return callName(call), c.callOptions, false
	}
	name, opts = startRPC(call, r)
	return name, slices.Concat(c.callOptions, opts), true // the later kind holds
}

func callName(call *backstay.Call) string {
	if call.Op == "" {
		return "call"
	}
	return call.Op
}

// A callSpan is the span of a call, with what its attempts have in common.
type callSpan struct {
	span     trace.Span
	ctx      context.Context // the caller's
	isRPC    bool            // it is CLIENT, and has the code
	attempts atomic.Int32    // that were begun
	ended    bool            // next has returned
	failed   bool            // and that was no success

	mu       sync.Mutex
	retries  map[*backstay.Call]backstay.Event // announced, not begun. The calls are only compared.
	open     []*attemptSpan                    // the attempts whose spans have not ended
	gaveUp   string                            // why there was no further attempt
	rejected string                            // why an attempt was turned away
}

// returned records how the call ended. The span goes on while the result is
// read.
func (s *callSpan) returned(call *backstay.Call, err error) {
	defer contain()
	s.ended = true
	n := int(s.attempts.Load())
	if n > 0 || !call.Sent() { // else there is no Attempt in the stack to count them
		s.span.SetAttributes(callAttempts.Int(n))
	}
	if s.isRPC && err != nil {
		setStatusCode(s.span, err)
	}
	outcome, errorType := s.verdict(call, err)
	s.conclude(outcome, errorType)
}

// end is the end of the result: err is what reading it ended with.
func (s *callSpan) end(err error) {
	defer contain()
	defer s.span.End()
	if s.isRPC && !s.failed {
		setStatusCode(s.span, err)
	}
	switch {
	case !s.ended: // a panic
		s.conclude("non_retryable", other)
	case s.failed || err == nil:
	case canceled(s.ctx):
		s.conclude("canceled", "")
	default:
		t := errorType(s.ctx, nil, err)
		s.conclude(outcomeOf(t, err), t)
	}
}

func (s *callSpan) conclude(outcome, errorType string) {
	s.failed = outcome != "success"
	s.span.SetAttributes(callOutcome.String(outcome))
	if errorType != "" {
		fail(s.span, errorType)
	}
}
