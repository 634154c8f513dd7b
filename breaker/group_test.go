package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
)

// on sets what a call is keyed by.
func on(target, endpoint string) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			call.Target, call.Endpoint = target, endpoint
			return next(ctx, call)
		}
	})
}

// B-15
func TestAGroupKeepsABreakerPerKey(t *testing.T) {
	tenant := breaker.By("tenant", func(context.Context, *backstay.Call) string { return "acme" })
	for _, row := range []struct {
		key        breaker.Key
		want, name string
	}{
		{breaker.ByTarget, "orders:80", "breaker(shop by target)"},
		{breaker.ByEndpoint, "10.0.0.1:80", "breaker(shop by endpoint)"},
		{breaker.ByOp, "op", "breaker(shop by op)"},
		{tenant, "acme", "breaker(shop by tenant)"},
	} {
		g := breaker.NewGroup(breaker.Config{Name: "shop", ConsecutiveFailures: 1}, row.key)
		sick := backstay.New(on("orders:80", "10.0.0.1:80"), g)
		_ = do(t.Context(), sick, after(0, errSick))
		if got := g.State(row.want); got != Open {
			t.Errorf("%v: State(%s) = %v, want open", g, row.want, got)
		}
		if got := g.State("other"); got != Closed {
			t.Errorf("%v: State(other) = %v, want closed", g, got)
		}
		err := do(t.Context(), sick, after(0, nil))
		if e, ok := errors.AsType[*breaker.OpenError](err); !ok || e.Name != "shop/"+row.want {
			t.Errorf("%v: Do() = %v, want an OpenError of shop/%s", g, err, row.want)
		}
		if got := g.String(); got != row.name {
			t.Errorf("String() = %s, want %s", got, row.name)
		}
		var keys []string
		for key, b := range g.All() {
			keys = append(keys, key+" "+b.State().String())
		}
		if want := []string{row.want + " open"}; !slices.Equal(keys, want) {
			t.Errorf("%v: All() = %q, want %q", g, keys, want)
		}
	}
}

// The end of an attempt at another endpoint, or of one for which there was no
// connection, is not this endpoint's.
//
// B-15
func TestABreakerByEndpointLeavesOutWhatEndsElsewhere(t *testing.T) {
	unconnected := &backstay.Error{Err: errSick, Class: backstay.Transient, Type: "not_connected", NotSent: true}
	for _, row := range []struct {
		name string
		move bool
		err  error
		left bool
	}{
		{"success", false, nil, false},
		{"failure", false, errSick, false},
		{"moved, success", true, nil, true},
		{"moved, failure", true, errSick, true},
		{"no connection", false, unconnected, true},
		{"sent over a connection that others lack", false, &backstay.Error{Err: errSick, Class: backstay.Transient, Type: "not_connected"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			byEndpoint := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1, Cooldown: s, Probes: 1}, breaker.ByEndpoint)
			byTarget := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1}, breaker.ByTarget)
			call := backstay.Bind(backstay.New(on("orders", "a"), byTarget, byEndpoint), backstay.Op[int, int]{
				Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
					if row.move {
						call.Move("b")
					}
					return 0, row.err
				},
			})
			want := Closed
			if row.err != nil && !row.left {
				want = Open
			}
			_, _ = call(t.Context(), 0)
			if got := byEndpoint.State("a"); got != want {
				t.Errorf("%s: State() of the endpoint's breaker = %v, want %v", row.name, got, want)
			}
			if got := byTarget.State("orders"); (got == Open) != (row.err != nil) {
				t.Errorf("%s: State() of the target's breaker = %v, want open if the call failed", row.name, got)
			}
			byTarget.Forget("orders")
			byEndpoint.Breaker("a").ForceOpen()
			byEndpoint.Breaker("a").Reset()
			_ = do(t.Context(), backstay.New(on("", "a"), byEndpoint), after(0, errSick))
			pass(2 * s)
			for range 2 { // of which the second is a probe only if the first has given its place back
				_, _ = call(t.Context(), 0)
			}
			if want = HalfOpen; row.err == nil && !row.left {
				want = Closed
			} else if !row.left {
				want = Open
			}
			if got := byEndpoint.State("a"); got != want {
				t.Errorf("%s, of a probe: State() = %v, want %v", row.name, got, want)
			}
		})
	}
}

func TestCallsWithoutAKeyShareABreaker(t *testing.T) {
	g := breaker.NewGroup(breaker.Config{Name: "shop", ConsecutiveFailures: 1}, breaker.ByTarget)
	_ = do(t.Context(), g, after(0, errSick))
	if e, ok := errors.AsType[*breaker.OpenError](do(t.Context(), g, after(0, nil))); !ok || e.Name != "shop" {
		t.Errorf("Do() without a key = %v, want an OpenError of shop", e)
	}
}

// B-15
func TestAGroupIsBoundedAndEvictsOnlyTheIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := breaker.NewGroup(brittle, breaker.ByTarget)
		call := func(key string, err error) { _ = do(t.Context(), backstay.New(on(key, ""), g), after(0, err)) }
		size := func() (n int) {
			for range g.All() {
				n++
			}
			return n
		}
		idle, used, open := g.Breaker("idle"), g.Breaker("used"), g.Breaker("open")
		call("open", errSick)
		for i := range 2 * breaker.MaxBreakers {
			call(strconv.Itoa(i), nil)
		}
		if got := size(); got != breaker.MaxBreakers {
			t.Errorf("a group with %d keys holds %d breakers, want %d", 2*breaker.MaxBreakers+3, got, breaker.MaxBreakers)
		}
		if b := g.Breaker("beyond"); b != g.Breaker("another") || b.Name() != "orders/_OTHER" {
			t.Errorf("the breaker of a key beyond the bound is %v, want the one they share", b)
		}
		pass(61 * s)
		call("used", nil)
		call("new", nil)
		if got := size(); got != 3 {
			t.Errorf("after a minute without calls %d breakers are left, want used, open and new", got)
		}
		if g.Breaker("idle") == idle || g.Breaker("used") != used || g.Breaker("open") != open {
			t.Error("the breakers left are others, want those of used and open, and idle anew")
		}
	})
}

// B-15
func TestAGroupKeepsABreakerWithACallUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1}, breaker.ByTarget)
		for i := range breaker.MaxBreakers - 1 {
			g.Breaker(strconv.Itoa(i))
		}
		g.Breaker("full") // sweeps nothing: all were just made
		g.Breaker("one more")
		pass(30 * s)
		over := make(chan struct{})
		go func() {
			defer close(over)
			g.Breaker("0")
			_ = do(t.Context(), backstay.New(on("0", ""), g), after(59*s, errSick))
		}()
		for round := range 3 {
			pass(11 * s)
			for i := range breaker.MaxBreakers {
				g.Breaker(fmt.Sprint("presses", round, i))
			}
		}
		<-over
		if got := g.State("0"); got != Open {
			t.Errorf("State() after a failure that was under way as others were evicted = %v, want open", got)
		}
	})
}

func TestForgetDropsABreaker(t *testing.T) {
	g := breaker.NewGroup(brittle, breaker.ByTarget)
	trip(t, g.Breaker("gone"))
	g.Forget("gone")
	g.Forget("never there")
	if got := g.State("gone"); got != Closed {
		t.Errorf("State() of a forgotten breaker = %v, want closed", got)
	}
	for i := range breaker.MaxBreakers {
		if name := g.Breaker(strconv.Itoa(i)).Name(); strings.HasSuffix(name, "_OTHER") {
			t.Fatalf("breaker %d after Forget is %s, want one of its own", i, name)
		}
	}
}

// B-15
func TestByEndpointIsRefusedAboveItsBalancer(t *testing.T) {
	balancer := loadbalance.New(loadbalance.RoundRobin(), "10.0.0.1:80")
	endpoints := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
	if err := backstay.Check(balancer, endpoints); err != nil {
		t.Errorf("Check(balancer, ByEndpoint) = %v, want it accepted", err)
	}
	if err := backstay.Check(endpoints, balancer); err == nil {
		t.Error("Check(ByEndpoint, balancer) = nil, want it refused")
	}
}
