package breaker_test

import (
	"context"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
)

func TestWhatNewHasNotMadeIsRefused(t *testing.T) {
	var none *breaker.Breaker
	var noGroup *breaker.Group
	next := func(context.Context, *backstay.Call) error { return nil }
	for _, row := range []struct {
		m      backstay.Middleware
		policy bool
		want   string
	}{
		{none, true, "backstay: middleware 1 of the policy is nil: leave it out"},
		{noGroup, true, "backstay: middleware 1 of the policy is nil: leave it out"},
		{none, false, "breaker: this Breaker was not made with New; breaker.New(breaker.Config{}) makes one"},
		{noGroup, false, "breaker: this Group was not made with NewGroup; breaker.NewGroup(breaker.Config{}, breaker.ByTarget) makes one"},
		{&breaker.Breaker{}, true, "breaker: this Breaker was not made with New; breaker.New(breaker.Config{}) makes one"},
		{&breaker.Group{}, true, "breaker: this Group was not made with NewGroup; breaker.NewGroup(breaker.Config{}, breaker.ByTarget) makes one"},
	} {
		func() {
			defer func() {
				if got := recover(); got != row.want {
					t.Errorf("wrapping with a %T not made with New panicked with %v, want %s", row.m, got, row.want)
				}
			}()
			if row.policy {
				backstay.New(row.m)
				return
			}
			row.m.Wrap(next)
		}()
	}
}
