package grpccall_test

import (
	"context"
	"strconv"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/race"
)

const placeOrder = "/orders.v1.Orders/Place"

// A serverCost is a call to measure on a server that does the work of each key
// once, and the most that it may allocate, with its context and its metadata.
type serverCost struct {
	name   string
	key    func() string // or nil, for a call without one
	allocs float64
}

func serverCosts() []serverCost {
	n := 1000
	return []serverCost{
		{"no key", nil, 2},
		{"claim+complete", func() string { n++; return strconv.Itoa(n) }, 49},
		{"replay", func() string { return "the same" }, 32},
	}
}

// server returns the call through an interceptor over a Memory. It reports
// whether an answer has come.
func (c serverCost) server() func() bool {
	store := idempotency.NewMemory(idempotency.MemoryConfig{MaxEntries: 1 << 30, MaxBytes: 1 << 40})
	interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{Store: store}), grpccall.ServerConfig{
		Methods:  []string{placeOrder},
		Tenant:   grpccall.OneTenant,
		Optional: true,
	})
	req, order, info := &pb.PlaceRequest{Item: "rope"}, &pb.Order{Id: "1", Item: "rope"}, &grpc.UnaryServerInfo{FullMethod: placeOrder}
	handler := func(context.Context, any) (any, error) { return order, nil }
	return func() bool {
		ctx := grpc.NewContextWithServerTransportStream(context.Background(), &bareStream{})
		if c.key != nil {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("idempotency-key", c.key()))
		}
		resp, err := interceptor(ctx, req, info, handler)
		got, ok := resp.(*pb.Order)
		return err == nil && ok && got.GetItem() == "rope"
	}
}

// BenchmarkServer measures what the interceptor of a server adds to a handler
// that does nothing.
func BenchmarkServer(b *testing.B) {
	for _, c := range serverCosts() {
		b.Run(c.name, func(b *testing.B) {
			call := c.server()
			b.ReportAllocs()
			for b.Loop() {
				if !call() {
					b.Fatal("no answer")
				}
			}
		})
	}
}

func TestServerAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too")
	}
	for _, c := range serverCosts() {
		call := c.server()
		if got := testing.AllocsPerRun(1000, func() {
			if !call() {
				t.Fatal("no answer")
			}
		}); got > c.allocs {
			t.Errorf("%s: allocations per call = %v, want at most %v", c.name, got, c.allocs)
		}
	}
}
