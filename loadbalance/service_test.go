package loadbalance_test

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"sync"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// strategies are those that need no more than endpoints.
var strategies = []loadbalance.Strategy{
	loadbalance.RoundRobin(),
	loadbalance.Weighted(),
	loadbalance.Random(),
	loadbalance.LeastConnections(),
	loadbalance.LeastConnectionsOfAll(),
	loadbalance.PeakEWMA(),
	loadbalance.Hash(loadbalance.HashConfig{Key: anyKey}),
	loadbalance.Rendezvous(loadbalance.HashConfig{Key: anyKey}),
	loadbalance.Maglev(loadbalance.HashConfig{Key: anyKey}),
	inTurn(),
}

var keys = func() (all [64]string) {
	for i := range all {
		all[i] = "key " + strconv.Itoa(i)
	}
	return all
}()

type keyOf struct{}

// anyKey returns the key of a call that has one in its context.
func anyKey(ctx context.Context, _ *backstay.Call) string {
	if i, ok := ctx.Value(keyOf{}).(int); ok {
		return keys[i%len(keys)]
	}
	return ""
}

var (
	errDown = errors.New("connection refused")
	errBusy = &backstay.Error{Class: backstay.Throttled, Err: errors.New("429")}
	errNo   = &backstay.Error{Class: backstay.Permanent, Err: errors.New("404")}
)

// A service is what is behind a balancer: some endpoints, each with what it does.
type service struct {
	mu    sync.Mutex
	acts  map[string]act
	calls map[string]int
}

// An act is what an endpoint does with a call. nil is to answer at once.
type act func(ctx context.Context) error

// is returns an act that fails at once.
func is(err error) act { return func(context.Context) error { return err } }

// becomes has the endpoint at an address do something else.
func (s *service) becomes(address string, a act) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acts == nil {
		s.acts = map[string]act{}
	}
	s.acts[address] = a
}

// count returns how many calls each endpoint had since it was asked last.
func (s *service) count() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := maps.Clone(s.calls)
	clear(s.calls)
	return calls
}

// had returns how many calls an endpoint had since count was asked last.
func (s *service) had(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[address]
}

func (s *service) serve(ctx context.Context, call *backstay.Call, _ int) (int, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[call.Endpoint]++
	a := s.acts[call.Endpoint]
	s.mu.Unlock()
	if a == nil {
		return 0, nil
	}
	return 0, a(ctx)
}

// under returns a function that makes a call to the service under a stack.
func (s *service) under(stack ...backstay.Middleware) func(context.Context) error {
	call := backstay.Bind(backstay.New(stack...), backstay.Op[int, int]{Name: "get", Do: s.serve})
	return func(ctx context.Context) error { _, err := call(ctx, 0); return err }
}

// balance returns a balancer with the given health.
func balance(st loadbalance.Strategy, h loadbalance.HealthConfig, addresses ...string) *loadbalance.Balancer {
	return loadbalance.NewBalancer(loadbalance.Config{Strategy: st, Endpoints: loadbalance.Endpoints(addresses...), Health: h})
}

// node returns the node of an address.
func node(t *testing.T, b *loadbalance.Balancer, address string) *loadbalance.Node {
	t.Helper()
	for _, n := range b.Nodes() {
		if n.Address() == address {
			return n
		}
	}
	t.Fatalf("Nodes() = %v, want %s among them", b.Addresses(), address)
	return nil
}
