package loadbalance_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

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
