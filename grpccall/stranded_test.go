package grpccall_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
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
		"Place":  placeOne,
		"Import": placeMany, // whose stream the policy cannot make again
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

func placeOne(t *testing.T, c pb.OrdersClient) error {
	_, err := c.Place(limited(t), &pb.PlaceRequest{})
	return err
}

func placeMany(t *testing.T, c pb.OrdersClient) error {
	s, err := c.Import(limited(t))
	if err != nil {
		return err
	}
	_ = s.Send(&pb.PlaceRequest{})
	_, err = s.CloseAndRecv()
	return err
}

// What gRPC makes again is for the same key, and no endpoint that the key does not
// have gets it.
//
// L-16, L-17
func TestAStreamThatIsMadeAgainKeepsItsKey(t *testing.T) {
	keys := map[string]func(context.Context, *backstay.Call) string{
		"the idempotency key":  func(_ context.Context, call *backstay.Call) string { return call.IdempotencyKey },
		"the target":           func(_ context.Context, call *backstay.Call) string { return call.Target },
		"the operation":        func(_ context.Context, call *backstay.Call) string { return call.Op },
		"what may be repeated": func(_ context.Context, call *backstay.Call) string { return fmt.Sprint(call.Unsafe) },
		"what may not":         func(_ context.Context, call *backstay.Call) string { return fmt.Sprint(call.Unsafe) },
		"the attempt":          func(_ context.Context, call *backstay.Call) string { return fmt.Sprint(call.Attempt) },
		"the method": func(_ context.Context, call *backstay.Call) string {
			r, _ := backstay.Peek[*grpccall.Request](call)
			return r.Method
		},
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			w := &wire{fates: []fate{goAway}}
			drains := w.once(t, true)
			s := f.state(f.hosts...)
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: drains}}})
			f.resolver = newResolver(s)
			schema, err := loadbalance.HashSchema(loadbalance.Partition{Name: "p", Endpoints: []string{drains, f.hosts[0].addr}})
			if err != nil {
				t.Fatal(err)
			}
			var want string
			parts := loadbalance.NewPartitions(func(ctx context.Context, call *backstay.Call) string {
				got := key(ctx, call)
				if want == "" {
					want = got
				}
				if got != want || got == "" {
					t.Errorf("the key of the call that is made again = %q, want %q", got, want)
				}
				return got
			}, schema, loadbalance.RoundRobin())
			third := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				call.Attempt = 3
				return next(ctx, call)
			})
			p := backstay.New(idempotency.Keys(idempotency.KeysConfig{}), third, loadbalance.NewBalancer(loadbalance.Config{Strategy: parts.Strategy()}))
			cfg := grpccall.Config{NoHealth: true}
			if name == "what may be repeated" {
				cfg.Idempotent = func(string) bool { return true } // which the method's definition does not say
			}
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, cfg)...))
			eventually(t, "the draining server has had a call", func() bool {
				want = ""
				s, err := client.Import(limited(t), grpc.WaitForReady(true))
				if err == nil {
					_ = s.Send(&pb.PlaceRequest{})
					_, err = s.CloseAndRecv()
				}
				if err != nil {
					t.Fatalf("Import() = %v, want no error", err)
				}
				return w.streams() == 1
			})
			if got := f.counts(); got[1]+got[2] != 0 {
				t.Errorf("the hosts of other partitions got %d calls, want 0", got[1]+got[2])
			}
		})
	}
}

// What becomes of an attempt that has moved is that of the endpoint it moved to.
//
// L-18, B-15
func TestAnAttemptThatMovesSaysNothingOfTheServerThatDrains(t *testing.T) {
	bad := status.Error(codes.Unavailable, "bad")
	calls := map[string]func(*testing.T, pb.OrdersClient) error{
		"Place":  placeOne,
		"Import": placeMany,
		"Watch": func(t *testing.T, c pb.OrdersClient) error {
			_, err := watchAll(limited(t), c)
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 1, func(_ int, h *host) {
				h.place = func(context.Context, int, *pb.PlaceRequest) (*pb.Order, error) { return nil, bad }
				h.upload = func(int, grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error { return bad }
				h.watch = func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error { return bad }
			})
			w := &wire{fates: []fate{goAway}}
			drains := w.once(t, false)
			s := f.state(f.hosts...)
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: drains}}})
			f.resolver = newResolver(s)
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Health: loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never}})
			group := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1, Cooldown: time.Hour}, breaker.ByEndpoint)
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b, group), grpccall.Config{NoHealth: true})...))
			eventually(t, "the draining server has had a call", func() bool {
				group.Forget(f.hosts[0].addr) // so that it is not passed over
				if err := call(t, client); status.Code(err) != codes.Unavailable || !says(err, "bad") {
					t.Fatalf("the call = %v, want UNAVAILABLE", err)
				}
				return w.streams() == 1
			})
			for _, n := range b.Nodes() {
				if sick := n.Address() != drains; (n.Failures() > 0) != sick || n.InFlight() != 0 {
					t.Errorf("%s, which is sick: %v, has %d failures and %d calls in flight", n.Address(), sick, n.Failures(), n.InFlight())
				}
			}
			if got := group.State(drains); got != breaker.Closed {
				t.Errorf("the breaker of the server that drains is %v, want closed", got)
			}
		})
	}
}

// gRPC does not finish a unary call to which there are two replies, and does not
// tell its Picker that it has ended.
func TestACallThatGRPCDoesNotFinishIsNotInFlight(t *testing.T) {
	leak.Check(t)
	drains, odd := &wire{fates: []fate{goAway}}, &wire{fates: slices.Repeat([]fate{double}, 1000)}
	s := resolver.State{}
	for _, address := range []string{drains.once(t, true), odd.start(t)} {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Health: loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never}})
	client := dial(t, "fleet:///orders", backstay.New(b), grpccall.Config{NoHealth: true}, grpc.WithResolvers(newResolver(s)))
	eventually(t, "the draining server has had a call", func() bool {
		if err := placeOne(t, client); status.Code(err) != codes.Internal {
			t.Fatalf("Place() = %v, want INTERNAL", err)
		}
		return drains.streams() == 1
	})
	for _, n := range b.Nodes() {
		if n.InFlight() != 0 {
			t.Errorf("%s has %d calls in flight afterwards", n.Address(), n.InFlight())
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
		if call.Endpoint == sick.addr && !slices.Contains(f.counts(), 0) {
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
	f := newFleet(t, 1, nil)
	lis, home := listen(t), &host{} // which accepts connections, and says nothing yet
	s := f.state(f.hosts...)
	s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: lis.Addr().String()}}})
	f.resolver = newResolver(s)
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Hash(loadbalance.HashConfig{Key: grpccall.ByMetadata("x-user"), Strict: true})})
	group := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1, Cooldown: time.Hour}, breaker.ByEndpoint)
	var attempts atomic.Int32
	under := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		attempts.Add(1)
		return next(ctx, call)
	})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b, group, under), grpccall.Config{})...))
	user := 0
	eventually(t, "a call waits, though a host is connected", func() bool {
		user++
		before := f.hosts[0].count()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := client.Get(as(ctx, user), &pb.GetRequest{})
		return status.Code(err) == codes.DeadlineExceeded && before > 0 && before == f.hosts[0].count()
	})
	done := make(chan error)
	attempts.Store(0)
	go func() {
		_, err := client.Get(as(limited(t), user), &pb.GetRequest{})
		done <- err
	}()
	eventually(t, "the call has been picked", func() bool { return attempts.Load() > 0 })
	home.serve(lis)
	t.Cleanup(home.down)
	if err := <-done; err != nil || home.count() != 1 || attempts.Load() != 1 || group.State(home.addr) != breaker.Closed {
		t.Errorf("Get() = %v when its endpoint is connected, which was asked %d times, after %d attempts, breaker %v; want no error, once, 1, closed",
			err, home.count(), attempts.Load(), group.State(home.addr))
	}
}

// What no breaker stands beneath is not sent where one is open, though nothing
// else is connected.
//
// L-22, B-15
func TestWhatIsMadeAgainHeedsTheOnlyOtherBreaker(t *testing.T) {
	for name, call := range map[string]func(*testing.T, pb.OrdersClient) error{"Place": placeOne, "Import": placeMany} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 1, nil)
			w := &wire{fates: []fate{goAway}}
			s := f.state(f.hosts...)
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: w.once(t, true)}}})
			f.resolver = newResolver(s)
			group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
			group.Breaker(f.hosts[0].addr).ForceOpen()
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b, group), grpccall.Config{NoHealth: true})...))
			var err error
			eventually(t, "the draining server has had a call", func() bool {
				err = call(t, client)
				return w.streams() == 1
			})
			if n := f.hosts[0].count(); n != 0 || status.Code(err) != codes.Unavailable {
				t.Errorf("the call = %v, and the host whose breaker is open got %d calls; want UNAVAILABLE, 0", err, n)
			}
		})
	}
}

// A stream that gRPC makes again goes where its call has not been.
//
// L-23
func TestAStreamThatIsMadeAgainGoesWhereItsCallHasNotBeen(t *testing.T) {
	calls := map[string]func(context.Context, pb.OrdersClient) error{
		"Get": func(ctx context.Context, c pb.OrdersClient) error {
			_, err := c.Get(ctx, &pb.GetRequest{})
			return err
		},
		"Watch": func(ctx context.Context, c pb.OrdersClient) error {
			_, err := watchAll(ctx, c)
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			var sick atomic.Pointer[error]
			sick.Store(new(error))
			f := newFleet(t, 2, func(i int, h *host) {
				if i == 0 {
					h.get = func(context.Context, int, *pb.GetRequest) (*pb.Order, error) { return &pb.Order{}, *sick.Load() }
					h.watch = func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error { return *sick.Load() }
				}
			})
			w := &wire{}
			drains := w.once(t, true)
			s := f.state(f.hosts...)
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: drains}}})
			f.resolver = newResolver(s)

			// The strategy takes the sick one, then the one that drains, then the sick
			// one again if it may.
			order := []string{f.hosts[0].addr, drains, f.hosts[1].addr}
			var look atomic.Pointer[string] // which the calls go to that see whether all are connected
			rank := func(n *loadbalance.Node) int {
				if address := look.Load(); address != nil && n.Address() == *address {
					return -1
				}
				return slices.Index(order, n.Address())
			}
			first := func(_ context.Context, _ *backstay.Call, nodes []*loadbalance.Node) *loadbalance.Node {
				return slices.MinFunc(nodes, func(a, b *loadbalance.Node) int { return rank(a) - rank(b) })
			}
			b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.Custom("first", first)})
			p := backstay.New(retry.New(retry.Config{MaxAttempts: 2, Backoff: retry.NoPause()}), b)
			client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{NoHealth: true, Idempotent: func(string) bool { return true }})...))
			for i, had := range []func() int{f.hosts[0].count, w.streams, f.hosts[1].count} {
				look.Store(&order[i])
				eventually(t, "the endpoint has had a call", func() bool { mustGet(t, client); return had() > 0 })
			}
			look.Store(nil)
			answered := w.streams()
			w.mu.Lock()
			w.fates = append(slices.Repeat([]fate{answer}, answered), goAway)
			w.mu.Unlock()
			err := status.Error(codes.Unavailable, "sick")
			sick.Store(&err)
			before := f.counts()
			err = call(limited(t), client)
			if got := f.since(before); err != nil || got[0] != 1 || got[1] != 1 || w.streams() != answered+1 {
				t.Errorf("the call = %v; the sick host, the well one and the one that drains were asked %v, %d times; want no error, once each", err, got, w.streams()-answered)
			}
		})
	}
}
