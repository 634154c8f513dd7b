package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/body"
	"github.com/backstay-go/backstay/telemetry"
)

// roundTrip is an http.RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

// answer responds with the statuses, one after the other, and goes on with the
// last. It is for attempts that do not overlap.
func answer(statuses ...int) roundTrip {
	n := 0
	return func(*http.Request) (*http.Response, error) {
		n++
		return response(statuses[min(n, len(statuses))-1], "ok"), nil
	}
}

func response(status int, text string) *http.Response {
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
}

// client makes HTTP calls under p, as an adapter does. prepare may be nil.
func client(p *backstay.Policy, base roundTrip, prepare func(*backstay.Call)) func(*http.Request) (*http.Response, error) {
	do := backstay.Bind(p, backstay.Op[*http.Request, *http.Response]{
		Name: "orders.Get",
		Prepare: func(call *backstay.Call, _ *http.Request) {
			if prepare != nil {
				prepare(call)
			}
		},
		Copy: func(r *http.Request) (*http.Request, error) { return r.Clone(r.Context()), nil },
		Do: func(ctx context.Context, _ *backstay.Call, r *http.Request) (*http.Response, error) {
			return base(r.WithContext(ctx))
		},
		Check: func(r *http.Response) error {
			if r.StatusCode >= 500 {
				return &backstay.Error{Err: fmt.Errorf("status %d", r.StatusCode), Class: backstay.Transient, Type: fmt.Sprint(r.StatusCode)}
			}
			return nil
		},
		Discard: func(r *http.Response) { body.Drain(r.Body) },
		Hold: func(r *http.Response, done func(error)) *http.Response {
			r.Body = body.Hold(r.Body, done)
			return r
		},
	})
	return func(r *http.Request) (*http.Response, error) { return do(r.Context(), r) }
}

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// send makes a call whose result is of no interest.
func send(t testing.TB, do func(*http.Request) (*http.Response, error), req *http.Request) {
	t.Helper()
	if resp, err := do(req); err == nil {
		resp.Body.Close()
	}
}

// A recorder holds the spans that have ended.
type recorder struct {
	*sdktrace.TracerProvider
	memory *tracetest.InMemoryExporter
}

func record(t testing.TB, opts ...sdktrace.TracerProviderOption) *recorder {
	m := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSyncer(m))...)
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return &recorder{p, m}
}

func (r *recorder) config() telemetry.Config {
	return telemetry.Config{TracerProvider: r, Propagator: propagation.TraceContext{}}
}

// call returns the one INTERNAL span.
func (r *recorder) call(t testing.TB) tracetest.SpanStub {
	t.Helper()
	return r.only(t, trace.SpanKindInternal, 1)[0]
}

// attempts returns the n CLIENT spans, in the order in which they began.
func (r *recorder) attempts(t testing.TB, n int) []tracetest.SpanStub {
	t.Helper()
	return r.only(t, trace.SpanKindClient, n)
}

func (r *recorder) only(t testing.TB, kind trace.SpanKind, n int) (found []tracetest.SpanStub) {
	t.Helper()
	for _, s := range r.memory.GetSpans() {
		if s.SpanKind == kind {
			found = append(found, s)
		}
	}
	if len(found) != n {
		t.Fatalf("there are %d %v spans, want %d", len(found), kind, n)
	}
	return found
}

// text returns an attribute's value as text, or "" if s does not have it.
func text(s tracetest.SpanStub, key string) string { return textIn(s.Attributes, key) }

func textIn(attrs []attribute.KeyValue, key string) string {
	for _, a := range attrs {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// want checks attributes, given as key and value; an empty value is an absent
// attribute.
func want(t testing.TB, s tracetest.SpanStub, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := text(s, pairs[i]); got != pairs[i+1] {
			t.Errorf("span %q: %s = %q, want %q", s.Name, pairs[i], got, pairs[i+1])
		}
	}
}
