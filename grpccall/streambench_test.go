package grpccall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A free stream costs nothing, and ends when its context does.
type free struct {
	ctx    context.Context
	finish func(error)
}

func (f *free) Header() (metadata.MD, error) { return someHeader, nil }
func (f *free) Trailer() metadata.MD         { return nil }
func (f *free) Context() context.Context     { return f.ctx }
func (f *free) CloseSend() error             { return nil }
func (f *free) SendMsg(any) error            { return nil }
func (f *free) RecvMsg(any) error            { return nil }

var someHeader = metadata.MD{}

func openFree(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	f := &free{ctx: ctx}
	for _, o := range opts {
		if o, ok := o.(grpc.OnFinishCallOption); ok {
			f.finish = o.OnFinish
		}
	}
	last = f
	return f, nil
}

// last is the stream that openFree made last; the benchmarks make one at a time.
var last *free

// A streamCost is an interceptor to measure, and the most that a stream may
// allocate under it.
type streamCost struct {
	name        string
	interceptor grpc.StreamClientInterceptor
	allocs      float64
}

func streamCosts() []streamCost {
	under := func(stack ...backstay.Middleware) grpc.StreamClientInterceptor {
		return grpccall.StreamClientInterceptor(backstay.New(stack...), grpccall.Config{})
	}
	bare := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return next(ctx, desc, cc, method, opts...)
	}
	return []streamCost{
		{"bare", bare, 1},
		{"none", under(), 22},
		{"retry+breaker+timeout", under(timeout.Call(time.Second), retry.New(retry.Config{}), breaker.New(breaker.Config{}), timeout.Attempt(time.Second/2)), 46},
	}
}

// open begins a stream and sends its message.
func (c streamCost) open(ctx context.Context) grpc.ClientStream {
	s, err := c.interceptor(ctx, watchDesc, nil, watch, openFree)
	if err == nil {
		err = s.SendMsg(watchRequest)
	}
	if err == nil {
		err = s.RecvMsg(nil)
	}
	if err != nil {
		panic(err)
	}
	return s
}

var (
	watchDesc    = descOf(watch)
	watchRequest = &pb.WatchRequest{Id: "7"}
)

// end ends the stream as gRPC does.
func (c streamCost) end() {
	if last.finish != nil {
		last.finish(nil)
	}
}

// BenchmarkStream measures what a policy adds to a stream on which nothing
// happens, and to each of its messages; and what streams cost on loopback.
func BenchmarkStream(b *testing.B) {
	for _, c := range streamCosts() {
		b.Run("stream/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.open(b.Context())
				c.end()
			}
		})
		b.Run("message/"+c.name, func(b *testing.B) {
			s := c.open(b.Context())
			defer c.end()
			b.ReportAllocs()
			for b.Loop() {
				_ = s.RecvMsg(nil)
			}
		})
		b.Run("loopback/"+c.name, func(b *testing.B) {
			conn := connect(b, serve(b, &server{watch: orders(sending{1, 0})}).addr, grpc.WithStreamInterceptor(c.interceptor))
			client := pb.NewOrdersClient(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := watchAll(b.Context(), client); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestStreamAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("calls are not reused under the race detector")
	}
	for _, c := range streamCosts() {
		if got := testing.AllocsPerRun(1000, func() { c.open(t.Context()); c.end() }); got > c.allocs {
			t.Errorf("a stream under %s allocates %v times, want at most %v", c.name, got, c.allocs)
		}
		s := c.open(t.Context())
		if got := testing.AllocsPerRun(1000, func() { _ = s.RecvMsg(nil) }); got > 0 {
			t.Errorf("a message under %s allocates %v times, want 0", c.name, got)
		}
		c.end()
	}
}
