package grpccall_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/stats"

	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/internal/leak"
)

// A host is a server that can be killed and come back at its address.
type host struct {
	server
	health *health.Server // nil where it does not offer its health
	opts   []grpc.ServerOption
	opened atomic.Int32 // connections so far
	open   atomic.Int32 // and now
	wg     sync.WaitGroup
}

// up starts h at its address, or at a new one where it has none.
func (h *host) up(t testing.TB) {
	t.Helper()
	addr := h.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	h.serve(lis)
}

// serve has h answer on lis.
func (h *host) serve(lis net.Listener) {
	h.addr = lis.Addr().String()
	h.grpc = grpc.NewServer(append(h.opts, grpc.StatsHandler(connections{h}))...)
	pb.RegisterOrdersServer(h.grpc, &h.server)
	if h.health != nil {
		grpc_health_v1.RegisterHealthServer(h.grpc, h.health)
	}
	h.wg.Go(func() { _ = h.grpc.Serve(lis) })
}

// down kills h with all its connections.
func (h *host) down() {
	h.grpc.Stop()
	h.wg.Wait()
}

// count returns how many calls h was asked for.
func (h *host) count() int { return len(h.attempts()) }

// connections counts those of a host.
type connections struct{ host *host }

func (c connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.host.opened.Add(1)
		c.host.open.Add(1)
	case *stats.ConnEnd:
		c.host.open.Add(-1)
	}
}

// A fleet is hosts behind one name.
type fleet struct {
	hosts    []*host
	resolver *manual.Resolver
}

// newFleet starts n hosts, each made by prepare where that is not nil. No
// goroutine may be left at the end of the test.
func newFleet(t testing.TB, n int, prepare func(i int, h *host)) *fleet {
	t.Helper()
	leak.Check(t)
	f := &fleet{}
	for i := range n {
		h := &host{}
		if prepare != nil {
			prepare(i, h)
		}
		h.up(t)
		t.Cleanup(h.down)
		f.hosts = append(f.hosts, h)
	}
	f.resolver = newResolver(f.state(f.hosts...))
	return f
}

func newResolver(s resolver.State) *manual.Resolver {
	r := manual.NewBuilderWithScheme("fleet")
	r.InitialState(s)
	return r
}

// state returns what a resolver says that finds the hosts.
func (f *fleet) state(hosts ...*host) resolver.State {
	s := resolver.State{Endpoints: []resolver.Endpoint{}}
	for _, h := range hosts {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: h.addr}}})
	}
	return s
}

// connect returns a channel to the fleet, which ends with the test.
func (f *fleet) connect(t testing.TB, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	quick := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}, MinConnectTimeout: within}
	return connect(t, "fleet:///orders", append(opts, grpc.WithResolvers(f.resolver), grpc.WithConnectParams(quick))...)
}

// counts returns how many calls each host was asked for.
func (f *fleet) counts() []int {
	var all []int
	for _, h := range f.hosts {
		all = append(all, h.count())
	}
	return all
}

// since returns how many calls each host was asked for since before.
func (f *fleet) since(before []int) []int {
	now := f.counts()
	for i := range now {
		now[i] -= before[i]
	}
	return now
}

// eventually waits until something holds, and has it looked at again until then.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v it does not hold that %s", within, what)
		}
	}
}

// reach makes calls until each of the hosts has had one.
func (f *fleet) reach(t testing.TB, client pb.OrdersClient, hosts ...*host) {
	t.Helper()
	var before []int
	for _, h := range hosts {
		before = append(before, h.count())
	}
	eventually(t, "all hosts get calls", func() bool {
		mustGet(t, client)
		for i, h := range hosts {
			if h.count() == before[i] {
				return false
			}
		}
		return true
	})
}

// mustGet makes a call that must succeed.
func mustGet(t testing.TB, client pb.OrdersClient) {
	t.Helper()
	if _, err := client.Get(limited(t), &pb.GetRequest{}); err != nil {
		t.Fatalf("Get() = %v, want no error", err)
	}
}

// says reports whether err says all of the words.
func says(err error, words ...string) bool {
	return err != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(err.Error(), w) })
}

// onlyError returns a resolver that finds nothing but err.
func onlyError(err error) *manual.Resolver {
	r := manual.NewBuilderWithScheme("fleet")
	r.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) { cc.ReportError(err) }
	return r
}
