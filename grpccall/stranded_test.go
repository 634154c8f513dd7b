package grpccall_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// A draining server says with GOAWAY that it has not looked at a call, and then
// accepts no more connections, or accepts them and says nothing, as a proxy does
// whose server has gone. gRPC makes the call again.
//
// G-11, G-25
func TestACallThatNoServerLookedAtGoesToAnother(t *testing.T) {
	calls := map[string]func(*testing.T, pb.OrdersClient) error{
		"Place": func(t *testing.T, c pb.OrdersClient) error {
			_, err := c.Place(limited(t), &pb.PlaceRequest{})
			return err
		},
		"Import": func(t *testing.T, c pb.OrdersClient) error { // whose stream the policy cannot make again
			s, err := c.Import(limited(t))
			if err != nil {
				return err
			}
			_ = s.Send(&pb.PlaceRequest{})
			_, err = s.CloseAndRecv()
			return err
		},
	}
	for name, call := range calls {
		for then, closes := range map[string]bool{"refuses": true, "says nothing": false} {
			t.Run(name+" to one that then "+then, func(t *testing.T) {
				f := newFleet(t, 1, nil)
				w := &wire{fates: []fate{goAway}}
				s := f.state(f.hosts...)
				s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: w.once(t, closes)}}})
				f.resolver = newResolver(s)
				b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
				client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b), grpccall.Config{NoHealth: true})...))
				eventually(t, "the draining server has had a call", func() bool {
					if err := call(t, client); err != nil {
						t.Fatalf("the call = %v, want no error", err)
					}
					return w.streams() == 1
				})
				for _, n := range b.Nodes() {
					if n.InFlight() != 0 {
						t.Errorf("%s has %d calls in flight afterwards", n.Address(), n.InFlight())
					}
				}
			})
		}
	}
}

// once has w serve one connection, after which its address refuses connections
// or accepts them and says nothing.
func (w *wire) once(t *testing.T, closes bool) string {
	lis := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := lis.Accept()
		if closes {
			_ = lis.Close()
		}
		if err == nil {
			w.serve(conn)
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		wg.Wait()
	})
	return lis.Addr().String()
}

// streams returns how many streams w has had.
func (w *wire) streams() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.previous)
}

// A retry prefers an endpoint that the call has not been at, but for one that is
// CONNECTING, as it is for 20 seconds if its packets are dropped.
//
// G-25
func TestARetryDoesNotWaitForAServerThatNeverAnswers(t *testing.T) {
	f := newFleet(t, 1, func(_ int, h *host) {
		h.get = func(_ context.Context, attempt int, _ *pb.GetRequest) (*pb.Order, error) {
			if attempt == 1 {
				return nil, status.Error(codes.Unavailable, "busy")
			}
			return &pb.Order{}, nil
		}
	})
	s := f.state(f.hosts...)
	s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: listen(t).Addr().String()}}})
	f.resolver = newResolver(s)
	p := backstay.New(retry.New(retry.Config{MaxAttempts: 2, Backoff: retry.NoPause()}), loadbalance.NewBalancer(loadbalance.Config{}))
	mustGet(t, pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...)))
	if n := f.hosts[0].count(); n != 2 {
		t.Errorf("the only server that answers was asked %d times, want 2", n)
	}
}

// The connection is lost between the pick of the policy and that of gRPC.
//
// G-25
func TestACallWhoseEndpointIsLostOnTheWayGoesToAnother(t *testing.T) {
	f := newFleet(t, 2, nil)
	sick := f.hosts[0]
	var lose sync.Once
	under := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Endpoint == sick.addr && sick.count() > 0 {
			lose.Do(func() {
				sick.down()
				lis, err := net.Listen("tcp", sick.addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = lis.Close() })
				conn, err := lis.Accept() // so gRPC is connecting it again, and waits for what it says
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
			})
		}
		return next(ctx, call)
	})
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b, under), grpccall.Config{})...))
	f.reach(t, client, f.hosts...)
	for range 4 {
		mustGet(t, client)
	}
}

// G-22, G-25: a key that has one endpoint only waits while that is being
// connected, as any call of gRPC does, though others are connected.
func TestACallWaitsWhileItsOnlyEndpointIsBeingConnected(t *testing.T) {
	f := newFleet(t, 2, nil)
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Hash(loadbalance.HashConfig{Key: grpccall.ByMetadata("x-user"), Strict: true})})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b), grpccall.Config{})...))
	f.reachAs(t, client)
	before := f.counts()
	if _, err := client.Get(as(limited(t), 7), &pb.GetRequest{}); err != nil {
		t.Fatalf("Get() = %v, want no error", err)
	}
	home := f.hosts[slices.Index(f.since(before), 1)]
	home.down()
	lis, err := net.Listen("tcp", home.addr) // accepts connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "calls wait", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := client.Get(as(ctx, 7), &pb.GetRequest{}, grpc.WaitForReady(false))
		return status.Code(err) == codes.DeadlineExceeded && says(err, "no connection to "+home.addr+" yet")
	})
	done := make(chan error)
	go func() {
		_, err := client.Get(as(limited(t), 7), &pb.GetRequest{})
		done <- err
	}()
	home.serve(lis)
	if err := <-done; err != nil {
		t.Errorf("Get() = %v when its endpoint is connected again, want no error", err)
	}
}
