package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// Attempt returns a middleware that gives each attempt a span, and writes its
// trace context into the headers of the request, or into the metadata of an
// RPC. It stands innermost; Observe puts it there, together with Call. Without
// Call it does the same, but knows nothing about the attempts before, and the
// attempts of an RPC are CLIENT.
func Attempt(cfg Config) backstay.Middleware { return &attempts{newInstruments(cfg)} }

type attempts struct{ *instruments }

func (a *attempts) String() string          { return "telemetry(attempt)" }
func (a *attempts) Traits() backstay.Traits { return backstay.Traits{PerAttempt: true} }

func (a *attempts) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		inner, s := a.begin(ctx, call)
		err := next(inner, call)
		if s != nil {
			s.returned(call, err)
		}
		return err
	}
}

// begin returns the context for the attempt and its span, if it is recorded.
func (a *attempts) begin(ctx context.Context, call *backstay.Call) (inner context.Context, s *attemptSpan) {
	inner = ctx
	defer contain()
	tracer := a.tracer.get()
	if call.Traced || a.noAttemptSpans {
		inner = context.WithValue(ctx, inContext{}, placeOf(ctx, call).number)
	} else if tracer != nil {
		inner, s = a.span(ctx, call, tracer)
	}
	if p := a.propagator.get(); p != nil && !call.Traced {
		inner = p.inject(inner, call)
	}
	return inner, s
}

// A place is where an attempt stands in its call.
type place struct {
	number attemptNumber
	call   *callSpan      // nil where the call is not recorded
	retry  backstay.Event // which announced the attempt, if any did
}

func placeOf(ctx context.Context, call *backstay.Call) place {
	c, ok := ctx.Value(inContext{}).(*callSpan)
	if !ok {
		return place{number: attemptNumber(call.Attempt)}
	}
	return place{attemptNumber(c.attempts.Add(1)), c, c.announced(call)}
}

// span begins the attempt's span.
func (a *attempts) span(ctx context.Context, call *backstay.Call, tracer trace.Tracer) (inner context.Context, s *attemptSpan) {
	inner = ctx
	defer contain()
	at, req, r := placeOf(ctx, call), requestOf(call), rpcOf(call)
	name, opts := startOf(call, req, r, at)
	var span trace.Span
	inner, span = start(ctx, tracer, name, opts...)
	recorded := span != nil && span.IsRecording()
	if recorded || at.call != nil { // else a call inside would take at.call for its own
		inner = context.WithValue(inner, inContext{}, at.number)
	}
	if !recorded {
		return inner, nil
	}
	s = &attemptSpan{span: span, ctx: ctx, parent: at.call, call: call, isRPC: r != nil}
	if s.parent != nil {
		s.parent.opened(s)
	}
	call.OnDone(s.end)
	span.SetAttributes(a.describe(call, req, at)...)
	return inner, s
}

// startOf returns the name and the options of an attempt's span. req is the
// request of an HTTP call, r that of an RPC; those that it is not are nil.
func startOf(call *backstay.Call, req *http.Request, r rpcRequest, at place) (name string, opts []trace.SpanStartOption) {
	switch {
	case req != nil:
		return httpName(req), asClient(appendHTTPStart(make([]attribute.KeyValue, 0, 8), req))
	case r == nil:
		return callName(call), asClient(appendAddress(make([]attribute.KeyValue, 0, 2), serverAddress, serverPort, call.Target, 0))
	case at.call == nil || !at.call.isRPC:
		return startRPC(call, r)
	}
	// The call's span is the CLIENT span of the RPC. Another one inside it would
	// have the RPC counted twice.
	return callName(call), []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindInternal)}
}

// describe returns what is told of a recorded attempt besides its start.
func (a *attempts) describe(call *backstay.Call, req *http.Request, at place) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, a.policy...)
	attrs = appendAddress(attrs, peerAddress, peerPort, call.Endpoint, 0)
	if req != nil {
		attrs = appendHTTPRequest(attrs, req, int(at.number)-1)
	}
	if at.retry.Kind == backstay.EventRetry {
		attrs = appendRetry(attrs, at.retry)
	}
	return attrs
}

// An attemptSpan is the span of an attempt.
type attemptSpan struct {
	span   trace.Span
	ctx    context.Context // the attempt's, above its span
	parent *callSpan       // nil where the call is not recorded
	call   *backstay.Call  // only compared
	isRPC  bool            // it has the code
	ended  bool            // next has returned
	failed bool            // and that was no success
	left   time.Time       // when next returned, where nothing is left to read
}

// returned records how the attempt ended. The span goes on while the response
// is read. Where there is none it has ended here, but is kept open for what the
// breaker and retry above have to say about it.
func (s *attemptSpan) returned(call *backstay.Call, err error) {
	defer contain()
	s.ended, s.failed = true, err != nil
	resp := responseOf(call)
	if !call.Held() || err != nil && resp == nil {
		s.left = time.Now()
	}
	if resp != nil {
		s.span.SetAttributes(appendHTTPResponse(make([]attribute.KeyValue, 0, 3), resp)...)
	}
	if s.isRPC && !s.left.IsZero() {
		setStatusCode(s.span, err)
	}
	if t := errorType(s.ctx, resp, err); t != "" {
		s.failed = true
		fail(s.span, t)
	}
}

// end ends the span: err is what reading the result ended with, or why nobody
// wants it.
func (s *attemptSpan) end(err error) {
	defer contain()
	defer s.finish()
	if s.isRPC && s.ended && s.left.IsZero() {
		setStatusCode(s.span, err)
	}
	switch {
	case !s.ended: // a panic
		fail(s.span, other)
	case s.failed || err == nil || err == backstay.ErrPanicked || backstay.Classify(err) == backstay.Canceled:
	default:
		if t := errorType(s.ctx, nil, err); t != "" {
			fail(s.span, t)
		}
	}
}

func (s *attemptSpan) finish() {
	if s.parent != nil {
		s.parent.closed(s)
	}
	if s.left.IsZero() {
		s.span.End()
		return
	}
	s.span.End(trace.WithTimestamp(s.left))
}
