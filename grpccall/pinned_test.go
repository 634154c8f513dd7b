package grpccall_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/timeout"
)

// picking returns a policy that picks in turn and does nothing else, and its
// balancer. Where there are no endpoints, calls wait for wait.
func picking(wait time.Duration) (*backstay.Policy, *loadbalance.Balancer) {
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Wait: wait})
	return backstay.New(b), b
}

// G-25
func TestThePolicyPicksFromWhatTheResolverFinds(t *testing.T) {
	f := newFleet(t, 3, nil)
	p, b := picking(0)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	f.reach(t, client, f.hosts...)
	before := f.counts()
	for range 30 {
		mustGet(t, client)
	}
	if got := f.since(before); !slices.Equal(got, []int{10, 10, 10}) {
		t.Errorf("30 calls went %v, want 10 to each", got)
	}
	if got := len(b.Addresses()); got != 3 {
		t.Errorf("the balancer has %d endpoints, want 3", got)
	}
}

func TestACallIsNotPickedForADeadServerThoughThereIsNoRetry(t *testing.T) {
	f := newFleet(t, 3, nil)
	p, _ := picking(0)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	f.hosts[0].down() // so that there never was a connection
	f.reach(t, client, f.hosts[1:]...)
	for range 50 {
		mustGet(t, client)
	}
}

// A server that accepts connections and says nothing is CONNECTING for as long
// as gRPC waits for it, which is 20 seconds.
func TestTheFirstCallsDoNotWaitForAServerThatNeverAnswers(t *testing.T) {
	f := newFleet(t, 1, nil)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	s := f.state(f.hosts...)
	for range 3 {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: lis.Addr().String()}}})
	}
	f.resolver.InitialState(s)
	p, _ := picking(0)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	for range 10 {
		mustGet(t, client)
	}
}

func TestEndpointsOfTheBalancersOwn(t *testing.T) {
	f := newFleet(t, 3, nil)
	b := loadbalance.New(loadbalance.RoundRobin(), f.hosts[0].addr, f.hosts[1].addr)
	client := pb.NewOrdersClient(connect(t, "passthrough:///127.0.0.1:1", grpccall.DialOptions(backstay.New(b), grpccall.Config{})...))
	f.reach(t, client, f.hosts[:2]...)
	if err := b.Update(loadbalance.Endpoints(f.hosts[1].addr, f.hosts[2].addr)...); err != nil {
		t.Fatal(err)
	}
	f.reach(t, client, f.hosts[1:]...)
	eventually(t, "the connection to the host that left is closed", func() bool { return f.hosts[0].open.Load() == 0 })
	if n := f.hosts[1].opened.Load(); n != 1 {
		t.Errorf("the host that stayed had %d connections, want 1", n)
	}
}

// G-22: the balancer itself gives up after its Wait.
func TestAWaitForReadyCallWaitsForEndpoints(t *testing.T) {
	rows := []struct {
		name string
		cfg  grpccall.Config
		come func(f *fleet, b *loadbalance.Balancer) error
	}{
		{"of the resolver", grpccall.Config{}, func(f *fleet, _ *loadbalance.Balancer) error {
			f.resolver.UpdateState(f.state(f.hosts...))
			return nil
		}},
		{"of the balancer's own", grpccall.Config{IgnoreResolver: true}, func(f *fleet, b *loadbalance.Balancer) error {
			return b.Update(loadbalance.Endpoints(f.hosts[0].addr)...)
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			f := newFleet(t, 1, nil)
			f.resolver.InitialState(f.state())
			p, b := picking(time.Millisecond)
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, r.cfg)...))
			if _, err := client.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || !says(err, "no endpoint") {
				t.Errorf("Get() without endpoints = %v, want UNAVAILABLE: no endpoint", err)
			}
			done := make(chan error)
			go func() {
				_, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true))
				done <- err
			}()
			select {
			case err := <-done:
				t.Fatalf("Get() with WaitForReady = %v while there are no endpoints, want it to wait", err)
			case <-time.After(50 * time.Millisecond):
			}
			if err := r.come(f, b); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("Get() with WaitForReady = %v when there is an endpoint, want no error", err)
			}
		})
	}
}

// G-22: where the service config says so, unless the call says otherwise.
func TestAServiceConfigHasACallWaitForEndpoints(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.resolver.InitialState(f.state())
	p, _ := picking(time.Millisecond)
	cfg := grpccall.Config{ServiceConfig: `{"methodConfig": [{"name": [{"service": "orders.v1.Orders", "method": "Get"}], "waitForReady": true}]}`}
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, cfg)...))
	if _, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(false)); status.Code(err) != codes.Unavailable {
		t.Errorf("Get() with WaitForReady(false) without endpoints = %v, want UNAVAILABLE", err)
	}
	if _, err := client.Cancel(limited(t), &pb.CancelRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("Cancel(), of which the service config says nothing, without endpoints = %v, want UNAVAILABLE", err)
	}
	done := make(chan error)
	go func() {
		_, err := client.Get(limited(t), &pb.GetRequest{})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Get() that waits by the service config = %v while there are no endpoints, want it to wait", err)
	case <-time.After(50 * time.Millisecond):
	}
	f.resolver.UpdateState(f.state(f.hosts...))
	if err := <-done; err != nil {
		t.Errorf("Get() that waits by the service config = %v when there is an endpoint, want no error", err)
	}
}

// G-22: a key that has one endpoint only waits for that, though others are
// connected.
func TestAWaitForReadyCallWaitsForItsOnlyEndpoint(t *testing.T) {
	f := newFleet(t, 2, nil)
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Hash(loadbalance.HashConfig{Key: grpccall.ByMetadata("x-user"), Strict: true})})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b), grpccall.Config{})...))
	f.reachAs(t, client)
	before := f.counts()
	ctx := as(limited(t), 7)
	if _, err := client.Get(ctx, &pb.GetRequest{}); err != nil {
		t.Fatalf("Get() = %v, want no error", err)
	}
	home := f.hosts[slices.Index(f.since(before), 1)]
	home.down()
	eventually(t, "calls fail", func() bool {
		_, err := client.Get(ctx, &pb.GetRequest{})
		return says(err, "no connection to "+home.addr)
	})
	done := make(chan error)
	go func() {
		_, err := client.Get(ctx, &pb.GetRequest{}, grpc.WaitForReady(true))
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("Get() with WaitForReady = %v while its endpoint is down, want it to wait", err)
	case <-time.After(50 * time.Millisecond):
	}
	home.up(t)
	if err := <-done; err != nil {
		t.Errorf("Get() with WaitForReady = %v when its endpoint is back, want no error", err)
	}
}

// G-15
func TestAWaitForReadyCallEndsWithItsContext(t *testing.T) {
	f := newFleet(t, 1, nil)
	f.resolver.InitialState(f.state())
	p, _ := picking(time.Millisecond)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, &pb.GetRequest{}, grpc.WaitForReady(true)); status.Code(err) != codes.DeadlineExceeded || !says(err, "no endpoint") {
		t.Errorf("Get() with WaitForReady, out of time = %v, want DEADLINE_EXCEEDED that says what it waited for", err)
	}
}

// G-15
func TestACallThatWaitsForAConnectionEndsWithItsContext(t *testing.T) {
	f := newFleet(t, 1, nil)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	f.resolver.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: lis.Addr().String()}}})
	p, _ := picking(0)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, &pb.GetRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("Get() from a server that says nothing = %v, want DEADLINE_EXCEEDED", err)
	}
}

func TestTheErrorForWantOfEndpointsSaysWhatTheResolverSays(t *testing.T) {
	rows := []struct {
		name string
		does func(f *fleet)
		want string
	}{
		{"nothing found", func(f *fleet) { f.resolver.InitialState(f.state()) }, "the resolver: produced zero addresses"},
		{"an error afterwards", func(f *fleet) {
			f.resolver = onlyError(errors.New("on fire"))
			report := f.resolver.BuildCallback
			f.resolver.BuildCallback = func(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) {
				_ = cc.UpdateState(f.state())
				report(target, cc, opts)
			}
		}, "the resolver: on fire"},
		{"only an error", func(f *fleet) { f.resolver = onlyError(errors.New("on fire")) }, "the resolver of fleet:///orders has not found any address yet"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			f := newFleet(t, 1, nil)
			r.does(f)
			p, _ := picking(time.Millisecond)
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
			var err error
			eventually(t, "the error says "+r.want, func() bool {
				_, err = client.Get(limited(t), &pb.GetRequest{})
				return says(err, r.want)
			})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("Get() = %v, want UNAVAILABLE", err)
			}
		})
	}
}

func TestAnotherBalancerInTheServiceConfigIsNamed(t *testing.T) {
	f := newFleet(t, 1, nil)
	p, _ := picking(time.Millisecond)
	conn := f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...)
	f.resolver.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
		s := f.state(f.hosts...)
		s.ServiceConfig = cc.ParseServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`)
		f.resolver.InitialState(s)
	}
	if _, err := pb.NewOrdersClient(conn).Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.FailedPrecondition || !says(err, "WithDisableServiceConfig") || says(err, "resolver of") {
		t.Errorf("Get() = %v, want FAILED_PRECONDITION that says how to have the policy pick", err)
	}
}

// What the policy has picked is not left to another balancer, which would send it
// anywhere: also where the endpoints are its own, and the config has none.
func TestAnAttemptThatWasPickedIsNotSentAnywhereElse(t *testing.T) {
	for _, text := range []string{`{"methodConfig": []}`, `{"loadBalancingConfig": [{"round_robin": {}}]}`} {
		f := newFleet(t, 1, nil)
		elsewhere := newFleet(t, 1, nil)
		p := backstay.New(attempting(3), loadbalance.New(loadbalance.RoundRobin(), f.hosts[0].addr))
		client := pb.NewOrdersClient(elsewhere.connect(t, append(grpccall.DialOptions(p, grpccall.Config{}), grpc.WithDefaultServiceConfig(text))...))
		for range 3 {
			if _, err := client.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.FailedPrecondition || !says(err, "Config.ServiceConfig") || strings.Count(err.Error(), "rpc error") != 1 {
				t.Errorf("Get() with the service config %s after ours = %v, want FAILED_PRECONDITION that says what to use", text, err)
			}
		}
		if n := elsewhere.hosts[0].count(); n != 0 {
			t.Errorf("a host that the policy did not pick got %d calls, want 0", n)
		}
	}
}

// The time of the call is shorter than the wait for endpoints.
//
// G-15
func TestATimeoutTellsWhatTheCallWaitedFor(t *testing.T) {
	leak.Check(t)
	for _, row := range []struct {
		cfg  grpccall.Config
		from *manual.Resolver
		want string
	}{
		{grpccall.Config{}, onlyError(errors.New("on fire")), "the resolver of fleet:///orders has not found any address yet"},
		{grpccall.Config{IgnoreResolver: true}, newResolver(resolver.State{}), "no endpoints"},
	} {
		p := backstay.New(timeout.Call(50*time.Millisecond), loadbalance.NewBalancer(loadbalance.Config{}))
		c := dial(t, "fleet:///orders", p, row.cfg, grpc.WithResolvers(row.from))
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.DeadlineExceeded || !says(err, "took longer than 50ms", row.want) {
			t.Errorf("Get() = %v, want DEADLINE_EXCEEDED that says %q", err, row.want)
		}
	}
}

func TestABalancerServesOneChannelAtATime(t *testing.T) {
	f := newFleet(t, 1, nil)
	other := &fleet{hosts: f.hosts, resolver: newResolver(f.state(f.hosts...))}
	p, _ := picking(0)
	one, two := grpccall.DialOptions(p, grpccall.Config{}), grpccall.DialOptions(p, grpccall.Config{})
	first := f.connect(t, one...)
	mustGet(t, pb.NewOrdersClient(first))
	second := other.connect(t, two...)
	second.Connect()
	eventually(t, "the second channel fails", func() bool { return second.GetState() == connectivity.TransientFailure })
	if _, err := pb.NewOrdersClient(second).Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || !says(err, "serves another gRPC channel already") {
		t.Errorf("Get() on the second channel = %v, want UNAVAILABLE that says that the balancer serves another", err)
	}
	mustGet(t, pb.NewOrdersClient(first))
	_ = first.Close()
	eventually(t, "the second channel has the balancer", func() bool {
		_, err := pb.NewOrdersClient(second).Get(limited(t), &pb.GetRequest{})
		return err == nil
	})
}

// The endpoints that the balancer has are those of the first channel's resolver,
// and not its own.
func TestABalancerThatServedAnotherChannelHasNoEndpointsOfItsOwn(t *testing.T) {
	one, two := newFleet(t, 1, nil), newFleet(t, 1, nil)
	p, _ := picking(0)
	first := one.connect(t, grpccall.DialOptions(p, grpccall.Config{})...)
	mustGet(t, pb.NewOrdersClient(first))
	second := pb.NewOrdersClient(two.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	if _, err := second.Get(limited(t), &pb.GetRequest{}); !says(err, "serves another gRPC channel already") || one.hosts[0].count() != 1 {
		t.Errorf("Get() on a second channel = %v, and the host of the first got %d calls, want it refused and 1", err, one.hosts[0].count())
	}
	_ = first.Close()
	eventually(t, "the second channel has the balancer", func() bool {
		_, err := second.Get(limited(t), &pb.GetRequest{})
		return err == nil
	})
	if one.hosts[0].count() != 1 || two.hosts[0].count() == 0 {
		t.Errorf("the hosts of the two channels got %d and %d calls, want 1 and some", one.hosts[0].count(), two.hosts[0].count())
	}
}

// gRPC does not count a call that waits in the policy.
//
// G-22
func TestAWaitForReadyCallKeepsTheChannelAwake(t *testing.T) {
	f := newFleet(t, 1, nil)
	r := manual.NewBuilderWithScheme("fleet")
	builds := 0
	r.BuildCallback = func(resolver.Target, resolver.ClientConn, resolver.BuildOptions) {
		r.InitialState(f.state())
		if builds++; builds == 2 {
			r.InitialState(f.state(f.hosts...))
		}
	}
	f.resolver = r
	p, _ := picking(time.Millisecond)
	client := pb.NewOrdersClient(f.connect(t, append(grpccall.DialOptions(p, grpccall.Config{}), grpc.WithIdleTimeout(50*time.Millisecond))...))
	if _, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("Get() that waits while the channel goes idle, after which there is a host = %v, want no error", err)
	}
}

// L-26
func TestAPickDoesNotConnectAnEndpointThatHasLeft(t *testing.T) {
	f := newFleet(t, 2, nil)
	both, one := loadbalance.Endpoints(f.hosts[0].addr, f.hosts[1].addr), loadbalance.Endpoints(f.hosts[1].addr)
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: both})
	var leaves atomic.Bool
	during := meddler(func() {
		if leaves.Swap(false) {
			_ = b.Update(one...)
		}
	})
	client := pb.NewOrdersClient(connect(t, "passthrough:///orders", grpccall.DialOptions(backstay.New(b, during), grpccall.Config{})...))
	for range 10 {
		if err := b.Update(both...); err != nil {
			t.Fatal(err)
		}
		f.reach(t, client, f.hosts...)
		leaves.Store(true)
		for range 5 {
			mustGet(t, client)
		}
		eventually(t, "the endpoint that has left is not connected", func() bool { return f.hosts[0].open.Load() == 0 })
	}
}

// A meddler is a middleware that is asked which endpoints to pass over, in a pick.
type meddler func()

func (m meddler) String() string                        { return "meddler" }
func (m meddler) Traits() backstay.Traits               { return backstay.Traits{NeedsEndpoint: true, Judges: true} }
func (m meddler) Wrap(next backstay.Func) backstay.Func { return next }
func (m meddler) Blocks(string) bool                    { m(); return false }

// What stands between us and gRPC may have a context of its own.
func TestAnAttemptThatIsNotRecognisedIsPickedLate(t *testing.T) {
	f := newFleet(t, 2, nil)
	p := backstay.New(loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Random()}))
	stranger := func(_ context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return invoker(context.Background(), method, req, reply, cc, opts...)
	}
	client := pb.NewOrdersClient(f.connect(t, append(grpccall.DialOptions(p, grpccall.Config{}), grpc.WithChainUnaryInterceptor(stranger))...))
	f.reach(t, client, f.hosts...)
}

// L-22, over gRPC.
func TestABreakerBeneathIsPassedOver(t *testing.T) {
	f := newFleet(t, 2, func(i int, h *host) {
		if i == 0 {
			h.get = func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
				return nil, status.Error(codes.Unavailable, "broken")
			}
		}
	})
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Health: loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never}})
	p := backstay.New(b, breaker.NewGroup(breaker.Config{Name: "orders", ConsecutiveFailures: 2, Cooldown: time.Hour}, breaker.ByEndpoint))
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{})...))
	eventually(t, "the breaker is open, and the other host connected", func() bool {
		_, _ = client.Get(limited(t), &pb.GetRequest{})
		return f.hosts[0].count() == 2 && f.hosts[1].count() > 0
	})
	for range 20 {
		mustGet(t, client)
	}
}

// A chooser is a middleware that picks endpoints, and is no Balancer.
type chooser struct{ under }

func (chooser) String() string          { return "chooser" }
func (chooser) Traits() backstay.Traits { return backstay.Traits{Picks: true} }

func TestAnotherKindOfBalancerIsRefused(t *testing.T) {
	p := backstay.New(chooser{func(ctx context.Context, call *backstay.Call, next backstay.Func) error { return next(ctx, call) }})
	if got := panicIn(func() { grpccall.DialOptions(p, grpccall.Config{}) }); got == nil {
		t.Error("DialOptions with a policy that picks without a loadbalance.Balancer returned, want a panic")
	}
}

func TestADialOptionWithABalancerTwiceIsRefused(t *testing.T) {
	p, _ := picking(0)
	rows := []string{`{"loadBalancingConfig": [{"round_robin": {}}]}`, `{"loadBalancingPolicy": "round_robin"}`, `[]`, `null`}
	for _, text := range rows {
		if got := panicIn(func() { grpccall.DialOptions(p, grpccall.Config{ServiceConfig: text}) }); got == nil {
			t.Errorf("DialOptions with the service config %s returned, want a panic", text)
		}
	}
}
