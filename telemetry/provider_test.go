package telemetry_test

import (
	"context"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/telemetry"
)

func nothing(context.Context, int) (int, error) { return 0, nil }

// T-12
func TestGlobalsAreReadWhenNeeded(t *testing.T) {
	tracers, propagators := otel.GetTracerProvider(), otel.GetTextMapPropagator()
	defer otel.SetTracerProvider(tracers)
	defer otel.SetTextMapPropagator(propagators)

	var carried string
	base := func(r *http.Request) (*http.Response, error) {
		carried = r.Header.Get("Traceparent")
		return response(200, ""), nil
	}
	defaults := client(telemetry.Observe(nil, telemetry.Config{}), base, nil)
	given := client(telemetry.Observe(nil, telemetry.Config{TracerProvider: tracers, Propagator: propagators}), base, nil)
	send(t, defaults, get(t, "http://a.example/"))
	if carried != "" {
		t.Errorf("with nothing set the attempt carried %q, want nothing", carried)
	}
	for _, do := range []func(*http.Request) (*http.Response, error){defaults, given} {
		for range 2 { // a later provider replaces an earlier one
			r := record(t)
			otel.SetTracerProvider(r)
			otel.SetTextMapPropagator(propagation.TraceContext{})
			carried = ""
			send(t, do, get(t, "http://a.example/"))
			if r.attempts(t, 1); carried == "" {
				t.Errorf("the attempt carried no traceparent, want one")
			}
		}
	}
}

// T-12
func TestSDKIsForTestsOnly(t *testing.T) {
	for file, imports := range imports(t) {
		for _, path := range imports {
			if strings.HasPrefix(path, "go.opentelemetry.io/otel/sdk") {
				t.Errorf("%s imports %s, want the API only", file, path)
			}
		}
	}
}

// T-9
func TestSemanticConventionsAreInOneFile(t *testing.T) {
	var users []string
	for file, imports := range imports(t) {
		for _, path := range imports {
			if strings.HasPrefix(path, "go.opentelemetry.io/otel/semconv/") {
				users = append(users, file)
			}
		}
	}
	if len(users) != 1 || users[0] != "semconv.go" {
		t.Errorf("semconv is imported by %v, want once, by semconv.go", users)
	}
}

// imports returns what the files of this package import, tests left out.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are %d files here, error %v", len(files), err)
	}
	found := map[string][]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			found[file] = append(found[file], strings.Trim(i.Path.Value, `"`))
		}
	}
	return found
}

// T-13
func TestScope(t *testing.T) {
	r := record(t)
	_, _ = backstay.Do(t.Context(), telemetry.Observe(nil, r.config()), "op", func(context.Context) (int, error) { return 0, nil })
	scope := r.call(t).InstrumentationScope
	if want := "github.com/backstay-go/backstay/telemetry"; scope.Name != want {
		t.Errorf("scope name = %s, want %s", scope.Name, want)
	}
	if want := "https://opentelemetry.io/schemas/1.43.0"; scope.SchemaURL != want {
		t.Errorf("schema URL = %s, want %s", scope.SchemaURL, want)
	}
}

// T-14
func TestNoOpCostsNoAllocation(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	bare := backstay.Wrap(nil, "op", nothing)
	for name, cfg := range map[string]telemetry.Config{
		"nothing set": {},
		"no-op":       {TracerProvider: noop.NewTracerProvider(), Propagator: propagation.NewCompositeTextMapPropagator()},
		"named":       {TracerProvider: noop.NewTracerProvider(), Policy: "orders"},
	} {
		observed := backstay.Wrap(telemetry.Observe(nil, cfg), "op", nothing)
		without := testing.AllocsPerRun(1000, func() { _, _ = bare(t.Context(), 0) })
		with := testing.AllocsPerRun(1000, func() { _, _ = observed(t.Context(), 0) })
		if with != without {
			t.Errorf("%s: a call makes %v allocations, want the %v it makes without telemetry", name, with, without)
		}
	}
	req := get(t, "http://a.example/")
	base := answer(200)
	bareHTTP, observed := client(nil, base, nil), client(telemetry.Observe(nil, telemetry.Config{}), base, nil)
	without := testing.AllocsPerRun(1000, func() { send(t, bareHTTP, req) })
	with := testing.AllocsPerRun(1000, func() { send(t, observed, req) })
	if with != without {
		t.Errorf("an HTTP call makes %v allocations, want the %v it makes without telemetry", with, without)
	}
}

// T-14
func TestNoSpanIsStartedForNobody(t *testing.T) {
	p := &provider{}
	cfg := telemetry.Config{TracerProvider: p}
	send(t, client(telemetry.Observe(nil, cfg), answer(503), nil), get(t, "http://a.example/"))
	if p.started != 2 {
		t.Errorf("%d spans were started, want 2", p.started)
	}
	if p.written != 0 {
		t.Errorf("spans that are not recorded were written to %d times, want 0", p.written)
	}
}

// A provider makes spans that are not recorded, and counts.
type provider struct {
	noop.TracerProvider
	started, written int
}

func (p *provider) Tracer(string, ...trace.TracerOption) trace.Tracer { return &tracer{of: p} }

type tracer struct {
	noop.Tracer
	of *provider
}

func (t *tracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.of.started++
	return ctx, &span{of: t.of}
}

type span struct {
	noop.Span
	of *provider
}

func (s *span) SetAttributes(...attribute.KeyValue)     { s.of.written++ }
func (s *span) AddEvent(string, ...trace.EventOption)   { s.of.written++ }
func (s *span) RecordError(error, ...trace.EventOption) { s.of.written++ }

// A provider that cannot be compared cannot be remembered either.
func TestProviderThatCannotBeCompared(t *testing.T) {
	r := record(t)
	do := backstay.Wrap(telemetry.Observe(nil, telemetry.Config{TracerProvider: incomparable{r.TracerProvider, nil}}), "op", nothing)
	for range 2 {
		_, _ = do(t.Context(), 0)
	}
	r.attempts(t, 2)
}

type incomparable struct {
	*sdktrace.TracerProvider
	_ []int
}
