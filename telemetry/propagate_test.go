package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
)

// T-11
func TestEachAttemptCarriesItsOwnSpan(t *testing.T) {
	leak.Check(t)
	var arrived []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.Header.Values("Traceparent")); n != 1 {
			t.Errorf("the request has %d traceparents, want 1", n)
		}
		if state := r.Header.Get("Tracestate"); state != "" {
			t.Errorf("the request has tracestate %q of another trace, want none", state)
		}
		arrived = append(arrived, r.Header.Get("Traceparent"))
		w.WriteHeader([]int{503, 503, 200}[len(arrived)-1])
	}))
	defer server.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()

	r := record(t)
	req := get(t, server.URL)
	stale := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	req.Header["traceparent"] = []string{stale} // as no server would write it, and net/http sends it
	req.Header["Traceparent"] = []string{stale, stale}
	req.Header.Set("Tracestate", "vendor=stale")
	send(t, client(telemetry.Observe(backstay.New(retry.New(threeTries)), r.config()), transport.RoundTrip, nil), req)

	for i, s := range r.attempts(t, 3) {
		want := "00-" + s.SpanContext.TraceID().String() + "-" + s.SpanContext.SpanID().String() + "-01"
		if arrived[i] != want {
			t.Errorf("attempt %d carried %s, want %s", i+1, arrived[i], want)
		}
	}
	if got := req.Header.Values("Traceparent"); len(got) != 2 || got[0] != stale {
		t.Errorf("the caller's request now has %v, want what it had", got)
	}
}

// T-11
func TestTraceContextIsPassedOnWithoutSpans(t *testing.T) {
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, Remote: true})
	var got string
	base := func(r *http.Request) (*http.Response, error) {
		got = r.Header.Get("Traceparent")
		return response(200, ""), nil
	}
	cfg := telemetry.Config{TracerProvider: noop.NewTracerProvider(), Propagator: propagation.TraceContext{}}
	req := get(t, "http://a.example/")
	req = req.WithContext(trace.ContextWithRemoteSpanContext(t.Context(), sc))
	send(t, client(telemetry.Observe(nil, cfg), base, nil), req)
	if want := "00-01000000000000000000000000000000-0200000000000000-00"; got != want {
		t.Errorf("the attempt carried %q, want %q", got, want)
	}
}

// T-10
func TestAttemptSpansCanBeLeftToOthers(t *testing.T) {
	for _, row := range []struct {
		name     string
		traced   bool
		off      bool
		injected bool
	}{
		{"otelhttp underneath", true, false, false},
		{"switched off", false, true, true},
	} {
		r := record(t)
		var numbers []int
		var headers []string
		base := func(req *http.Request) (*http.Response, error) {
			n, ok := telemetry.AttemptNumber(req.Context())
			if !ok {
				t.Errorf("%s: AttemptNumber(ctx) is not known, want %d", row.name, len(numbers)+1)
			}
			numbers = append(numbers, n)
			headers = append(headers, req.Header.Get("Traceparent"))
			return response([]int{503, 200}[len(numbers)-1], ""), nil
		}
		cfg := r.config()
		cfg.NoAttemptSpans = row.off
		send(t, client(telemetry.Observe(backstay.New(retry.New(threeTries)), cfg), base, func(c *backstay.Call) { c.Traced = row.traced }), get(t, "http://a.example/"))
		r.attempts(t, 0)
		want(t, r.call(t), "resilience.call.attempts", "2")
		if len(numbers) != 2 || numbers[0] != 1 || numbers[1] != 2 {
			t.Errorf("%s: attempts have numbers %v, want [1 2]", row.name, numbers)
		}
		if (headers[0] != "") != row.injected {
			t.Errorf("%s: the attempt carried %q, want something: %v", row.name, headers[0], row.injected)
		}
	}
}

// T-10
func TestAttemptNumberIsReadableInsideTheAttempt(t *testing.T) {
	r := record(t)
	n, known := 0, false
	_, _ = backstay.Do(t.Context(), telemetry.Observe(backstay.New(retry.New(threeTries)), r.config()), "op", func(ctx context.Context) (int, error) {
		n, known = telemetry.AttemptNumber(ctx)
		return 0, errCallee
	})
	if n != 3 || !known {
		t.Errorf("AttemptNumber(ctx) in the last attempt = %d, %v, want 3, true", n, known)
	}
	if n, known := telemetry.AttemptNumber(t.Context()); n != 0 || known {
		t.Errorf("AttemptNumber(ctx) outside = %d, %v, want 0, false", n, known)
	}
}
