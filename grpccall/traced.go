package grpccall

import (
	"reflect"
	"strings"

	"google.golang.org/grpc"
)

// traced reports whether a stats handler of the channel makes spans. gRPC does
// not tell which handlers there are, so this looks into its fields; where they
// are called otherwise one day, Config.Traced is what is left, and a test says
// so.
func traced(cc *grpc.ClientConn) bool {
	handlers := reflect.ValueOf(cc).Elem()
	for _, name := range []string{"dopts", "copts", "StatsHandlers"} {
		if handlers.Kind() != reflect.Struct {
			return false
		}
		handlers = handlers.FieldByName(name)
	}
	if handlers.Kind() != reflect.Slice {
		return false
	}
	for i := range handlers.Len() {
		if h := handlers.Index(i); h.Kind() == reflect.Interface && !h.IsNil() && makesSpans(h.Elem().Type()) {
			return true
		}
	}
	return false
}

// makesSpans reports whether a stats handler of this type does. grpc-go has two
// in one package, and the one for metrics must not be taken for the other: then
// nobody would tell the server the trace context.
func makesSpans(handler reflect.Type) bool {
	if handler.Kind() == reflect.Pointer {
		handler = handler.Elem()
	}
	pkg := handler.PkgPath()
	return strings.HasSuffix(pkg, "/otelgrpc") ||
		strings.HasSuffix(pkg, "grpc/stats/opentelemetry") && handler.Name() != "clientMetricsHandler"
}
