package telemetry

import (
	"reflect"
	"runtime/debug"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const scopeName = "github.com/backstay-go/backstay/telemetry"

// modulePath is where the build information has our version.
const modulePath = "github.com/backstay-go/backstay"

// followTracer returns the tracer of p, or of the global provider if p is nil.
// It is nil where the provider records nothing.
func followTracer(p trace.TracerProvider) *follower[trace.TracerProvider, trace.Tracer] {
	current := func() trace.TracerProvider { return p }
	if p == nil || isPlaceholder(p) {
		current = otel.GetTracerProvider
	}
	return &follower[trace.TracerProvider, trace.Tracer]{current: current, derive: tracerOf}
}

func tracerOf(p trace.TracerProvider) trace.Tracer {
	switch p.(type) {
	case nil, noop.TracerProvider, *noop.TracerProvider:
		return nil
	}
	if isPlaceholder(p) {
		return nil
	}
	return p.Tracer(scopeName, trace.WithInstrumentationVersion(version()), trace.WithSchemaURL(schemaURL))
}

// isPlaceholder reports whether v is what package otel has until the program
// sets something, and which then passes everything on to that.
func isPlaceholder(v any) bool {
	t := reflect.TypeOf(v)
	return t != nil && t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "go.opentelemetry.io/otel/internal/global"
}

// version returns the version of this module in the running program, or "" if
// that was not recorded.
var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return versionIn(info)
})

func versionIn(info *debug.BuildInfo) string {
	if info.Main.Path == modulePath {
		return info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == modulePath {
			return m.Version
		}
	}
	return ""
}
