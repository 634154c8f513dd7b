package grpccall_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// balanced is the dial option that chooses the balancer c.
func balanced(c grpccall.BalancerConfig) grpc.DialOption {
	return grpc.WithDefaultServiceConfig(c.ServiceConfig())
}

// as returns ctx with the metadata that the hash strategies look at.
func as(ctx context.Context, user int) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-user", fmt.Sprint(user))
}

// reachAs makes calls, each as another user, until all hosts have had one.
func (f *fleet) reachAs(t *testing.T, client pb.OrdersClient) {
	t.Helper()
	before, user := f.counts(), 0
	eventually(t, "all hosts get calls", func() bool {
		user++
		if _, err := client.Get(as(limited(t), user), &pb.GetRequest{}); err != nil {
			t.Fatalf("Get() = %v, want no error", err)
		}
		return !slices.Contains(f.since(before), 0)
	})
}

// retrying makes two attempts.
func retrying() *backstay.Policy {
	return backstay.New(retry.New(retry.Config{MaxAttempts: 2, Backoff: retry.NoPause(), NoBudget: true}))
}

// G-25
func TestEveryStrategyCanBeChosen(t *testing.T) {
	for _, strategy := range []string{"", "peak_ewma", "round_robin", "weighted", "random", "least_connections", "least_connections_of_all", "hash", "rendezvous", "maglev"} {
		t.Run(strategy, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			cfg := grpccall.BalancerConfig{Strategy: strategy}
			if slices.Contains([]string{"hash", "rendezvous", "maglev"}, strategy) {
				cfg.HashHeader = "x-user"
			}
			client := pb.NewOrdersClient(f.connect(t, balanced(cfg)))
			f.reachAs(t, client)
		})
	}
}

// G-25
func TestRoundRobinByServiceConfigIsEven(t *testing.T) {
	f := newFleet(t, 3, nil)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{Strategy: "round_robin"})))
	f.reach(t, client, f.hosts...)
	before := f.counts()
	for range 30 {
		mustGet(t, client)
	}
	if got := f.since(before); !slices.Equal(got, []int{10, 10, 10}) {
		t.Errorf("30 calls went %v, want 10 to each", got)
	}
}

// G-25
func TestAKeyHasOneEndpointInEveryChannel(t *testing.T) {
	f := newFleet(t, 3, nil)
	other := &fleet{hosts: f.hosts, resolver: newResolver(f.state(f.hosts...))}
	cfg := balanced(grpccall.BalancerConfig{Strategy: "rendezvous", HashHeader: "X-User"})
	one, two := pb.NewOrdersClient(f.connect(t, cfg)), pb.NewOrdersClient(other.connect(t, cfg))
	f.reachAs(t, one)
	f.reachAs(t, two)
	homes := map[int]int{}
	for user := range 20 {
		before := f.counts()
		for range 2 {
			for _, c := range []pb.OrdersClient{one, two} {
				if _, err := c.Get(as(limited(t), user), &pb.GetRequest{}); err != nil {
					t.Fatalf("Get() = %v, want no error", err)
				}
			}
		}
		got := f.since(before)
		home := slices.Index(got, 4)
		if home < 0 {
			t.Errorf("4 calls of user %d on 2 channels went %v, want all to one", user, got)
		}
		homes[home]++
	}
	if len(homes) != 3 {
		t.Errorf("20 users went to %d hosts, want 3", len(homes))
	}
}

// G-25, L-23: the picker knows where the call has been.
func TestARetryGoesToAnEndpointThatWasNotTried(t *testing.T) {
	key := grpccall.ByMetadata("X-User")
	policies := map[string]func() (*backstay.Policy, grpccall.Config){
		"late": func() (*backstay.Policy, grpccall.Config) {
			return retrying(), grpccall.Config{ServiceConfig: grpccall.BalancerConfig{Strategy: "maglev", HashHeader: "x-user"}.ServiceConfig()}
		},
		"by the policy": func() (*backstay.Policy, grpccall.Config) {
			return backstay.New(retrying(), loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Maglev(loadbalance.HashConfig{Key: key})})), grpccall.Config{}
		},
	}
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			f := newFleet(t, 2, func(i int, h *host) {
				h.get = func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
					if i == 0 && broken.Load() {
						return nil, status.Error(codes.Unavailable, "broken")
					}
					return &pb.Order{}, nil
				}
			})
			p, cfg := policy()
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, cfg)...))
			f.reachAs(t, client)
			broken.Store(true)
			enough := f.hosts[0].count() + 4 // one more and it is ejected
			for user := 0; f.hosts[0].count() < enough; user++ {
				if user == 1000 {
					t.Fatal("1000 users went to the other host, want half of them")
				}
				if _, err := client.Get(as(limited(t), user), &pb.GetRequest{}); err != nil {
					t.Fatalf("Get() by user %d = %v, want the second attempt to succeed elsewhere", user, err)
				}
			}
		})
	}
}

// G-25: an endpoint has what is in flight until a stream has ended.
func TestAStreamIsLoadUntilItsEnd(t *testing.T) {
	policies := map[string]func() []grpc.DialOption{
		"late": func() []grpc.DialOption {
			return []grpc.DialOption{balanced(grpccall.BalancerConfig{Strategy: "least_connections_of_all"})}
		},
		"by the policy": func() []grpc.DialOption {
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.LeastConnectionsOfAll()})
			return grpccall.DialOptions(backstay.New(b), grpccall.Config{})
		},
	}
	for name, opts := range policies {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			f := newFleet(t, 2, func(_ int, h *host) {
				h.watch = func(_ int, req *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
					if err := s.Send(&pb.Order{}); err != nil {
						return err
					}
					<-release
					return nil
				}
			})
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...)
			before := f.counts()
			stream, err := client.Watch(limited(t), &pb.WatchRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			at := slices.Index(f.since(before), 1)
			for range 20 {
				mustGet(t, client)
			}
			if n := f.since(before)[at]; n != 1 {
				t.Errorf("the host with a stream got %d of 20 calls, want 0", n-1)
			}
			close(release)
			for err == nil {
				_, err = stream.Recv()
			}
			f.reach(t, client, f.hosts[at])
		})
	}
}

func TestAKilledServerIsPassedOverAndComesBack(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...)
			f.hosts[1].down()
			for range 50 {
				mustGet(t, client)
			}
			f.hosts[1].up(t)
			f.reach(t, client, f.hosts[1])
		})
	}
}

// bothWays returns the options of a channel whose policy picks, and of one that
// picks late. Both make two attempts.
func bothWays() map[string]func() []grpc.DialOption {
	return map[string]func() []grpc.DialOption{
		"late": func() []grpc.DialOption {
			return grpccall.DialOptions(retrying(), grpccall.Config{ServiceConfig: grpccall.BalancerConfig{Strategy: "round_robin"}.ServiceConfig()})
		},
		"by the policy": func() []grpc.DialOption {
			return grpccall.DialOptions(backstay.New(retrying(), loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})), grpccall.Config{})
		},
	}
}

func TestEndpointsComeAndGo(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			f.resolver.InitialState(f.state(f.hosts[:2]...))
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts[:2]...)
			f.resolver.UpdateState(f.state(f.hosts[1:]...))
			f.reach(t, client, f.hosts[1:]...)
			eventually(t, "the connection to the host that left is closed", func() bool { return f.hosts[0].open.Load() == 0 })
			before := f.counts()
			for range 10 {
				mustGet(t, client)
			}
			if n := f.since(before)[0]; n != 0 {
				t.Errorf("the host that left got %d calls, want 0", n)
			}
			if n := f.hosts[1].opened.Load(); n != 1 {
				t.Errorf("the host that stayed had %d connections, want 1", n)
			}
		})
	}
}

func TestWithoutAddressesCallsFailWithWhatTheResolverSays(t *testing.T) {
	f := newFleet(t, 1, nil)
	conn := f.connect(t, balanced(grpccall.BalancerConfig{}))
	client := pb.NewOrdersClient(conn)
	mustGet(t, client)
	f.resolver.UpdateState(f.state())
	if _, err := client.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || !says(err, "produced zero addresses") {
		t.Errorf("Get() without addresses = %v, want UNAVAILABLE: produced zero addresses", err)
	}
	if s := conn.GetState(); s != connectivity.TransientFailure {
		t.Errorf("GetState() = %v, want TRANSIENT_FAILURE", s)
	}
	f.resolver.UpdateState(f.state(f.hosts...))
	mustGet(t, client)
}

func TestWithoutConnectionsCallsFailWithTheReason(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2, nil)
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...)
			f.hosts[0].down()
			f.hosts[1].down()
			var err error
			eventually(t, "calls fail for want of a connection", func() bool {
				_, err = client.Get(limited(t), &pb.GetRequest{})
				return says(err, "connection refused")
			})
			if status.Code(err) != codes.Unavailable || !says(err, "grpccall: no connection to 127.0.0.1:") {
				t.Errorf("Get() with all hosts down = %v, want UNAVAILABLE: grpccall: no connection to ...: connection refused", err)
			}
		})
	}
}

// G-22
func TestAWaitForReadyCallWaitsForAConnection(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2, nil)
			conn := f.connect(t, opts()...)
			client := pb.NewOrdersClient(conn)
			f.reach(t, client, f.hosts...)
			f.hosts[0].down()
			f.hosts[1].down()
			eventually(t, "the channel is in TRANSIENT_FAILURE", func() bool { return conn.GetState() == connectivity.TransientFailure })
			done := make(chan error)
			go func() {
				_, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true))
				done <- err
			}()
			select {
			case err := <-done:
				t.Fatalf("Get() with WaitForReady = %v while all hosts are down, want it to wait", err)
			case <-time.After(50 * time.Millisecond):
			}
			f.hosts[1].up(t)
			if err := <-done; err != nil {
				t.Errorf("Get() with WaitForReady = %v when a host is back, want no error", err)
			}
		})
	}
}

func TestAChannelThatWasIdleWakesUp(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2, offersHealth)
			conn := f.connect(t, append(opts(), grpc.WithIdleTimeout(20*time.Millisecond))...)
			client := pb.NewOrdersClient(conn)
			for range 3 {
				mustGet(t, client)
				eventually(t, "the channel is idle", func() bool { return conn.GetState() == connectivity.Idle })
				eventually(t, "its connections are closed", func() bool { return f.hosts[0].open.Load()+f.hosts[1].open.Load() == 0 })
			}
			mustGet(t, client)
		})
	}
}

func TestManyGoroutinesShareAChannel(t *testing.T) {
	for name, opts := range bothWays() {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 20 {
						if _, err := client.Get(limited(t), &pb.GetRequest{}); err != nil {
							t.Errorf("Get() = %v, want no error", err)
							return
						}
					}
				})
			}
			for i := range 20 {
				f.resolver.UpdateState(f.state(f.hosts[i%2 : 3]...))
			}
			wg.Wait()
			all := f.counts()
			if n := all[0] + all[1] + all[2]; n < 64*20 {
				t.Errorf("the hosts got %d calls, want at least %d", n, 64*20)
			}
		})
	}
}

func TestTheStrategyChangesAndTheConnectionsStay(t *testing.T) {
	f := newFleet(t, 3, nil)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{Strategy: "round_robin"})))
	f.reach(t, client, f.hosts...)
	s := f.state(f.hosts...)
	s.ServiceConfig = f.resolver.CC().ParseServiceConfig(grpccall.BalancerConfig{Strategy: "rendezvous", HashHeader: "x-user"}.ServiceConfig())
	f.resolver.UpdateState(s)
	before := f.counts()
	for range 30 {
		if _, err := client.Get(as(limited(t), 7), &pb.GetRequest{}); err != nil {
			t.Fatalf("Get() = %v, want no error", err)
		}
	}
	if got := f.since(before); !slices.Contains(got, 30) {
		t.Errorf("30 calls of one user went %v, want all to one host", got)
	}
	for i, h := range f.hosts {
		if n := h.opened.Load(); n != 1 {
			t.Errorf("host %d had %d connections, want 1", i, n)
		}
	}
}

func TestWhatTheResolverSaysOfEndpointsCounts(t *testing.T) {
	f := newFleet(t, 2, nil)
	s := f.state(f.hosts...)
	s.Endpoints[0] = grpccall.WithEndpoint(s.Endpoints[0], loadbalance.Endpoint{Weight: 3})
	s.Endpoints = append(s.Endpoints, s.Endpoints[0]) // and once is enough
	f.resolver.InitialState(s)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{Strategy: "weighted"})))
	f.reach(t, client, f.hosts...)
	before := f.counts()
	for range 40 {
		mustGet(t, client)
	}
	if got := f.since(before); !slices.Equal(got, []int{30, 10}) {
		t.Errorf("40 calls to hosts of weights 3 and 1 went %v, want 30 and 10", got)
	}
	s = f.state(f.hosts[1])
	s.Endpoints[0] = grpccall.WithEndpoint(s.Endpoints[0], loadbalance.Endpoint{Weight: -1})
	f.resolver.UpdateState(s) // which is refused
	before = f.counts()
	for range 40 {
		mustGet(t, client)
	}
	if got := f.since(before); !slices.Equal(got, []int{30, 10}) {
		t.Errorf("40 calls after endpoints that are wrong went %v, want 30 and 10", got)
	}
}

func TestTheNearestEndpointsAreUsed(t *testing.T) {
	f := newFleet(t, 2, nil)
	s := f.state(f.hosts...)
	s.Endpoints[0] = grpccall.WithEndpoint(s.Endpoints[0], loadbalance.Endpoint{Locality: "west/a"})
	s.Endpoints[1] = grpccall.WithEndpoint(s.Endpoints[1], loadbalance.Endpoint{Locality: "west/b"})
	f.resolver.InitialState(s)
	client := pb.NewOrdersClient(f.connect(t, balanced(grpccall.BalancerConfig{Locality: "west/b"})))
	f.reach(t, client, f.hosts[1])
	before := f.counts()
	for range 20 {
		mustGet(t, client)
	}
	if got := f.since(before); !slices.Equal(got, []int{0, 20}) {
		t.Errorf("20 calls from west/b went %v, want all to west/b", got)
	}
}

func TestAnEndpointIsReachedByAnyOfItsAddresses(t *testing.T) {
	f := newFleet(t, 2, nil)
	f.hosts[0].down()
	f.resolver.InitialState(resolver.State{Endpoints: []resolver.Endpoint{{Addresses: []resolver.Address{{Addr: f.hosts[0].addr}, {Addr: f.hosts[1].addr}}}}})
	b := loadbalance.NewBalancer(loadbalance.Config{})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b), grpccall.Config{})...))
	mustGet(t, client)
	if got := b.Addresses(); !slices.Equal(got, []string{f.hosts[0].addr}) {
		t.Errorf("Addresses() = %v, want the first address of the endpoint, %s", got, f.hosts[0].addr)
	}
}

// Three servers, one of them slow, one killed, and then each restarted in turn:
// no idempotent call fails.
func TestARollingRestartFailsNoCall(t *testing.T) {
	ways := map[string]func() []grpc.DialOption{
		"late": func() []grpc.DialOption {
			return grpccall.DialOptions(persistent(), grpccall.Config{ServiceConfig: grpccall.BalancerConfig{}.ServiceConfig()})
		},
		"by the policy": func() []grpc.DialOption {
			return grpccall.DialOptions(backstay.New(persistent(), loadbalance.NewBalancer(loadbalance.Config{})), grpccall.Config{})
		},
	}
	for name, opts := range ways {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, func(i int, h *host) {
				offersHealth(i, h)
				h.get = func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
					pause := time.Millisecond
					if i == 2 {
						pause *= 20
					}
					<-time.After(pause)
					return &pb.Order{}, nil
				}
			})
			client := pb.NewOrdersClient(f.connect(t, opts()...))
			f.reach(t, client, f.hosts...)
			var wg sync.WaitGroup
			over := make(chan struct{})
			for range 16 {
				wg.Go(func() {
					for !closed(over) {
						if _, err := client.Get(limited(t), &pb.GetRequest{}); err != nil {
							t.Errorf("Get() = %v, want no error", err)
							return
						}
					}
				})
			}
			back := func(h *host) {
				h.up(t)
				eventually(t, "the host is connected again", func() bool { return h.open.Load() > 0 })
				for range 20 {
					mustGet(t, client)
				}
			}
			f.hosts[0].down()
			back(f.hosts[0])
			for _, h := range f.hosts {
				h.grpc.GracefulStop()
				h.wg.Wait()
				back(h)
			}
			close(over)
			wg.Wait()
		})
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// persistent makes three attempts.
func persistent() *backstay.Policy {
	return backstay.New(retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}))
}
