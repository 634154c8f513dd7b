package bench

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	nometrics "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	experimental "google.golang.org/grpc/experimental/opentelemetry"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats/opentelemetry"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/telemetry"
)

// A tracing is what else makes spans on a channel, and the spans that there are
// then of a call of 2 attempts: each with who made it, and under the one that it
// belongs to.
type tracing struct {
	name  string
	with  func(*spans) grpc.DialOption // nil for nothing
	first bool                         // before our options
	adds  bool                         // its traceparent to one that the caller has put there, which stays
	want  string
}

// grpccall reads from private fields of grpc.ClientConn which handlers there are
// on a channel. When grpc-go calls these otherwise, the attempts have a span of
// ours besides.
var tracings = []tracing{
	{name: "nothing", want: `
client telemetry
  internal telemetry
    server otelgrpc
  internal telemetry
    server otelgrpc
`},
	{name: "otelgrpc", with: (*spans).otelgrpc, want: `
internal telemetry
  client otelgrpc
    server otelgrpc
  client otelgrpc
    server otelgrpc
`},
	{name: "otelgrpc first", with: (*spans).otelgrpc, first: true, want: `
internal telemetry
  client otelgrpc
    server otelgrpc
  client otelgrpc
    server otelgrpc
`},
	{name: "grpc-go's own", with: (*spans).grpc, adds: true, want: `
internal telemetry
  client grpc-go
    internal grpc-go
      server otelgrpc
  client grpc-go
    internal grpc-go
      server otelgrpc
`},
	{name: "grpc-go's own first", with: (*spans).grpc, first: true, adds: true, want: `
client grpc-go
  internal telemetry
    internal grpc-go
      server otelgrpc
    internal grpc-go
      server otelgrpc
`},
	{name: "grpc-go's metrics", with: (*spans).metrics, want: `
client telemetry
  internal telemetry
    server otelgrpc
  internal telemetry
    server otelgrpc
`},
}

// G-26, T-2, T-3
func TestEachAttemptHasOneSpan(t *testing.T) {
	leak.Check(t)
	for _, row := range tracings {
		for kind, call := range map[string]func(context.Context, pb.OrdersClient) error{"unary": getOrder, "streaming": watchOrder} {
			t.Run(row.name+"/"+kind, func(t *testing.T) {
				s := newSpans()
				told := make(chan []string, 2*attempts)
				conn := connect(t, s.serve(t, told), row.options(s)...)
				ctx := t.Context()
				if !row.adds {
					ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", callersOwn)
				}
				if err := call(ctx, pb.NewOrdersClient(conn)); err != nil {
					t.Fatal(err)
				}
				if got := s.tree(); got != strings.TrimPrefix(row.want, "\n") {
					t.Errorf("the spans are\n%swant%s", got, row.want)
				}
				for range len(told) {
					if values := <-told; len(values) != 1 || values[0] == callersOwn {
						t.Errorf("an attempt carried the traceparents %q, want one of its own", values)
					}
				}
			})
		}
	}
}

// callersOwn is what a caller passes on from a call of its own.
const callersOwn = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func (row tracing) options(s *spans) []grpc.DialOption {
	policy := telemetry.Observe(backstay.New(ourRetry()), telemetry.Config{TracerProvider: s.provider, Propagator: w3c})
	opts := grpccall.DialOptions(policy, grpccall.Config{})
	switch {
	case row.with == nil:
		return opts
	case row.first:
		return slices.Insert(opts, 0, row.with(s))
	}
	return append(opts, row.with(s))
}

func getOrder(ctx context.Context, c pb.OrdersClient) error {
	_, err := c.Get(ctx, &pb.GetRequest{})
	return err
}

func watchOrder(ctx context.Context, c pb.OrdersClient) error {
	s, err := c.Watch(ctx, &pb.WatchRequest{})
	for err == nil {
		_, err = s.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var w3c = propagation.TraceContext{}

// spans are those of a client and its server.
type spans struct {
	provider *sdktrace.TracerProvider
	recorder *tracetest.SpanRecorder
}

func newSpans() *spans {
	r := tracetest.NewSpanRecorder()
	return &spans{sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)), r}
}

func (s *spans) otelgrpc() grpc.DialOption {
	return grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(s.provider), otelgrpc.WithPropagators(w3c)))
}

func (s *spans) grpc() grpc.DialOption {
	return opentelemetry.DialOption(opentelemetry.Options{
		TraceOptions: experimental.TraceOptions{TracerProvider: s.provider, TextMapPropagator: w3c},
	})
}

func (s *spans) metrics() grpc.DialOption {
	return opentelemetry.DialOption(opentelemetry.Options{
		MetricsOptions: opentelemetry.MetricsOptions{MeterProvider: nometrics.NewMeterProvider()},
	})
}

// serve starts a server that fails the first attempt, and tells the traceparents
// of each.
func (s *spans) serve(t *testing.T, told chan<- []string) (addr string) {
	answer := func(ctx context.Context, n int) error {
		told <- metadata.ValueFromIncomingContext(ctx, "traceparent")
		if n == 1 {
			return status.Error(codes.Unavailable, "busy")
		}
		return nil
	}
	o := &orders{answer: answer, stream: func(n int, ss grpc.ServerStreamingServer[pb.Order]) error {
		if err := answer(ss.Context(), n); err != nil {
			return err
		}
		return ss.Send(&pb.Order{})
	}}
	return serveOrders(t, o, grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(s.provider), otelgrpc.WithPropagators(w3c))))
}

// tree writes each span under its parent, in the order in which they began. A
// server may still be about to end its own.
func (s *spans) tree() string {
	var b strings.Builder
	all := s.recorder.Started()
	var write func(parent sdktrace.ReadOnlySpan, indent string)
	write = func(parent sdktrace.ReadOnlySpan, indent string) {
		for _, span := range all {
			if parent == nil && span.Parent().IsValid() || parent != nil && span.Parent().SpanID() != parent.SpanContext().SpanID() {
				continue
			}
			b.WriteString(indent + span.SpanKind().String() + " " + path.Base(span.InstrumentationScope().Name))
			if span.EndTime().IsZero() && span.SpanKind() != trace.SpanKindServer {
				b.WriteString(", which has not ended")
			}
			b.WriteString("\n")
			write(span, indent+"  ")
		}
	}
	write(nil, "")
	return b.String()
}
