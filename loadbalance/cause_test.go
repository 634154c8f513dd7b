package loadbalance_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

func TestNoEndpointErrorNamesTheCause(t *testing.T) {
	fearful := loadbalance.HealthConfig{ConsecutiveFailures: 1, MaxEjected: 1, PanicThreshold: loadbalance.Never}
	schema := must(loadbalance.RangeSchema(from("b", "low", "a"), from("n", "high", "nowhere")))
	partitions := loadbalance.NewPartitions(request, schema, loadbalance.RoundRobin()).Strategy()
	primary := loadbalance.PrimaryReplica(isWrite, loadbalance.RoundRobin())
	for _, row := range []struct {
		s         loadbalance.Strategy
		endpoints []string
		key       string
		prepare   func(t *testing.T, f *fleet)
		want      string
		class     backstay.Class
	}{
		{loadbalance.RoundRobin(), []string{"a", "b", "c"}, "c", ejected, "all 3 are ejected or unhealthy", backstay.Transient},
		{loadbalance.Hash(byRequest), []string{"a", "b", "c"}, "c", ejected, "all 3 are ejected or unhealthy", backstay.Transient},
		{primary, []string{"a", "b"}, "read", ejected, "all 2 are ejected or unhealthy", backstay.Transient},
		{primary, []string{"a", "b"}, "write", nil, "there is no primary", backstay.Transient},
		{primary, []string{"a", "b"}, "write", gone, "there are none", backstay.Transient},
		{partitions, []string{"a"}, "", nil, "the call has no key", backstay.Permanent},
		{partitions, []string{"a"}, "a", nil, "no partition has the key", backstay.Permanent},
		{partitions, []string{"a"}, "z", nil, `partition "high": there are none`, backstay.Transient},
		{partitions, []string{"a"}, "c", ejected, `partition "low": all 1 are ejected or unhealthy`, backstay.Transient},
		{partitions, []string{"a"}, "c", gone, "there are none", backstay.Transient},
		{loadbalance.RoundRobin(), []string{"a"}, "c", closed, "the balancer is closed", backstay.Permanent},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(nil, balance(row.s, fearful, row.endpoints...))
			if row.prepare != nil {
				row.prepare(t, f)
			}
			_, err := f.call(t.Context(), row.key)
			none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
			if !ok || none.Why != row.want || backstay.Classify(err) != row.class || !backstay.NotSent(err) {
				t.Errorf("%v: call(%q) = %v, %v, want %s, %v, and that nothing was sent", row.s, row.key, err, backstay.Classify(err), row.want, row.class)
			}
		})
	}
}

// ejected has all endpoints ejected.
func ejected(t *testing.T, f *fleet) {
	f.set(true, f.Addresses()...)
	for _, key := range append(users(20), "read", "c") {
		f.at(key)
	}
	for _, n := range f.Nodes() {
		if n.State() != loadbalance.Ejected {
			t.Fatalf("State() of %s = %v, want ejected", n.Address(), n.State())
		}
	}
}

func gone(t *testing.T, f *fleet) { f.become(t, nil) }

func closed(t *testing.T, f *fleet) {
	if err := f.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
