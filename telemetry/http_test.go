package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

// T-1, T-4
func TestNamesAndMethods(t *testing.T) {
	for _, row := range []struct{ method, pattern, name, known, original, template string }{
		{"GET", "", "GET", "GET", "", ""},
		{"", "", "GET", "GET", "", ""},
		{"QUERY", "/orders/{id}", "QUERY /orders/{id}", "QUERY", "", "/orders/{id}"},
		{"POST", "POST /orders", "POST /orders", "POST", "", "/orders"},
		{"get", "", "HTTP", "_OTHER", "get", ""},
		{"PURGE", "/cache/{key}", "HTTP /cache/{key}", "_OTHER", "PURGE", "/cache/{key}"},
	} {
		r := record(t)
		req := get(t, "http://a.example/orders/7")
		req.Method, req.Pattern = row.method, row.pattern
		send(t, client(telemetry.Observe(nil, r.config()), answer(200), nil), req)
		s := r.attempts(t, 1)[0]
		if s.Name != row.name {
			t.Errorf("%s with template %q is named %q, want %q", row.method, row.pattern, s.Name, row.name)
		}
		want(t, s, "http.request.method", row.known, "http.request.method_original", row.original, "url.template", row.template)
	}
}

// T-4, T-8
func TestAttributesOfHTTP(t *testing.T) {
	r := record(t)
	req := get(t, "http://joe:secret@a.example:8080/b?sig=secret")
	base := func(*http.Request) (*http.Response, error) {
		resp := response(200, "ok")
		resp.Proto = "HTTP/2.0"
		return resp, nil
	}
	cfg := r.config()
	cfg.Policy = "orders"
	send(t, client(telemetry.Observe(nil, cfg), base, nil), req)
	s := r.attempts(t, 1)[0]
	want(t, s,
		"http.request.method", "GET",
		"url.full", "http://REDACTED:REDACTED@a.example:8080/b?sig=REDACTED",
		"server.address", "a.example",
		"server.port", "8080",
		"http.response.status_code", "200",
		"network.protocol.name", "http",
		"network.protocol.version", "2",
		"error.type", "",
		"resilience.policy.name", "orders",
	)
	want(t, r.call(t), "resilience.policy.name", "orders")
}

// T-4
func TestSamplerSeesWhatItNeeds(t *testing.T) {
	var seen sampler
	r := record(t, sdktrace.WithSampler(&seen))
	send(t, client(telemetry.Observe(nil, r.config()), answer(200), nil), get(t, "https://a.example/b"))
	want := []string{"http.request.method", "server.address", "server.port", "url.full"}
	if slices.Sort(seen.keys); !slices.Equal(seen.keys, want) {
		t.Errorf("the sampler saw %v, want %v", seen.keys, want)
	}
}

type sampler struct{ keys []string }

func (s *sampler) Description() string { return "sampler" }

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	for _, a := range p.Attributes {
		s.keys = append(s.keys, string(a.Key))
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
}

// T-5, T-6
func TestErrorTypes(t *testing.T) {
	typed := func(typ string) error { return &backstay.Error{Err: errCallee, Type: typ} }
	for _, row := range []struct {
		status   int
		err      error
		typ, set string
	}{
		{200, nil, "", "Unset"},
		{302, nil, "", "Unset"},
		{404, nil, "404", "Error"},
		{429, nil, "429", "Error"},
		{503, nil, "503", "Error"},
		{0, errCallee, "_OTHER", "Error"},
		{0, typed("joe@example.com"), "_OTHER", "Error"},
		{0, typed("connection_refused"), "connection_refused", "Error"},
		{0, typed("connection_reset"), "connection_reset", "Error"},
		{0, typed("dns_not_found"), "dns_not_found", "Error"},
		{0, typed("tls"), "tls", "Error"},
		{0, typed("007"), "_OTHER", "Error"},
		{0, typed("-12"), "_OTHER", "Error"},
		{0, context.DeadlineExceeded, "timeout", "Error"},
		{0, &timeout.Error{Scope: "attempt"}, "timeout", "Error"},
		{0, fmt.Errorf("by the callee itself: %w", context.Canceled), "canceled", "Error"},
	} {
		r := record(t)
		base := func(*http.Request) (*http.Response, error) {
			if row.err != nil {
				return nil, row.err
			}
			return response(row.status, ""), nil
		}
		send(t, client(telemetry.Observe(nil, r.config()), base, nil), get(t, "http://a.example/"))
		for _, s := range append(r.attempts(t, 1), r.call(t)) {
			if want(t, s, "error.type", row.typ); s.Status.Code.String() != row.set || s.Status.Description != "" {
				t.Errorf("after %d, %v: status = %v %q, want %s", row.status, row.err, s.Status.Code, s.Status.Description, row.set)
			}
			if all := fmt.Sprint(s.Attributes, s.Events); strings.Contains(all, "joe@") {
				t.Errorf("span tells the text of the error: %v", all)
			}
		}
	}
}

// T-5, T-6
func TestTimeoutsAreNoCancellations(t *testing.T) {
	byCause := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			ctx, cancel := context.WithCancelCause(ctx)
			defer time.AfterFunc(time.Second, func() { cancel(context.DeadlineExceeded) }).Stop()
			return next(ctx, call)
		}
	})
	for name, p := range map[string]*backstay.Policy{
		"call":          backstay.New(timeout.Call(time.Second)),
		"attempt":       backstay.New(timeout.Attempt(time.Second)),
		"whole attempt": backstay.New(timeout.WholeAttempt(time.Second)),
		"by cause":      backstay.New(byCause),
	} {
		for _, err := range []error{context.DeadlineExceeded, context.Canceled} { // net/http returns either
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				base := func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done()
					return nil, err
				}
				send(t, client(telemetry.Observe(p, r.config()), base, nil), get(t, "http://a.example/"))
				s := r.attempts(t, 1)[0]
				if s.Status.Code != codes.Error || text(s, "error.type") != "timeout" {
					t.Errorf("%s, %v: attempt has status %v, error.type %q, want Error and timeout", name, err, s.Status.Code, text(s, "error.type"))
				}
			})
		}
	}
}

// T-7
func TestServerIsTheAuthorityAndPeerTheEndpoint(t *testing.T) {
	for _, row := range []struct{ url, host, endpoint, server, port, peer, peerPort string }{
		{"http://a.example/", "", "", "a.example", "80", "", ""},
		{"https://a.example/", "", "10.0.0.1:8443", "a.example", "443", "10.0.0.1", "8443"},
		{"https://a.example:444/", "", "[fe80::1]:8443", "a.example", "444", "fe80::1", "8443"},
		{"http://[::1]/", "", "10.0.0.1", "::1", "80", "10.0.0.1", ""},
		{"http://10.0.0.1:8080/", "a.example", "", "a.example", "80", "", ""},
		{"http://10.0.0.1:8080/", "a.example:81", "", "a.example", "81", "", ""},
	} {
		r := record(t)
		req := get(t, row.url)
		if row.host != "" {
			req.Host = row.host
		}
		picks := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.Try(row.endpoint, nil)
				return next(ctx, call)
			}
		})
		send(t, client(telemetry.Observe(backstay.New(picks), r.config()), answer(200), nil), req)
		want(t, r.attempts(t, 1)[0], "server.address", row.server, "server.port", row.port, "network.peer.address", row.peer, "network.peer.port", row.peerPort)
	}
}

func TestPlainFunctionHasNoHTTPAttributes(t *testing.T) {
	r := record(t)
	_, err := backstay.Do(t.Context(), telemetry.Observe(nil, r.config()), "orders.Get", func(context.Context) (int, error) { return 0, errCallee })
	if !errors.Is(err, errCallee) {
		t.Fatalf("call() = %v, want %v", err, errCallee)
	}
	s := r.attempts(t, 1)[0]
	if s.Name != "orders.Get" || s.SpanKind != trace.SpanKindClient {
		t.Errorf("attempt is %v %q, want client orders.Get", s.SpanKind, s.Name)
	}
	for _, a := range s.Attributes {
		if strings.HasPrefix(string(a.Key), "http.") || strings.HasPrefix(string(a.Key), "url.") {
			t.Errorf("attempt of a plain function has %s", a.Key)
		}
	}
	want(t, s, "error.type", "_OTHER")
}
