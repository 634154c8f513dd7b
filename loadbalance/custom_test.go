package loadbalance_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
)

// inTurn is a strategy as a user writes it.
func inTurn() loadbalance.Strategy {
	turn := new(atomic.Uint32)
	return loadbalance.Custom("in turn", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		return among[turn.Add(1)%uint32(len(among))]
	})
}

// L-1
func TestStrategyOfAUserTakesFiveLines(t *testing.T) {
	var s service
	b := balance(inTurn(), loadbalance.HealthConfig{}, "a", "b", "c")
	call := s.under(b)
	for range 300 {
		if err := call(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for address, n := range s.count() {
		if n != 100 {
			t.Errorf("%s had %d of 300 calls, want 100", address, n)
		}
	}
	if got := b.String(); got != "balance(in turn over 3)" {
		t.Errorf("String() = %s, want balance(in turn over 3)", got)
	}
}

// L-1, L-22
func TestCustomIsOfferedOnlyWhatCanBePicked(t *testing.T) {
	group := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1}, breaker.ByEndpoint)
	var offered [][]string
	b := balance(loadbalance.Custom("first", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		var addresses []string
		for _, n := range among {
			addresses = append(addresses, n.Address())
		}
		offered = append(offered, addresses)
		return among[0]
	}), loadbalance.HealthConfig{}, "a", "b", "c")
	var s service
	s.becomes("a", is(errDown))
	call := s.under(b, group)
	if err := call(t.Context()); !errors.Is(err, errDown) {
		t.Fatalf("the first call = %v, want %v", err, errDown)
	}
	offered = nil
	if err := call(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(offered) != 1 || !slices.Equal(offered[0], []string{"b", "c"}) {
		t.Errorf("pick was offered %v with the breaker of a open, want [b c] once", offered)
	}
}

func TestCustomThatPicksNothing(t *testing.T) {
	b := balance(loadbalance.Custom("none", func(context.Context, *backstay.Call, []*loadbalance.Node) *loadbalance.Node { return nil }), loadbalance.HealthConfig{}, "a")
	var s service
	err := s.under(b)(t.Context())
	none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
	if !ok || none.Why != "the strategy found none for it" {
		t.Errorf("a call for which the strategy returns nil = %v, want a NoEndpointError that says so", err)
	}
	if n := b.Nodes()[0].InFlight(); n != 0 {
		t.Errorf("InFlight() = %d, want 0", n)
	}
}

func TestCustomNeedsAFunction(t *testing.T) {
	defer func() {
		want := "loadbalance: Custom needs a function that picks a node"
		if got := recover(); got != want {
			t.Errorf("Custom without a function panicked with %v, want %s", got, want)
		}
	}()
	loadbalance.Custom("none", nil)
}

// A strategy may keep the node that it is given: one that is gone still can be
// read, and the balancer takes it.
func TestCustomMayPickWhatItWasNotOffered(t *testing.T) {
	var kept *loadbalance.Node
	b := balance(loadbalance.Custom("kept", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		if kept == nil {
			kept = among[0]
		}
		return kept
	}), loadbalance.HealthConfig{}, "a")
	var left []string
	b.OnLeave(func(address string) { left = append(left, address) })
	var s service
	call := s.under(b)
	_ = call(t.Context())
	if err := b.Update(loadbalance.Endpoints("b")...); err != nil {
		t.Fatal(err)
	}
	_ = call(t.Context())
	if got := s.count(); got["a"] != 2 || kept.State() != loadbalance.Gone || kept.InFlight() != 0 {
		t.Errorf("calls = %v, State, InFlight of a = %v, %d; want both at a, gone, 0", got, kept.State(), kept.InFlight())
	}
	if !slices.Equal(left, []string{"a", "a"}) {
		t.Errorf("OnLeave was told %v, want a when it left and when its last call had ended", left)
	}
}

// Each call is offered the nodes in their order, whatever the function did to
// what it was given before, at the same time as others.
func TestCustomMaySortWhatItIsOffered(t *testing.T) {
	var disorder atomic.Bool
	names := []string{"a", "b", "c", "d"}
	b := balance(loadbalance.Custom("last", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		var got []string
		for _, n := range among {
			got = append(got, n.Address())
		}
		if !slices.Equal(got, names) {
			disorder.Store(true)
		}
		slices.Reverse(among)
		return among[0]
	}), loadbalance.HealthConfig{}, names...)
	var all sync.WaitGroup
	for range 4 {
		call := new(service).under(b)
		all.Go(func() { repeat(t.Context(), 100, call) })
	}
	all.Wait()
	if disorder.Load() {
		t.Errorf("calls were offered other nodes or another order than %v, want that", names)
	}
}

type tenant struct{}

// A probe is a call like any other: where the strategy sends it nowhere else, it
// finds no endpoint out by the calls of others.
//
// L-1, L-18
func TestProbeGoesWhereTheStrategyOfAUserSendsIt(t *testing.T) {
	byTenant := loadbalance.Custom("by tenant", func(ctx context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		for _, n := range among {
			if n.Address() == ctx.Value(tenant{}) {
				return n
			}
		}
		return nil
	})
	for _, more := range []int{0, 20} { // with few nodes those are looked for that can be offered
		in(t, byTenant, loadbalance.HealthConfig{}, append([]string{"x", "y"}, addressesOf(more)...), func(t *testing.T, b *loadbalance.Balancer, s *service) {
			x, y := context.WithValue(t.Context(), tenant{}, "x"), context.WithValue(t.Context(), tenant{}, "y")
			call := s.under(b)
			s.becomes("x", is(errDown))
			repeat(x, 5, call)
			pass(6 * time.Second)
			s.becomes("x", nil)
			s.count()
			repeat(y, 10, call)
			if got := s.count(); got["x"] != 0 || got["y"] != 10 || state(b, "x") != loadbalance.Probing {
				t.Errorf("10 calls of y went to %v, and x is %v; want 10 at y, probing", got, state(b, "x"))
			}
			if err := call(x); err != nil || s.had("x") != 1 || state(b, "x") != loadbalance.Warming {
				t.Errorf("a call of x = %v at x, which is %v; want success, warming", err, state(b, "x"))
			}
		})
	}
}

// A call under way is the probe: others are not offered the node.
func TestCustomIsOfferedANodeForOneProbe(t *testing.T) {
	in(t, loadbalance.Custom("first", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		return among[0]
	}), loadbalance.HealthConfig{}, addressesOf(20), func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call, sick := s.under(b), addressesOf(1)[0]
		s.becomes(sick, is(errDown))
		repeat(t.Context(), 5, call)
		pass(6 * time.Second)
		s.becomes(sick, after(time.Second, nil))
		s.count()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { _ = call(t.Context()) })
		}
		all.Wait()
		if n := s.had(sick); n != 1 {
			t.Errorf("an endpoint that waits for a probe had %d of 10 calls, want 1", n)
		}
	})
}

// The interleaving: two calls are offered the node that waits for a probe before
// either has taken it, and both want it.
func TestCustomThatIsTooLateForAProbeIsAskedAgain(t *testing.T) {
	var together sync.WaitGroup
	var asked atomic.Int32
	first := func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		if among[0].State() == loadbalance.Probing && asked.Add(1) <= 2 {
			together.Done()
			together.Wait()
		}
		return among[0]
	}
	in(t, loadbalance.Custom("first", first), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		s.becomes("a", is(errDown))
		repeat(t.Context(), 5, call)
		pass(6 * time.Second)
		s.becomes("a", after(time.Second, nil))
		s.count()
		together.Add(2)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() { _ = call(t.Context()) })
		}
		all.Wait()
		if got := s.count(); got["a"] != 1 || got["b"] != 1 {
			t.Errorf("2 calls that both want the probe of a went to %v, want 1 at a and 1 at b", got)
		}
	})
}

// A trial query, which finds out whether a retry need not wait, asks no function
// that may count.
func TestCustomIsAskedForPicksOnly(t *testing.T) {
	asked := 0
	b := balance(loadbalance.Custom("counting", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		asked++
		return among[0]
	}), loadbalance.HealthConfig{}, "a", "b")
	elsewhere := false
	looks := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			err := next(ctx, call)
			elsewhere = call.Elsewhere(ctx)
			return err
		}
	})
	var s service
	if err := s.under(looks, b)(t.Context()); err != nil || !elsewhere || asked != 1 {
		t.Errorf("a call = %v, Elsewhere() = %v, pick was asked %d times; want nil, true, once", err, elsewhere, asked)
	}
}
