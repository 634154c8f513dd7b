package grpccall_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
)

// quiet is the Watch of a server on which nothing happens.
func quiet(_ int, _ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
	<-s.Context().Done()
	return s.Context().Err()
}

// hello is quiet, and sends its headers first.
func hello(n int, req *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
	if err := s.SendHeader(nil); err != nil {
		return err
	}
	return quiet(n, req, s)
}

// Streams that are open for long look like calls without an answer, by which a
// strategy tells who hangs.
//
// L-2
func TestOpenStreamsKeepNoCallFromTheirEndpoint(t *testing.T) {
	const answering = 20 * time.Millisecond // beside which the hiccups of a busy machine are short
	policy := grpccall.DialOptions(backstay.New(loadbalance.NewBalancer(loadbalance.Config{})), grpccall.Config{})
	service := []grpc.DialOption{balanced(grpccall.BalancerConfig{})}
	for _, row := range []struct {
		name  string
		opts  []grpc.DialOption
		watch func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error
	}{
		{"in the policy, without headers", policy, quiet},
		{"by the service config", service, hello},
		{"by the service config, without headers", service, quiet},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFleet(t, 3, func(i int, h *host) {
				h.get = func(_ context.Context, _ int, req *pb.GetRequest) (*pb.Order, error) {
					<-time.After(answering)
					return &pb.Order{Id: req.Id}, nil
				}
				h.watch = row.watch
			})
			client := pb.NewOrdersClient(f.connect(t, row.opts...))
			f.reach(t, client, f.hosts...)
			before := f.counts()
			for range 11 { // which no three hosts have as many of
				if _, err := client.Watch(limited(t), &pb.WatchRequest{}); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the streams are open", func() bool { n := f.since(before); return n[0]+n[1]+n[2] == 11 })
			before = f.counts()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 25 {
						mustGet(t, client)
					}
				})
			}
			wg.Wait()
			for i, n := range f.since(before) {
				if n < 20 {
					t.Errorf("host %d got %d of 200 calls beside streams, want its part", i, n)
				}
			}
		})
	}
}

// A server sends the headers with the first message, which comes when something
// happens. Whoever stops listening before has not found a sick server.
//
// G-21, G-24
func TestAStreamOnWhichNothingHappensIsNoFailure(t *testing.T) {
	f := newFleet(t, 1, func(_ int, h *host) { h.watch = quiet })
	b := loadbalance.NewBalancer(loadbalance.Config{Health: loadbalance.HealthConfig{ConsecutiveFailures: 1}})
	p := backstay.New(b, breaker.NewGroup(breaker.Config{Name: "orders", ConsecutiveFailures: 1, SlowAfter: time.Millisecond, SlowRate: 1}, breaker.ByEndpoint))
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	mustGet(t, client)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := watchAll(ctx, client); !says(err, "DeadlineExceeded") {
		t.Errorf("Watch until the caller's deadline = %v, want DEADLINE_EXCEEDED", err)
	}
	mustGet(t, client)
	if n := b.Nodes()[0]; n.State() != loadbalance.Available || n.Failures() != 0 {
		t.Errorf("the endpoint of a quiet stream is %v with %d failures, want available with 0", n.State(), n.Failures())
	}
}
