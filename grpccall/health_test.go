package grpccall_test

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
)

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

// healthWays returns the options of a channel whose policy picks, and of one
// that picks late, and which watch the health of a service or none.
func healthWays(service string, none bool) map[string]func() []grpc.DialOption {
	return map[string]func() []grpc.DialOption{
		"late": func() []grpc.DialOption {
			return []grpc.DialOption{balanced(grpccall.BalancerConfig{Strategy: "round_robin", HealthService: service, NoHealth: none})}
		},
		"by the policy": func() []grpc.DialOption {
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
			return grpccall.DialOptions(backstay.New(b), grpccall.Config{HealthService: service, NoHealth: none})
		},
	}
}

func offersHealth(_ int, h *host) { h.health = health.NewServer() }

func TestAServerThatIsNotServingGetsNoCalls(t *testing.T) {
	for name, opts := range healthWays("orders", false) {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, func(i int, h *host) {
				if i != 1 { // which does not offer it
					offersHealth(i, h)
				}
			})
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...) // none of them knows the service
			f.hosts[0].health.SetServingStatus("orders", notServing)
			eventually(t, "calls go to the others", func() bool {
				before := f.counts()
				for range 6 {
					mustGet(t, client)
				}
				return f.since(before)[0] == 0
			})
			f.hosts[0].health.SetServingStatus("orders", serving)
			f.reach(t, client, f.hosts...)
			for i, h := range f.hosts {
				if n := h.opened.Load(); n != 1 {
					t.Errorf("host %d had %d connections, want 1", i, n)
				}
			}
		})
	}
}

func TestANewConnectionKnowsNothingOfTheHealthBefore(t *testing.T) {
	f := newFleet(t, 1, offersHealth)
	h := f.hosts[0]
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{})))
	mustGet(t, client)
	h.health.Shutdown()
	eventually(t, "calls fail", func() bool {
		_, err := client.Get(limited(t), &pb.GetRequest{})
		return says(err, "NOT_SERVING")
	})
	h.down()
	h.health = nil
	h.up(t)
	eventually(t, "calls succeed", func() bool {
		_, err := client.Get(limited(t), &pb.GetRequest{})
		return err == nil
	})
}

// A watch lasts as long as its connection, which a server that shuts down ends.
func TestAServerThatShutsDownDoesNotWaitForTheWatch(t *testing.T) {
	f := newFleet(t, 2, offersHealth)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{HealthService: "orders"})))
	f.reach(t, client, f.hosts...)
	f.hosts[0].health.SetServingStatus("orders", notServing)
	eventually(t, "the health is watched", func() bool {
		before := f.counts()
		for range 4 {
			mustGet(t, client)
		}
		return f.since(before)[0] == 0
	})
	stopped := make(chan struct{})
	go func() {
		f.hosts[0].grpc.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(within):
		t.Errorf("GracefulStop() has not returned after %v, want it to", within)
	}
	mustGet(t, client)
}

func TestWhereNoServerIsServingCallsFailAndSayIt(t *testing.T) {
	for name, opts := range healthWays("", false) {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2, offersHealth)
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...)
			for _, h := range f.hosts {
				h.health.Shutdown()
			}
			var err error
			eventually(t, "calls fail", func() bool {
				_, err = client.Get(limited(t), &pb.GetRequest{})
				return err != nil
			})
			if status.Code(err) != codes.Unavailable || !says(err, "NOT_SERVING") {
				t.Errorf("Get() = %v, want UNAVAILABLE: NOT_SERVING", err)
			}
			done := make(chan error)
			go func() {
				_, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true))
				done <- err
			}()
			f.hosts[1].health.Resume()
			if err := <-done; err != nil {
				t.Errorf("Get() with WaitForReady = %v when a host is serving, want no error", err)
			}
		})
	}
}

func TestNoHealthIsWatchedWhereThatIsSaid(t *testing.T) {
	for name, opts := range healthWays("", true) {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 1, offersHealth)
			f.hosts[0].health.Shutdown()
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			for range 10 {
				mustGet(t, client)
			}
		})
	}
}

// What stands in front of a server may turn the watch away.
func TestAServerThatRefusesToTellItsHealthCounts(t *testing.T) {
	for _, code := range []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.Unimplemented, codes.Internal, codes.Unavailable} {
		t.Run(code.String(), func(t *testing.T) {
			asked := make(chan struct{}, 10)
			f := newFleet(t, 1, func(i int, h *host) {
				offersHealth(i, h)
				h.health.Shutdown()
				h.opts = []grpc.ServerOption{grpc.StreamInterceptor(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
					defer func() { asked <- struct{}{} }()
					return status.Error(code, "no")
				})}
			})
			client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{})))
			mustGet(t, client)
			<-asked
			for range 10 {
				mustGet(t, client)
			}
		})
	}
}

// Nobody would hear that it serves again.
func TestAServerThatRefusesToTellItsHealthAfterAllCounts(t *testing.T) {
	asked := make(chan struct{}, 10)
	f := newFleet(t, 1, func(i int, h *host) {
		offersHealth(i, h)
		first := true
		h.opts = []grpc.ServerOption{grpc.StreamInterceptor(func(_ any, s grpc.ServerStream, _ *grpc.StreamServerInfo, _ grpc.StreamHandler) error {
			defer func() { asked <- struct{}{} }()
			if first {
				first = false
				return s.SendMsg(&grpc_health_v1.HealthCheckResponse{Status: notServing})
			}
			return status.Error(codes.Unauthenticated, "no more")
		})}
	})
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{})))
	_, _ = client.Get(limited(t), &pb.GetRequest{})
	<-asked
	<-asked
	if _, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("Get() from a server whose health cannot be known any more = %v, want no error", err)
	}
}

// gRPC's own health check works beside ours.
func TestAHealthCheckConfigIsHeeded(t *testing.T) {
	f := newFleet(t, 2, offersHealth)
	f.hosts[0].health.SetServingStatus("orders", notServing)
	f.hosts[1].health.SetServingStatus("orders", serving)
	cfg := `{"healthCheckConfig": {"serviceName": "orders"}, "loadBalancingConfig": [{"backstay": {"noHealth": true}}]}`
	client := pb.NewOrdersClient(f.connect(t, grpc.WithDefaultServiceConfig(cfg)))
	for range 20 {
		mustGet(t, client)
	}
	if n := f.hosts[0].count(); n != 0 {
		t.Errorf("a host that is not serving got %d calls, want 0", n)
	}
	f.hosts[0].health.SetServingStatus("orders", serving)
	f.reach(t, client, f.hosts...)
}

func TestWhatIsWatchedChangesWithTheConfig(t *testing.T) {
	f := newFleet(t, 1, offersHealth)
	f.hosts[0].health.SetServingStatus("orders", notServing)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{})))
	mustGet(t, client)
	update := func(c grpccall.BalancerConfig) {
		s := f.state(f.hosts...)
		s.ServiceConfig = f.resolver.CC().ParseServiceConfig(c.ServiceConfig())
		f.resolver.UpdateState(s)
	}
	update(grpccall.BalancerConfig{HealthService: "orders"})
	eventually(t, "calls fail", func() bool {
		_, err := client.Get(limited(t), &pb.GetRequest{})
		return says(err, "NOT_SERVING")
	})
	update(grpccall.BalancerConfig{NoHealth: true})
	mustGet(t, client)
	if n := f.hosts[0].opened.Load(); n != 1 {
		t.Errorf("the host had %d connections, want 1", n)
	}
}
