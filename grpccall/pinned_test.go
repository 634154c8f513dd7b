package grpccall_test

import (
	"testing"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
)

// G-25
func TestThePolicyPicksFromWhatTheResolverFinds(t *testing.T) {
	f := newFleet(t, 3, nil)
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(backstay.New(b), grpccall.Config{})...))
	f.reach(t, client, f.hosts...)
	before := f.counts()
	for range 30 {
		mustGet(t, client)
	}
	for i, n := range f.since(before) {
		if n != 10 {
			t.Errorf("host %d got %d of 30 calls, want 10", i, n)
		}
	}
}
