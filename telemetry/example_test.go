package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
)

func Example() {
	memory := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(memory))

	policy := telemetry.Observe(
		backstay.New(retry.New(retry.Config{Backoff: retry.Constant(10 * time.Millisecond)})),
		telemetry.Config{TracerProvider: provider},
	)
	tries := 0
	getOrder := backstay.Wrap(policy, "orders.Get", func(context.Context, string) (string, error) {
		if tries++; tries < 3 {
			return "", &backstay.Error{Err: errors.New("no route"), Type: "connection_refused"}
		}
		return "42 apples", nil
	})
	order, err := getOrder(context.Background(), "7")
	fmt.Println(order, err)
	printTree(memory.GetSpans(), trace.SpanID{}, "")

	// Output:
	// 42 apples <nil>
	// orders.Get internal, call.attempts=3 call.outcome=success
	//   orders.Get client, error.type=connection_refused
	//   orders.Get client, retry.reason=connection_refused retry.delay=0.01 retry.delay_source=backoff error.type=connection_refused
	//   orders.Get client, retry.reason=connection_refused retry.delay=0.01 retry.delay_source=backoff
}

func printTree(spans tracetest.SpanStubs, parent trace.SpanID, indent string) {
	for _, s := range spans {
		if s.Parent.SpanID() != parent {
			continue
		}
		fmt.Print(indent, s.Name, " ", s.SpanKind, ",")
		for _, a := range s.Attributes {
			fmt.Print(" ", strings.TrimPrefix(string(a.Key), "resilience."), "=", a.Value.String())
		}
		fmt.Println()
		printTree(spans, s.SpanContext.SpanID(), indent+"  ")
	}
}
