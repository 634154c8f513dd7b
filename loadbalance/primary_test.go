package loadbalance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// isWrite reports whether a request of a test is a write.
func isWrite(_ context.Context, call *backstay.Call) bool {
	r, _ := backstay.Peek[string](call)
	return strings.HasPrefix(r, "write")
}

// database returns calls to a primary p and two replicas.
func database(above backstay.Middleware, h loadbalance.HealthConfig, s loadbalance.Strategy) *fleet {
	return newFleet(above, loadbalance.NewBalancer(loadbalance.Config{
		Strategy: loadbalance.PrimaryReplica(isWrite, s),
		Endpoints: []loadbalance.Endpoint{
			{Address: "r1", Role: loadbalance.Replica},
			{Address: "p", Role: loadbalance.Primary},
			{Address: "r2", Role: loadbalance.Replica},
		},
		Health: h,
	}))
}

func TestWritesGoToThePrimaryAndReadsToReplicas(t *testing.T) {
	for _, s := range strategies {
		f := database(nil, loadbalance.HealthConfig{}, s)
		for range 50 {
			if got := f.at("write"); got != "p" {
				t.Fatalf("%v: a write went to %s, want p", s, got)
			}
			if got := f.at("read"); got != "r1" && got != "r2" {
				t.Fatalf("%v: a read went to %s, want a replica", s, got)
			}
		}
	}
}

// L-23
func TestReadIsTriedAtThePrimaryLast(t *testing.T) {
	f := database(again(4), fearless, loadbalance.RoundRobin())
	f.set(true, "p", "r1", "r2")
	for range 20 {
		tried := f.attempts("read")
		if slices.Sort(tried[:2]); !slices.Equal(tried[:3], []string{"r1", "r2", "p"}) {
			t.Errorf("attempts of a read went to %v, want both replicas and then p", tried)
		}
	}
}

// Whatever happens to the primary.
//
// L-19
func TestWriteNeverGoesToAReplica(t *testing.T) {
	for _, s := range strategies {
		synctest.Test(t, func(t *testing.T) {
			f := database(again(4), loadbalance.HealthConfig{MaxEjected: 1, BaseEjection: 5 * time.Second}, s)
			check := func(when string) {
				t.Helper()
				for range 30 {
					tried := f.attempts("write")
					if len(tried) == 0 || slices.ContainsFunc(tried, func(a string) bool { return a != "p" }) {
						t.Fatalf("%v: %s, attempts of a write went to %v, want p only", s, when, tried)
					}
				}
			}
			f.set(true, "p")
			check("with the primary failing")
			if got := node(t, f.Balancer, "p").State(); got != loadbalance.Ejected {
				t.Errorf("%v: State() of the primary = %v, want ejected", s, got)
			}
			f.set(true, "r1", "r2")
			for range 20 {
				f.attempts("read")
			}
			check("with all failing")
			f.set(false, "p", "r1", "r2")
			check("with the primary ejected")
			<-time.After(8 * time.Second)
			check("with the primary to be probed")
			if got := node(t, f.Balancer, "p").State(); got != loadbalance.Warming {
				t.Errorf("%v: State() of the primary after good writes = %v, want warming", s, got)
			}
		})
	}
}

// With Never an endpoint that is ejected has no calls, however few are left.
//
// L-19
func TestWriteIsNotKeptFromTheOnlyPrimary(t *testing.T) {
	for _, s := range strategies {
		synctest.Test(t, func(t *testing.T) {
			f := database(nil, loadbalance.HealthConfig{PanicThreshold: loadbalance.Never}, s)
			f.fails(t, "p", slices.Repeat([]string{"write"}, 10))
			for range 30 {
				if got := f.at("write"); got != "p" {
					t.Fatalf("%v: with the primary ejected a write went to %q, want p", s, got)
				}
			}
			f.set(false, "p")
			<-time.After(8 * time.Second)
			f.at("write")
			if got := node(t, f.Balancer, "p").State(); got != loadbalance.Warming {
				t.Errorf("%v: State() of the primary after its probe = %v, want warming", s, got)
			}
		})
	}
}

// As long as another primary is well.
func TestWriteAvoidsAPrimaryThatIsEjected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(nil, loadbalance.NewBalancer(loadbalance.Config{
			Strategy:  loadbalance.PrimaryReplica(isWrite, loadbalance.RoundRobin()),
			Endpoints: []loadbalance.Endpoint{{Address: "p", Role: loadbalance.Primary}, {Address: "q", Role: loadbalance.Primary}},
			Health:    loadbalance.HealthConfig{PanicThreshold: loadbalance.Never},
		}))
		f.fails(t, "p", slices.Repeat([]string{"write"}, 20))
		for range 30 {
			if got := f.at("write"); got != "q" {
				t.Fatalf("with p ejected a write went to %q, want q", got)
			}
		}
	})
}

func TestWriteWithoutAPrimaryFails(t *testing.T) {
	f := newFleet(again(3), loadbalance.New(loadbalance.PrimaryReplica(isWrite, loadbalance.PeakEWMA()), "r1", "r2"))
	_, err := f.call(t.Context(), "write")
	if _, ok := errors.AsType[*loadbalance.NoEndpointError](err); !ok || len(f.tried) > 0 {
		t.Errorf("a write without a primary = %v after attempts at %v, want a NoEndpointError after none", err, f.tried)
	}
	if at, err := f.call(t.Context(), "read"); err != nil || at == "" {
		t.Errorf("a read without a primary = %q, %v, want a replica", at, err)
	}
}

// One replica is all there is beside the primary, so the replicas by themselves
// would be too few to be left alone.
//
// L-19
func TestReadsGoToThePrimaryWhileReplicasAreEjected(t *testing.T) {
	for _, s := range strategies {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(nil, loadbalance.NewBalancer(loadbalance.Config{
				Strategy:  loadbalance.PrimaryReplica(isWrite, s),
				Endpoints: []loadbalance.Endpoint{{Address: "p", Role: loadbalance.Primary}, {Address: "r"}},
			}))
			f.fails(t, "r", slices.Repeat([]string{"read"}, 10))
			for range 30 {
				if got := f.at("read"); got != "p" {
					t.Fatalf("%v: with the replica ejected a read went to %s, want p", s, got)
				}
			}
			f.set(false, "r")
			<-time.After(6 * time.Second)
			f.at("read")
			<-time.After(6 * time.Second)
			if got := f.at("read"); got != "r" {
				t.Errorf("%v: with the replica back a read went to %s, want r", s, got)
			}
		})
	}
}

// L-6
func TestPromotionMovesTheWrites(t *testing.T) {
	f := database(nil, loadbalance.HealthConfig{}, loadbalance.PeakEWMA())
	f.at("write")
	if err := f.Update(loadbalance.Endpoint{Address: "r1", Role: loadbalance.Primary}, loadbalance.Endpoint{Address: "p"}, loadbalance.Endpoint{Address: "r2"}); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if got := f.at("write"); got != "r1" {
			t.Errorf("after r1 was promoted a write went to %s, want r1", got)
		}
		if got := f.at("read"); got == "r1" {
			t.Errorf("after r1 was promoted a read went to it, want p or r2")
		}
	}
}

func TestPrimaryReplicaRefusesWhatCannotWork(t *testing.T) {
	panicsWith(t, "loadbalance: PrimaryReplica needs a function that reports whether a call is a write, such as httpcall.IsWrite", func() { loadbalance.PrimaryReplica(nil, loadbalance.Random()) })
	panicsWith(t, "loadbalance: PrimaryReplica needs a strategy to pick with, such as PeakEWMA()", func() { loadbalance.PrimaryReplica(isWrite, loadbalance.Strategy{}) })
}

// L-7
func TestPrimaryReplicaAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	for _, write := range []bool{false, true} {
		s := loadbalance.PrimaryReplica(func(context.Context, *backstay.Call) bool { return write }, loadbalance.PeakEWMA())
		if got := allocates(s, []loadbalance.Endpoint{{Address: "p", Role: loadbalance.Primary}, {Address: "r1"}, {Address: "r2"}}); got != 0 {
			t.Errorf("a call by %v allocates %v times, want 0", s, got)
		}
	}
}
