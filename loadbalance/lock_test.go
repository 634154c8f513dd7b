package loadbalance_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
)

// Calls go on while somebody holds the balancer's only mutex: those that choose
// among all endpoints, among those that are left, and such that the state of an
// endpoint matters to.
//
// L-7
func TestPickTakesNoLock(t *testing.T) {
	schema, err := loadbalance.HashSchema(loadbalance.Partition{Name: "all", Endpoints: addressesOf(10)})
	if err != nil {
		t.Fatal(err)
	}
	key := func(context.Context, *backstay.Call) string { return "key" }
	read := func(context.Context, *backstay.Call) bool { return false }
	bounded := loadbalance.HashConfig{Key: anyKey, Bound: 1.25}
	all := append([]loadbalance.Strategy{
		loadbalance.Hash(bounded),
		loadbalance.Subset(loadbalance.SubsetConfig{Size: 9, Name: "client"}, loadbalance.PeakEWMA()),
		loadbalance.Locality(loadbalance.LocalityConfig{Local: "zone", Spill: 3}, loadbalance.PeakEWMA()),
		loadbalance.PrimaryReplica(read, loadbalance.PeakEWMA()),
		loadbalance.NewPartitions(key, schema, loadbalance.PeakEWMA()).Strategy(),
	}, strategies...)
	again := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			call.Try(addressesOf(10)[9], nil)
			return next(ctx, call)
		}
	})
	for _, st := range all {
		b := balance(st, loadbalance.HealthConfig{BaseEjection: time.Hour, MaxEjection: time.Hour, SlowStart: time.Hour}, addressesOf(9)...)
		sicken(t, b, b.Addresses()[0])
		if err := b.Update(loadbalance.Endpoints(addressesOf(10)...)...); err != nil { // the last is warming
			t.Fatal(err)
		}
		group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
		group.Breaker(b.Addresses()[1]).ForceOpen()
		var s service
		calls := []func(context.Context) error{s.under(b), s.under(again, b), s.under(b, group), s.under(again, b, group), picked(b.Desk(group.Blocks))}
		over := make(chan error, 1)
		b.WhileLocked(func() {
			go func() {
				for i := range 400 {
					if err := calls[i%len(calls)](context.WithValue(t.Context(), keyOf{}, i)); err != nil {
						over <- err
						return
					}
				}
				over <- nil
			}()
			select {
			case err := <-over:
				if err != nil {
					t.Errorf("%v: a call = %v, want nil", st, err)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%v: calls wait while the balancer's mutex is held, want them to go on", st)
			}
		})
	}
}

// picked returns what makes a call that picks at d.
func picked(d *loadbalance.Desk) func(context.Context) error {
	return func(ctx context.Context) error { return pickAndEnd(ctx, d) }
}
