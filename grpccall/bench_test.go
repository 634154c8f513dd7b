package grpccall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

const get = "/orders.v1.Orders/Get"

// nothing is the invoker that costs nothing.
func nothing(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
	return nil
}

// withTimeout is what the costs are compared with: the smallest thing that
// anybody does to make a call survive.
func withTimeout(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	c, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return invoker(c, method, req, reply, cc, opts...)
}

// A unaryCost is an interceptor to measure, and the most that it may allocate. Its
// time is held in the module bench, beside that of others.
type unaryCost struct {
	name        string
	interceptor grpc.UnaryClientInterceptor
	allocs      float64
}

func unaryCosts() []unaryCost {
	under := func(stack ...backstay.Middleware) grpc.UnaryClientInterceptor {
		return grpccall.UnaryClientInterceptor(backstay.New(stack...), grpccall.Config{})
	}
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	closed := func() backstay.Middleware { return breaker.New(breaker.Config{}) }
	return []unaryCost{
		{"context.WithTimeout", withTimeout, 4},
		{"none", under(), 2},
		{"retry", under(retry.New(retry.Config{})), 2},
		{"retry+breaker+timeout", under(timeout.Call(time.Second), retry.New(retry.Config{}), closed()), 3},
		{"reject", under(open), 6},
	}
}

func (c unaryCost) call(ctx context.Context, req, reply any) {
	_ = c.interceptor(ctx, get, req, reply, nil, nothing)
}

// BenchmarkUnary measures what a policy adds to a call in which nothing happens.
func BenchmarkUnary(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	req, reply := &pb.GetRequest{}, &pb.Order{}
	for _, c := range unaryCosts() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.call(ctx, req, reply)
			}
		})
	}
}

func TestUnaryAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("calls are not reused under the race detector")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, reply := &pb.GetRequest{}, &pb.Order{}
	for _, c := range unaryCosts() {
		if got := testing.AllocsPerRun(1000, func() { c.call(ctx, req, reply) }); got > c.allocs {
			t.Errorf("%s allocates %v times, want %v", c.name, got, c.allocs)
		}
	}
}
