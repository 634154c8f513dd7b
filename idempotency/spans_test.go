package idempotency_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
)

// cutOff is a network whose first error holds all that is secret.
type cutOff struct {
	http.RoundTripper
	sent int
}

func (c *cutOff) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.sent++; c.sent > 1 {
		return c.RoundTripper.RoundTrip(r)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body.Close()
	return nil, fmt.Errorf("after %s %s: connection reset", r.Header, body)
}

// Errors, answers and headers hold the key and the body. Spans, which are sent
// to others and kept, do not.
func TestKeysAndBodiesAreNotOnSpans(t *testing.T) {
	leak.Check(t)
	const key, sent, answered = "key-marker", "request-marker", "answer-marker"
	ran := 0
	server := httptest.NewServer(once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ran++; ran == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, answered)
	})))
	defer server.Close()
	memory := tracetest.NewInMemoryExporter()
	spans := sdktrace.NewTracerProvider(sdktrace.WithSyncer(memory))
	defer func() { _ = spans.Shutdown(context.Background()) }()
	p := telemetry.Observe(
		backstay.New(idempotency.Keys(idempotency.KeysConfig{}), retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true})),
		telemetry.Config{TracerProvider: spans, Propagator: propagation.TraceContext{}})
	client := &http.Client{Transport: httpcall.NewTransport(p, httpcall.Config{Base: &cutOff{RoundTripper: server.Client().Transport}})}

	for _, c := range []struct {
		body   string
		status int
		answer string
	}{
		{sent, 200, answered}, // at the third attempt
		{sent, 200, answered}, // replayed
		{sent + " of another", 422, "ErrMismatch"},
	} {
		status, body, err := send(idempotency.WithKey(t.Context(), key), client, server.URL, c.body)
		if status != c.status || !strings.Contains(body, c.answer) || err != nil {
			t.Errorf("POST %s = %d %q, %v, want %d %s", c.body, status, body, err, c.status, c.answer)
		}
	}
	recorded := memory.GetSpans()
	if len(recorded) != 3+5 || ran != 2 {
		t.Errorf("%d spans, and the handler ran %d times, want 3 calls and 5 attempts, ran 2", len(recorded), ran)
	}
	for _, s := range recorded {
		for _, text := range texts(s) {
			for _, secret := range []string{key, sent, answered} {
				if strings.Contains(text, secret) {
					t.Errorf("span %s has the text %q, want nothing that holds %s", s.Name, text, secret)
				}
			}
		}
	}
}

// texts returns all that a span says.
func texts(s tracetest.SpanStub) []string {
	all := []string{s.Name, s.Status.Description, s.SpanContext.TraceState().String()}
	add := func(attrs []attribute.KeyValue) {
		for _, a := range attrs {
			all = append(all, string(a.Key), a.Value.String())
		}
	}
	add(s.Attributes)
	for _, e := range s.Events {
		all = append(all, e.Name)
		add(e.Attributes)
	}
	for _, l := range s.Links {
		add(l.Attributes)
	}
	return all
}
