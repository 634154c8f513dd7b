package loadbalance_test

import (
	"context"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// L-7
func TestPickAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	ejected := func(t *testing.T, b *loadbalance.Balancer, _ *breaker.Group) { sicken(t, b, b.Addresses()[0]) }
	warming := func(t *testing.T, b *loadbalance.Balancer, _ *breaker.Group) {
		if err := b.Update(loadbalance.Endpoints(append(b.Addresses(), "new")...)...); err != nil {
			t.Fatal(err)
		}
	}
	open := func(_ *testing.T, b *loadbalance.Balancer, g *breaker.Group) { g.Breaker(b.Addresses()[0]).ForceOpen() }
	for _, st := range strategies {
		for name, row := range map[string]struct {
			with bool // a group of breakers beneath
			then func(*testing.T, *loadbalance.Balancer, *breaker.Group)
		}{
			"all well":               {false, nil},
			"over breakers":          {true, nil},
			"one ejected":            {false, ejected},
			"one ejected, breakers":  {true, ejected},
			"one new":                {false, warming},
			"one whose breaker open": {true, open},
		} {
			b := balance(st, loadbalance.HealthConfig{}, addressesOf(10)...)
			group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
			policy := backstay.New(b)
			if row.with {
				policy = backstay.New(b, group)
			}
			if row.then != nil {
				row.then(t, b, group)
			}
			ctx := context.WithValue(t.Context(), keyOf{}, 7)
			fn := func(context.Context) (int, error) { return 0, nil }
			do := func() { _, _ = backstay.Do(ctx, policy, "get", fn) }
			for range 100 {
				do() // the breakers are made
			}
			if n := testing.AllocsPerRun(1000, do); n != 0 {
				t.Errorf("%v, %s: a call allocates %v times, want 0", st, name, n)
			}
		}
	}
}

// Endpoints that were tried are passed over in a call that is made again, and
// that allocates no slice of those that are left.
//
// L-7
func TestPickAmongWhatIsLeftAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, addressesOf(10)...)
		first := b.Addresses()[0]
		tries := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.Try(first, nil)
				return next(ctx, call)
			}
		})
		policy := backstay.New(tries, b)
		ctx := context.WithValue(t.Context(), keyOf{}, 7)
		fn := func(context.Context) (int, error) { return 0, nil }
		if n := testing.AllocsPerRun(1000, func() { _, _ = backstay.Do(ctx, policy, "get", fn) }); n != 0 {
			t.Errorf("%v: a call that has tried an endpoint allocates %v times, want 0", st, n)
		}
	}
}
