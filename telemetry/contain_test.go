package telemetry_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
)

// T-16
func TestTelemetryThatPanicsChangesNoResult(t *testing.T) {
	for _, in := range []string{"Tracer", "Start", "nil span", "IsRecording", "SetAttributes", "AddEvent", "SetStatus", "End", "Inject", "Fields"} {
		cfg := telemetry.Config{TracerProvider: brokenProvider{in: in}, Propagator: brokenPropagator{in: in}}
		b := breaker.New(breaker.Config{ConsecutiveFailures: 1})
		do := client(telemetry.Observe(backstay.New(retry.New(threeTries), b), cfg), answer(503), nil)
		resp, err := do(get(t, "http://a.example/"))
		if err != nil || resp.StatusCode != 503 {
			t.Errorf("%s panics: call() = %v, %v, want the 503", in, resp, err)
			continue
		}
		resp.Body.Close()
	}
}

type brokenProvider struct {
	noop.TracerProvider
	in string
}

func (p brokenProvider) breaks(in string) {
	if p.in == in {
		panic(in)
	}
}

func (p brokenProvider) Tracer(string, ...trace.TracerOption) trace.Tracer {
	p.breaks("Tracer")
	return brokenTracer{of: p}
}

type brokenTracer struct {
	noop.Tracer
	of brokenProvider
}

func (t brokenTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.of.breaks("Start")
	if t.of.in == "nil span" {
		return nil, nil
	}
	return ctx, brokenSpan{of: t.of}
}

type brokenSpan struct {
	noop.Span
	of brokenProvider
}

func (s brokenSpan) IsRecording() bool                     { s.of.breaks("IsRecording"); return true }
func (s brokenSpan) SetAttributes(...attribute.KeyValue)   { s.of.breaks("SetAttributes") }
func (s brokenSpan) AddEvent(string, ...trace.EventOption) { s.of.breaks("AddEvent") }
func (s brokenSpan) SetStatus(codes.Code, string)          { s.of.breaks("SetStatus") }
func (s brokenSpan) End(...trace.SpanEndOption)            { s.of.breaks("End") }

type brokenPropagator struct {
	propagation.TraceContext
	in string
}

func (p brokenPropagator) Inject(context.Context, propagation.TextMapCarrier) {
	if p.in == "Inject" {
		panic("Inject")
	}
}

func (p brokenPropagator) Fields() []string {
	if p.in == "Fields" {
		panic("Fields")
	}
	return p.TraceContext.Fields()
}

// T-16
func TestSpansEndThoughWritingToThemPanics(t *testing.T) {
	ends := 0
	cfg := telemetry.Config{TracerProvider: countingEnds{ends: &ends}}
	send(t, client(telemetry.Observe(nil, cfg), answer(503), nil), get(t, "http://a.example/"))
	if ends != 2 {
		t.Errorf("%d spans have ended, want 2", ends)
	}
}

type countingEnds struct {
	noop.TracerProvider
	ends *int
}

func (p countingEnds) Tracer(string, ...trace.TracerOption) trace.Tracer { return endTracer{of: p} }

type endTracer struct {
	noop.Tracer
	of countingEnds
}

func (t endTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return ctx, endSpan{brokenSpan{of: brokenProvider{in: "SetAttributes"}}, t.of.ends}
}

type endSpan struct {
	brokenSpan
	ends *int
}

func (s endSpan) End(...trace.SpanEndOption) { *s.ends++ }

// Calls under one policy record beside each other, with attempts that overlap
// and outlive their calls.
func TestConcurrentCalls(t *testing.T) {
	leak.Check(t)
	r := record(t)
	b := breaker.New(breaker.Config{ConsecutiveFailures: 3})
	p := telemetry.Observe(backstay.New(bothAtOnce{}, retry.New(threeTries), b), r.config())
	base := func(req *http.Request) (*http.Response, error) {
		if n, _ := telemetry.AttemptNumber(req.Context()); n%2 == 0 {
			return response(503, "busy"), nil
		}
		return response(200, "ok"), nil
	}
	do := client(p, base, nil)
	const workers, calls = 8, 50
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range calls {
				send(t, do, get(t, "http://a.example/"))
			}
		})
	}
	wg.Wait()
	ended := 0
	for _, s := range r.memory.GetSpans() {
		if s.SpanKind == trace.SpanKindInternal {
			ended++
		}
	}
	if ended != workers*calls {
		t.Errorf("%d call spans have ended, want %d", ended, workers*calls)
	}
}

// bothAtOnce makes two attempts at once and takes the first answer.
type bothAtOnce struct{}

func (bothAtOnce) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		type end struct {
			*backstay.Call
			err error
		}
		ends := make(chan end, 2)
		for range 2 {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			go func() { ends <- end{f, next(ctx, f)} }()
		}
		won := <-ends
		call.Adopt(won.Call)
		go func() {
			lost := <-ends
			lost.Discard(context.Canceled)
		}()
		return won.err
	}
}
