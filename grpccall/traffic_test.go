package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A way to make calls at a fleet.
type way struct {
	name string
	// options returns those of a channel with the way's policy, and some more
	// above and beneath it.
	options func(above, beneath []backstay.Middleware) []grpc.DialOption
	// nodes returns those of the balancers of its policies.
	nodes func() []*loadbalance.Node
}

// ways are those with a balancer in the policy, and in the service config.
func ways() []way {
	var nodes []func() []*loadbalance.Node
	return []way{
		{"by the policy", func(above, beneath []backstay.Middleware) []grpc.DialOption {
			balancer := loadbalance.NewBalancer(loadbalance.Config{})
			nodes = append(nodes, balancer.Nodes)
			return grpccall.DialOptions(backstay.New(slices.Concat(above, []backstay.Middleware{
				timeout.Call(within),
				retry.New(retry.Config{}),
				balancer,
				breaker.NewGroup(breaker.Config{Name: "orders"}, breaker.ByEndpoint),
				timeout.Attempt(within / 4),
			}, beneath)...), grpccall.Config{})
		}, func() (all []*loadbalance.Node) {
			for _, of := range nodes {
				all = append(all, of()...)
			}
			return all
		}},
		{"late", func(above, beneath []backstay.Middleware) []grpc.DialOption {
			return grpccall.DialOptions(backstay.New(slices.Concat(above, []backstay.Middleware{
				timeout.Call(within),
				retry.New(retry.Config{}),
				timeout.Attempt(within / 4),
			}, beneath)...), grpccall.Config{ServiceConfig: grpccall.BalancerConfig{Strategy: "peak_ewma"}.ServiceConfig()})
		}, func() []*loadbalance.Node { return nil }},
	}
}

// Books are what the hosts of a fleet have done, and who is to be how slow.
type books struct {
	store idempotency.Store
	slow  int // the host that is 20 times slower

	mu     sync.Mutex
	placed map[string]int // by item
}

func newBooks() *books {
	return &books{store: idempotency.NewMemory(idempotency.MemoryConfig{}), slow: 2, placed: map[string]int{}}
}

// orders is how many a Watch sends.
const ordersWatched = 4

// prepare has the ith host work for b.
func (b *books) prepare(i int, h *host) {
	offersHealth(i, h)
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: b.store})
	h.opts = []grpc.ServerOption{grpc.UnaryInterceptor(grpccall.UnaryServerInterceptor(guard, grpccall.ServerConfig{
		Methods: []string{"/orders.v1.Orders/Place"}, Tenant: grpccall.OneTenant, Optional: true,
	}))}
	pace := 5 * time.Millisecond // much more than what a busy machine adds
	if i == b.slow {
		pace *= 20
	}
	h.get = func(_ context.Context, _ int, req *pb.GetRequest) (*pb.Order, error) {
		<-time.After(pace)
		return &pb.Order{Id: req.Id}, nil
	}
	h.place = func(_ context.Context, _ int, req *pb.PlaceRequest) (*pb.Order, error) {
		b.place(req.Item)
		<-time.After(pace)
		return &pb.Order{Item: req.Item}, nil
	}
	h.watch = func(_ int, req *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
		for n := range ordersWatched {
			<-time.After(pace / ordersWatched)
			if err := s.Send(&pb.Order{Id: req.Id, Quantity: int32(n)}); err != nil {
				return err
			}
		}
		return nil
	}
}

func (b *books) place(item string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.placed[item]++
}

// times returns how often an item was ordered.
func (b *books) times(item string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.placed[item]
}

// Traffic is calls of all kinds at a fleet, which go on until stop and of which
// none may fail that need not.
type traffic struct {
	t      testing.TB
	books  *books
	over   chan struct{}
	wg     sync.WaitGroup
	ended  []*atomic.Int64 // the calls of each goroutine
	made   atomic.Int64
	failed atomic.Int64 // of those that may
	late   atomic.Int64 // attempts that ran out of time
	kills  atomic.Int64 // odd while a host is being killed
}

func newTraffic(t testing.TB, b *books) *traffic {
	tr := &traffic{t: t, books: b, over: make(chan struct{})}
	t.Cleanup(tr.stop)
	return tr
}

// stop ends the calls.
func (tr *traffic) stop() {
	if !closed(tr.over) {
		close(tr.over)
	}
	tr.wg.Wait()
}

// flow has n goroutines make calls.
func (tr *traffic) flow(n int, call func(id string)) {
	for range n {
		ended := new(atomic.Int64)
		tr.ended = append(tr.ended, ended)
		tr.wg.Go(func() {
			for !closed(tr.over) {
				call(fmt.Sprint(tr.made.Add(1)))
				ended.Add(1)
			}
		})
	}
}

// settle waits until the calls that are under way have ended.
func (tr *traffic) settle() {
	tr.t.Helper()
	before := make([]int64, len(tr.ended))
	for i, n := range tr.ended {
		before[i] = n.Load()
	}
	eventually(tr.t, "the calls end", func() bool {
		for i, n := range tr.ended {
			if n.Load() == before[i] {
				return false
			}
		}
		return true
	})
}

// more waits until n more calls have been begun.
func (tr *traffic) more(n int64) {
	tr.t.Helper()
	enough := tr.made.Load() + n
	eventually(tr.t, "calls go on", func() bool { return tr.made.Load() >= enough })
}

// kill stops a host, connections and all, but not two that the same call is at:
// it has three attempts, of which an answer that the first is still at work takes
// one.
func (tr *traffic) kill(h *host) {
	tr.t.Helper()
	tr.settle()
	tr.kills.Add(1)
	h.down()
	tr.kills.Add(1)
}

// get makes a call that must not fail.
func (tr *traffic) get(client pb.OrdersClient) func(string) {
	return func(id string) {
		o, err := client.Get(tr.t.Context(), &pb.GetRequest{Id: id})
		if err != nil || o.Id != id {
			tr.t.Errorf("Get(%s) = %v, %v (%v), want its order", id, o, err, errors.Unwrap(err))
		}
	}
}

// watch makes a streaming call, which may fail only if it has begun to answer,
// at a host that is killed meanwhile.
func (tr *traffic) watch(client pb.OrdersClient) func(string) {
	return func(id string) {
		before := tr.kills.Load()
		ctx, cancel := context.WithCancel(tr.t.Context())
		defer cancel()
		s, err := client.Watch(ctx, &pb.WatchRequest{Id: id})
		if err != nil {
			tr.t.Errorf("Watch(%s) = %v, want no error", id, err)
			return
		}
		got, err := drain(s)
		switch begun, _ := s.Header(); {
		case err == nil && got == "0 1 2 3":
		case begun != nil && status.Code(err) == codes.Unavailable && (before%2 == 1 || tr.kills.Load() != before):
			tr.failed.Add(1)
		default:
			tr.t.Errorf("Watch(%s) = orders %q, %v after headers %v, want 0 1 2 3", id, got, err, begun)
		}
	}
}

// place makes a call that may fail with UNAVAILABLE and must not be done twice.
func (tr *traffic) place(client pb.OrdersClient) func(string) {
	return func(id string) {
		item := "without a key " + id
		_, err := client.Place(tr.t.Context(), &pb.PlaceRequest{Item: item})
		switch n := tr.books.times(item); {
		case err == nil && n == 1:
		case status.Code(err) == codes.Unavailable && n <= 1:
			tr.failed.Add(1)
		default:
			tr.t.Errorf("Place(%s) = %v, done %d times, want once, or at most once and UNAVAILABLE", item, err, n)
		}
	}
}

// placeOnce makes a call that must be done once.
func (tr *traffic) placeOnce(client pb.OrdersClient) func(string) {
	return func(id string) {
		item := "with a key " + id
		_, err := client.Place(tr.t.Context(), &pb.PlaceRequest{Item: item})
		if n := tr.books.times(item); err != nil || n != 1 {
			tr.t.Errorf("Place(%s) = %v (%v), done %d times, want once and no error", item, err, errors.Unwrap(err), n)
		}
	}
}

// patience is a middleware that counts attempts which ran out of time: what was
// lost must be noticed, not waited for.
func (tr *traffic) patience() []backstay.Middleware {
	return []backstay.Middleware{under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		err := next(ctx, call)
		if backstay.TypeOf(err) == "timeout" {
			tr.late.Add(1)
		}
		return err
	})}
}

// check stops the calls and looks at what they came to.
func (tr *traffic) check() {
	tr.t.Helper()
	tr.stop()
	tr.books.mu.Lock()
	defer tr.books.mu.Unlock()
	for item, n := range tr.books.placed {
		if n != 1 {
			tr.t.Errorf("%s was ordered %d times, want once", item, n)
		}
	}
	if n := tr.late.Load(); n != 0 {
		tr.t.Errorf("%d attempts ran out of time, want none", n)
	}
}
