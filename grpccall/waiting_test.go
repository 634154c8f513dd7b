package grpccall_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

// favourite is a strategy that takes the endpoint at address wherever it may.
func favourite(address string) loadbalance.Strategy {
	return loadbalance.Custom("favourite", func(_ context.Context, _ *backstay.Call, nodes []*loadbalance.Node) *loadbalance.Node {
		for _, n := range nodes {
			if n.Address() == address {
				return n
			}
		}
		return nodes[0]
	})
}

// A call waits for a connection while the breaker of what is connected is open.
// Nobody tells it when that closes.
//
// G-22, L-22
func TestACallThatWaitsGoesWhereABreakerHasClosed(t *testing.T) {
	hangs := func(t *testing.T, f *fleet) string { // is CONNECTING
		addr := listen(t).Addr().String()
		s := f.state(f.hosts...)
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
		f.resolver = newResolver(s)
		return addr
	}
	refuses := func(t *testing.T, f *fleet) string { // is in TRANSIENT_FAILURE
		gone := &host{}
		gone.up(t)
		gone.down()
		f.resolver = newResolver(f.state(f.hosts[0], gone))
		return gone.addr
	}
	for _, row := range []struct {
		name  string
		other func(*testing.T, *fleet) string
		opts  []grpc.CallOption
	}{
		{"in gRPC's queue", hangs, nil},
		{"in the policy", refuses, []grpc.CallOption{grpc.WaitForReady(true)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFleet(t, 1, nil)
			other, well := row.other(t, f), f.hosts[0]
			group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: favourite(other)})
			begun := make(chan struct{}, 1)
			watch := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				if call.Endpoint == other {
					select {
					case begun <- struct{}{}:
					default:
					}
				}
				return next(ctx, call)
			})
			once := grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour}, MinConnectTimeout: time.Hour})
			client := pb.NewOrdersClient(connect(t, "fleet:///orders", append(grpccall.DialOptions(backstay.New(b, group, watch), grpccall.Config{NoHealth: true}), grpc.WithResolvers(f.resolver), once)...))
			mustGet(t, client)
			for calls := 2; calls <= 4; calls++ { // the first may be woken by what else happens
				group.Breaker(well.addr).ForceOpen()
				done := make(chan error)
				go func() {
					_, err := client.Get(limited(t), &pb.GetRequest{}, row.opts...)
					done <- err
				}()
				<-begun
				select {
				case err := <-done:
					t.Fatalf("the call ended while the breaker was open: %v", err)
				case <-time.After(10 * time.Millisecond):
				}
				group.Breaker(well.addr).Reset()
				if err := <-done; err != nil || well.count() != calls {
					t.Fatalf("the call = %v, and the host was asked %d times, want no error, %d", err, well.count(), calls)
				}
				select {
				case <-begun: // of a look in between
				default:
				}
			}
		})
	}
}

// It does not wait for endpoints, say for the 5 seconds of Config.Wait.
//
// G-15
func TestACallOnAClosedChannelEndsAtOnce(t *testing.T) {
	leak.Check(t)
	p := backstay.New(loadbalance.NewBalancer(loadbalance.Config{Wait: time.Hour}))
	conn := connect(t, "127.0.0.1:1", grpccall.DialOptions(p, grpccall.Config{})...)
	_ = conn.Close()
	client := pb.NewOrdersClient(conn)
	for name, call := range map[string]func(...grpc.CallOption) error{
		"Get": func(opts ...grpc.CallOption) error {
			_, err := client.Get(limited(t), &pb.GetRequest{}, opts...)
			return err
		},
		"Watch": func(opts ...grpc.CallOption) error {
			_, err := watchAll(limited(t), client, opts...)
			return err
		},
	} {
		for _, waits := range []bool{false, true} {
			if err := call(grpc.WaitForReady(waits)); status.Code(err) != codes.Canceled || !says(err, "the client connection is closing") {
				t.Errorf("%s, wait-for-ready %v = %v, want CANCELLED, for the client connection is closing", name, waits, err)
			}
		}
	}
}

// An observer is what a call tells of itself.
type observer func(backstay.Event)

func (o observer) Observe(_ *backstay.Call, e backstay.Event) { o(e) }

// G-22
func TestACallThatWaitsMissesNoEndpointThatComesMeanwhile(t *testing.T) {
	f := newFleet(t, 1, nil)
	var told sync.Once
	come := func() {}
	watch := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.Watch(observer(func(e backstay.Event) {
			if e.Kind == backstay.EventReject {
				told.Do(come)
			}
		}))
		return next(ctx, call)
	})
	p := backstay.New(watch, loadbalance.NewBalancer(loadbalance.Config{}))
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{NoHealth: true})...))
	mustGet(t, client)
	f.resolver.UpdateState(f.state())
	come = func() { f.resolver.UpdateState(f.state(f.hosts...)) }
	if _, err := client.Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("Get() that waits = %v, where endpoints come when it has found none; want no error", err)
	}
}

// A late listener accepts connections one by one, each after a while.
type late struct {
	net.Listener
	after time.Duration
}

func (l late) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		<-time.After(l.after)
	}
	return conn, err
}

// gRPC does not count a call that waits in the policy, and ends the attempts to
// connect of a channel that is idle.
//
// G-22
func TestAChannelConnectsThoughThatTakesLongerThanItsIdleTimeout(t *testing.T) {
	leak.Check(t)
	h := &host{}
	h.serve(late{listen(t), 200 * time.Millisecond})
	t.Cleanup(h.down)
	p := backstay.New(loadbalance.NewBalancer(loadbalance.Config{}))
	mustGet(t, dial(t, h.addr, p, grpccall.Config{NoHealth: true}, grpc.WithIdleTimeout(100*time.Millisecond)))
}

// The endpoints of the policy's balancer are either the resolver's or somebody
// else's.
func TestEndpointsFromTwoSourcesAreToldApart(t *testing.T) {
	f := newFleet(t, 2, nil)
	b := loadbalance.NewBalancer(loadbalance.Config{})
	opts := grpccall.DialOptions(backstay.New(b), grpccall.Config{NoHealth: true})
	f.resolver = newResolver(f.state(f.hosts[0]))
	client := pb.NewOrdersClient(f.connect(t, opts...))
	mustGet(t, client)
	if err := b.Update(loadbalance.Endpoints(f.hosts[1].addr)...); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || !says(err, f.hosts[1].addr, "set Config.IgnoreResolver") {
		t.Errorf("Get() where Update has brought an endpoint beside the resolver's = %v, want UNAVAILABLE that says how to mend it", err)
	}
}

// A call that waits for endpoints does not wait for those of a closed channel.
//
// G-15, G-22
func TestACallThatWaitsForEndpointsEndsWithItsChannel(t *testing.T) {
	for name, own := range map[string]bool{"of the resolver": false, "of the balancer's own": true} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			f := newFleet(t, 1, nil)
			f.resolver.InitialState(f.state())
			looked := make(chan struct{}, 1)
			watch := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				call.Watch(observer(func(e backstay.Event) {
					if e.Kind == backstay.EventReject {
						select {
						case looked <- struct{}{}:
						default:
						}
					}
				}))
				return next(ctx, call)
			})
			p := backstay.New(watch, loadbalance.NewBalancer(loadbalance.Config{Wait: time.Millisecond}))
			conn := f.connect(t, grpccall.DialOptions(p, grpccall.Config{NoHealth: true, IgnoreResolver: own})...)
			done := make(chan error)
			go func() {
				_, err := pb.NewOrdersClient(conn).Get(limited(t), &pb.GetRequest{}, grpc.WaitForReady(true))
				done <- err
			}()
			<-looked
			_ = conn.Close()
			if err := <-done; status.Code(err) != codes.Canceled || !says(err, "the client connection is closing") {
				t.Errorf("Get() = %v, want CANCELLED, for the client connection is closing", err)
			}
		})
	}
}
