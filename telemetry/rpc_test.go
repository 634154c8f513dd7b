package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

const method = "orders.v1.Orders/Get"

// An rpc is the request of an RPC.
type rpc struct{ traced bool }

func (*rpc) RPC() (system, name string) { return "grpc", method }

func (*rpc) SetHeader(ctx context.Context, key, value string) context.Context {
	md := maps.Clone(metadataOf(ctx))
	if md == nil {
		md = map[string]string{}
	}
	md[key] = value
	if value == "" {
		delete(md, key)
	}
	return context.WithValue(ctx, metadata{}, md)
}

// metadata is the key under which a context has what an attempt sends besides
// its message.
type metadata struct{}

func metadataOf(ctx context.Context) map[string]string {
	md, _ := ctx.Value(metadata{}).(map[string]string)
	return md
}

// invoker makes one attempt of an RPC.
type invoker func(ctx context.Context) error

// rpcs makes RPCs under p, as an adapter does.
func rpcs(p *backstay.Policy, invoke invoker) func(context.Context, *rpc) (int, error) {
	return backstay.Bind(p, backstay.Op[*rpc, int]{
		Name:    method,
		Prepare: func(call *backstay.Call, r *rpc) { call.Target, call.Traced = "orders:443", r.traced },
		Do:      func(ctx context.Context, _ *backstay.Call, _ *rpc) (int, error) { return 0, invoke(ctx) },
	})
}

// ends returns an invoker whose attempts end with the errors, one after the
// other. It is for attempts that do not overlap.
func ends(errs ...error) invoker {
	n := 0
	return func(context.Context) error {
		n++
		return errs[n-1]
	}
}

// answered is a status that a server has sent.
func answered(code string) error {
	return &backstay.Error{Err: errCallee, Class: backstay.Transient, Type: code}
}

// T-2, T-3
func TestOneClientSpanForEachRPCOrForEachAttempt(t *testing.T) {
	for _, row := range []struct {
		name             string
		traced, off      bool
		call             trace.SpanKind
		client, internal int
	}{
		{"nothing underneath", false, false, trace.SpanKindClient, 1, 3},
		{"spans of attempts switched off", false, true, trace.SpanKindClient, 1, 0},
		{"otelgrpc underneath", true, false, trace.SpanKindInternal, 3, 1},
	} {
		r := record(t)
		outcomes := ends(answered("UNAVAILABLE"), answered("UNAVAILABLE"), nil)
		invoke := func(ctx context.Context) error {
			if row.traced { // as otelgrpc does
				_, span := r.Tracer("otelgrpc").Start(ctx, method, trace.WithSpanKind(trace.SpanKindClient))
				defer span.End()
			}
			return outcomes(ctx)
		}
		cfg := r.config()
		cfg.NoAttemptSpans = row.off
		if _, err := rpcs(telemetry.Observe(backstay.New(retry.New(threeTries)), cfg), invoke)(t.Context(), &rpc{row.traced}); err != nil {
			t.Fatal(err)
		}
		r.only(t, trace.SpanKindClient, row.client)
		r.only(t, trace.SpanKindInternal, row.internal)
		call := r.root(t)
		if call.Name != method || call.SpanKind != row.call {
			t.Errorf("%s: the call is %v %q, want %v %s", row.name, call.SpanKind, call.Name, row.call, method)
		}
		want(t, call, "resilience.call.attempts", "3", "resilience.call.outcome", "success", "error.type", "")
		for _, s := range r.memory.GetSpans() {
			if s.Name != method {
				t.Errorf("%s: a span is named %q, want %s", row.name, s.Name, method)
			}
			if s.Parent.IsValid() && s.Parent.SpanID() != call.SpanContext.SpanID() {
				t.Errorf("%s: an attempt is under %v, want %v, the call", row.name, s.Parent.SpanID(), call.SpanContext.SpanID())
			}
		}
	}
}

// root returns the one span that is under no other.
func (r *recorder) root(t testing.TB) (root tracetest.SpanStub) {
	t.Helper()
	n := 0
	for _, s := range r.memory.GetSpans() {
		if !s.Parent.IsValid() {
			root = s
			n++
		}
	}
	if n != 1 {
		t.Fatalf("there are %d spans under no other, want 1", n)
	}
	return root
}

// T-3
func TestAttemptsOfAnRPCAreClientsWhereTheCallIsNot(t *testing.T) {
	for name, outer := range map[string]*backstay.Policy{
		"no call":        nil,
		"another's call": backstay.New(telemetry.Call(record(t).config())),
	} {
		r := record(t)
		do := rpcs(backstay.New(telemetry.Attempt(r.config())), ends(nil))
		_, err := backstay.Do(t.Context(), outer, "outer", func(ctx context.Context) (int, error) { return do(ctx, &rpc{}) })
		if err != nil {
			t.Fatal(err)
		}
		s := r.attempts(t, 1)[0]
		if s.Name != method {
			t.Errorf("%s: the attempt is named %q, want %s", name, s.Name, method)
		}
		want(t, s, "rpc.system.name", "grpc", "rpc.method", method, "rpc.response.status_code", "OK", "server.address", "orders")
	}
}

// T-7
func TestAttributesOfRPC(t *testing.T) {
	r := record(t)
	cfg := r.config()
	cfg.Policy = "shop"
	picks := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			call.Try("10.0.0.1:8443", nil)
			return next(ctx, call)
		}
	})
	if _, err := rpcs(telemetry.Observe(backstay.New(picks), cfg), ends(nil))(t.Context(), &rpc{}); err != nil {
		t.Fatal(err)
	}
	call, attempt := r.attempts(t, 1)[0], r.call(t)
	for _, row := range []struct {
		span tracetest.SpanStub
		has  map[string]string
	}{
		{call, map[string]string{
			"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": "OK",
			"server.address": "orders", "server.port": "443",
			"resilience.policy.name": "shop", "resilience.call.attempts": "1", "resilience.call.outcome": "success",
		}},
		{attempt, map[string]string{
			"rpc.response.status_code": "OK",
			"network.peer.address":     "10.0.0.1", "network.peer.port": "8443",
			"resilience.policy.name": "shop",
		}},
	} {
		got := map[string]string{}
		for _, a := range row.span.Attributes {
			got[string(a.Key)] = a.Value.String()
		}
		if !maps.Equal(got, row.has) {
			t.Errorf("the %v span has %v, want %v", row.span.SpanKind, got, row.has)
		}
	}
}

func TestSamplerSeesTheRPC(t *testing.T) {
	var seen sampler
	r := record(t, sdktrace.WithSampler(&seen))
	_, _ = rpcs(backstay.New(telemetry.Call(r.config())), ends(nil))(t.Context(), &rpc{})
	want := []string{"rpc.method", "rpc.system.name", "server.address", "server.port"}
	if slices.Sort(seen.keys); !slices.Equal(seen.keys, want) {
		t.Errorf("the sampler saw %v, want %v", seen.keys, want)
	}
}

// T-5, T-6
func TestErrorTypesOfRPCs(t *testing.T) {
	type row struct {
		err       error
		typ, code string
	}
	rows := []row{
		{nil, "", "OK"},
		{errCallee, "_OTHER", ""},
		{answered("joe@example.com"), "_OTHER", ""},
		{answered("Unavailable"), "_OTHER", ""},
		{answered("connection_refused"), "connection_refused", ""},
		{answered("dns_not_found"), "dns_not_found", ""},
		{answered("tls"), "tls", ""},
		{&timeout.Error{Scope: "attempt"}, "timeout", ""},
		{fmt.Errorf("wrapped: %w", answered("NOT_FOUND")), "NOT_FOUND", "NOT_FOUND"},
	}
	for _, code := range []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	} {
		rows = append(rows, row{answered(code), code, code})
	}
	for _, row := range rows {
		r := record(t)
		_, _ = rpcs(telemetry.Observe(nil, r.config()), ends(row.err))(t.Context(), &rpc{})
		status := codes.Error
		if row.err == nil {
			status = codes.Unset
		}
		for _, s := range append(r.attempts(t, 1), r.call(t)) {
			want(t, s, "error.type", row.typ, "rpc.response.status_code", row.code)
			if s.Status.Code != status || s.Status.Description != "" {
				t.Errorf("after %v: status of the %v span = %v %q, want %v", row.err, s.SpanKind, s.Status.Code, s.Status.Description, status)
			}
			if all := fmt.Sprint(s.Attributes, s.Events); strings.Contains(all, "joe@") {
				t.Errorf("the %v span tells the text of the error: %v", s.SpanKind, all)
			}
		}
	}
}

// An RPC that the policy turns away has no attempt, and no code either: no
// server has sent one.
// T-5
func TestRejectedRPCHasAnErrorTypeOfOurs(t *testing.T) {
	open := breaker.New(breaker.Config{Name: "b"})
	open.ForceOpen()
	for _, traced := range []bool{false, true} {
		r := record(t)
		_, err := rpcs(telemetry.Observe(backstay.New(open), r.config()), ends())(t.Context(), &rpc{traced})
		if !errors.Is(err, breaker.ErrOpen) {
			t.Fatalf("call() = %v, want %v", err, breaker.ErrOpen)
		}
		want(t, r.root(t), "error.type", "circuit_open", "rpc.response.status_code", "", "resilience.call.outcome", "circuit_open", "resilience.call.attempts", "0")
	}
}

// T-6
func TestCancellationOfAnRPCByTheCallerIsNoError(t *testing.T) {
	r := record(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := rpcs(telemetry.Observe(backstay.New(retry.New(threeTries)), r.config()), func(ctx context.Context) error {
		cancel()
		return &backstay.Error{Err: ctx.Err(), Class: backstay.Canceled}
	})(ctx, &rpc{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("call() = %v, want %v", err, context.Canceled)
	}
	for _, s := range append(r.attempts(t, 1), r.call(t)) {
		if want(t, s, "error.type", "", "rpc.response.status_code", ""); s.Status.Code != codes.Unset {
			t.Errorf("status of the %v span = %v, want Unset", s.SpanKind, s.Status.Code)
		}
	}
	want(t, r.attempts(t, 1)[0], "resilience.call.outcome", "canceled")
}

// T-6, T-15
func TestRetriedRPC(t *testing.T) {
	r := record(t)
	p := backstay.New(retry.New(retry.Config{MaxAttempts: 2, Backoff: retry.Constant(time.Millisecond)}))
	do := rpcs(telemetry.Observe(p, r.config()), ends(answered("UNAVAILABLE"), nil, answered("UNAVAILABLE"), answered("ABORTED")))
	_, _ = do(t.Context(), &rpc{})
	_, _ = do(t.Context(), &rpc{})

	calls, attempts := r.attempts(t, 2), r.only(t, trace.SpanKindInternal, 4)
	for i, row := range []struct{ typ, code, reason, delay string }{
		{"UNAVAILABLE", "UNAVAILABLE", "", ""},
		{"", "OK", "UNAVAILABLE", "0.001"},
		{"UNAVAILABLE", "UNAVAILABLE", "", ""},
		{"ABORTED", "ABORTED", "UNAVAILABLE", "0.001"},
	} {
		want(t, attempts[i], "error.type", row.typ, "rpc.response.status_code", row.code,
			"resilience.retry.reason", row.reason, "resilience.retry.delay", row.delay, "http.request.resend_count", "")
	}
	for i, row := range []struct {
		typ, code, outcome string
		status             codes.Code
	}{
		{"", "OK", "success", codes.Unset},
		{"ABORTED", "ABORTED", "attempts_exhausted", codes.Error},
	} {
		want(t, calls[i], "error.type", row.typ, "rpc.response.status_code", row.code, "resilience.call.outcome", row.outcome)
		if calls[i].Status.Code != row.status {
			t.Errorf("status of call %d = %v, want %v", i+1, calls[i].Status.Code, row.status)
		}
	}
	want(t, attempts[3], "resilience.retry.suppressed_reason", "attempts")
}

// T-2
func TestHedgedAttemptsOfAnRPCOverlapAsSiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		_, err := rpcs(telemetry.Observe(backstay.New(hedge{}), r.config()), func(ctx context.Context) error {
			if n, _ := telemetry.AttemptNumber(ctx); n == 1 {
				<-ctx.Done()
				return &backstay.Error{Err: ctx.Err(), Class: backstay.Canceled}
			}
			<-time.After(time.Second)
			return nil
		})(t.Context(), &rpc{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		call, attempts := r.attempts(t, 1)[0], r.only(t, trace.SpanKindInternal, 2)
		a, b := attempts[0], attempts[1]
		if !a.StartTime.Before(b.EndTime) || !b.StartTime.Before(a.EndTime) {
			t.Errorf("attempts lasted %v to %v and %v to %v, want an overlap", a.StartTime, a.EndTime, b.StartTime, b.EndTime)
		}
		for _, s := range attempts {
			if s.Parent.SpanID() != call.SpanContext.SpanID() || s.Status.Code != codes.Unset || text(s, "error.type") != "" {
				t.Errorf("attempt has parent %v, status %v, error.type %q; want %v, Unset and none", s.Parent.SpanID(), s.Status.Code, text(s, "error.type"), call.SpanContext.SpanID())
			}
		}
		want(t, call, "rpc.response.status_code", "OK", "resilience.call.attempts", "2")
	})
}

// T-11
func TestEachAttemptOfAnRPCCarriesItsOwnSpan(t *testing.T) {
	remote := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	for _, row := range []struct {
		name              string
		traced, off, noop bool
		carried           func(r *recorder) []trace.SpanContext // nil: nothing new
	}{
		{"the attempts' spans", false, false, false, func(r *recorder) []trace.SpanContext {
			a := r.only(t, trace.SpanKindInternal, 2)
			return []trace.SpanContext{a[0].SpanContext, a[1].SpanContext}
		}},
		{"the call's span", false, true, false, func(r *recorder) []trace.SpanContext {
			c := r.attempts(t, 1)[0].SpanContext
			return []trace.SpanContext{c, c}
		}},
		{"the caller's span", false, false, true, func(*recorder) []trace.SpanContext { return []trace.SpanContext{remote, remote} }},
		{"left to otelgrpc", true, false, false, nil},
	} {
		r := record(t)
		cfg := r.config()
		cfg.NoAttemptSpans = row.off
		if row.noop {
			cfg.TracerProvider = noop.NewTracerProvider()
		}
		var carried []string
		outcomes := ends(answered("UNAVAILABLE"), nil)
		ctx := (&rpc{}).SetHeader(trace.ContextWithRemoteSpanContext(t.Context(), remote), "traceparent", "stale")
		ctx = (&rpc{}).SetHeader(ctx, "tracestate", "stale")
		do := rpcs(telemetry.Observe(backstay.New(retry.New(threeTries)), cfg), func(ctx context.Context) error {
			carried = append(carried, metadataOf(ctx)["traceparent"])
			if stale := metadataOf(ctx)["tracestate"] != ""; stale != (carried[0] == "stale") {
				t.Errorf("%s: the caller's tracestate is beside the traceparent %s", row.name, carried[0])
			}
			return outcomes(ctx)
		})
		if _, err := do(ctx, &rpc{row.traced}); err != nil {
			t.Fatal(err)
		}
		wanted := []string{"stale", "stale"}
		if row.carried != nil {
			for i, sc := range row.carried(r) {
				wanted[i] = fmt.Sprintf("00-%v-%v-01", sc.TraceID(), sc.SpanID())
			}
		}
		if !slices.Equal(carried, wanted) {
			t.Errorf("%s: the attempts carried %v, want %v", row.name, carried, wanted)
		}
		if got := metadataOf(ctx)["traceparent"]; got != "stale" {
			t.Errorf("%s: the caller's metadata has %q now, want what it had", row.name, got)
		}
	}
}

// What is above the call's span may turn its failure into a success.
func TestCodeOfAFailedRPCStaysWhereAFallbackSavesIt(t *testing.T) {
	r := record(t)
	do := rpcs(backstay.New(fallback, telemetry.Call(r.config())), ends(answered("UNAVAILABLE")))
	if v, err := do(t.Context(), &rpc{}); v != 1 || err != nil {
		t.Fatalf("call() = %d, %v, want 1, nil", v, err)
	}
	want(t, r.attempts(t, 1)[0], "error.type", "UNAVAILABLE", "rpc.response.status_code", "UNAVAILABLE")
}

// A stream has its code at its end.
func TestSpansOfAStreamEndWithIt(t *testing.T) {
	for _, row := range []struct {
		err       error
		typ, code string
		status    codes.Code
	}{
		{nil, "", "OK", codes.Unset},
		{answered("DATA_LOSS"), "DATA_LOSS", "DATA_LOSS", codes.Error},
		{errCallee, "_OTHER", "", codes.Error},
		{context.Canceled, "", "", codes.Unset}, // the caller's, of a stream it has read enough of
	} {
		synctest.Test(t, func(t *testing.T) {
			r := record(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			open := backstay.Bind(telemetry.Observe(nil, r.config()), backstay.Op[*rpc, func(error)]{
				Name: method,
				Do:   func(context.Context, *backstay.Call, *rpc) (func(error), error) { return func(error) {}, nil },
				Hold: func(_ func(error), done func(error)) func(error) { return done },
			})
			end, err := open(ctx, &rpc{})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(r.memory.GetSpans()); n != 0 {
				t.Fatalf("%d spans have ended before the stream, want 0", n)
			}
			<-time.After(time.Minute)
			if row.err == context.Canceled {
				cancel()
			}
			end(row.err)
			for _, s := range append(r.attempts(t, 1), r.call(t)) {
				want(t, s, "error.type", row.typ, "rpc.response.status_code", row.code)
				if took := s.EndTime.Sub(s.StartTime); took != time.Minute || s.Status.Code != row.status {
					t.Errorf("after %v: the %v span took %v and has status %v, want 1m0s and %v", row.err, s.SpanKind, took, s.Status.Code, row.status)
				}
			}
		})
	}
}

// T-14
func TestNoOpCostsRPCsNoAllocation(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	ctx, req := t.Context(), &rpc{}
	bare := rpcs(nil, always(nil))
	without := testing.AllocsPerRun(1000, func() { _, _ = bare(ctx, req) })
	for _, p := range []propagation.TextMapPropagator{propagation.NewCompositeTextMapPropagator(), propagation.TraceContext{}} {
		cfg := telemetry.Config{TracerProvider: noop.NewTracerProvider(), Propagator: p, Policy: "shop"}
		observed := rpcs(telemetry.Observe(nil, cfg), always(nil))
		if with := testing.AllocsPerRun(1000, func() { _, _ = observed(ctx, req) }); with != without {
			t.Errorf("with a %T an RPC makes %v allocations, want the %v it makes without telemetry", p, with, without)
		}
	}
}

// T-16
func TestRPCThatPanicsInTelemetryGoesOn(t *testing.T) {
	for _, in := range []string{"RPC", "SetHeader", "no context"} {
		r := record(t)
		entered := false
		do := backstay.Bind(telemetry.Observe(nil, r.config()), backstay.Op[brokenRPC, int]{
			Do: func(ctx context.Context, _ *backstay.Call, _ brokenRPC) (int, error) {
				entered = ctx != nil
				return 7, nil
			},
		})
		if v, err := do(t.Context(), brokenRPC{in}); v != 7 || err != nil || !entered {
			t.Errorf("%s panics: call() = %d, %v, with a context: %v, want 7, nil, true", in, v, err, entered)
		}
	}
}

type brokenRPC struct{ in string }

func (b brokenRPC) RPC() (system, name string) {
	if b.in == "RPC" {
		panic("RPC")
	}
	return "grpc", method
}

func (b brokenRPC) SetHeader(context.Context, string, string) context.Context {
	if b.in == "SetHeader" {
		panic("SetHeader")
	}
	return nil
}
