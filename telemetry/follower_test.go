package telemetry

import (
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

func TestFollowerDerivesOncePerValue(t *testing.T) {
	one, two := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}), propagation.NewCompositeTextMapPropagator(propagation.Baggage{})
	none := propagation.NewCompositeTextMapPropagator()
	type unique struct {
		propagation.TraceContext
		_ []int
	}
	var now propagation.TextMapPropagator
	n := 0
	f := follower[propagation.TextMapPropagator, int]{
		current: func() propagation.TextMapPropagator { return now },
		derive:  func(propagation.TextMapPropagator) int { n++; return n },
	}
	for i, row := range []struct {
		value propagation.TextMapPropagator
		want  int
	}{
		{nil, 1}, {nil, 1}, {one, 2}, {one, 2}, {two, 3}, {one, 4}, {nil, 5}, {none, 6}, {none, 6},
		{propagation.TraceContext{}, 7}, {propagation.TraceContext{}, 7}, {one, 8},
		{unique{}, 9}, {unique{}, 10}, {propagation.Baggage{}, 11}, // what cannot be told apart is derived anew
	} {
		now = row.value
		if got := f.get(); got != row.want {
			t.Errorf("step %d, %T: get() = %d, want %d", i, row.value, got, row.want)
		}
	}
}

// T-14
func TestNothingIsMadeOfProvidersThatRecordNothing(t *testing.T) {
	for _, p := range []trace.TracerProvider{nil, noop.NewTracerProvider(), &noop.TracerProvider{}} {
		if got := tracerOf(p); got != nil {
			t.Errorf("tracerOf(%T) = %T, want nil", p, got)
		}
	}
	if got := propagatorOf(propagation.NewCompositeTextMapPropagator()); got != nil {
		t.Errorf("propagatorOf(an empty one) = %v, want nil", got)
	}
}
