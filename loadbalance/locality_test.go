package loadbalance_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// at returns endpoints in a locality.
func at(locality string, addresses ...string) []loadbalance.Endpoint {
	endpoints := loadbalance.Endpoints(addresses...)
	for i := range endpoints {
		endpoints[i].Locality = locality
	}
	return endpoints
}

func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(prefix, i)
	}
	return all
}

var near = loadbalance.LocalityConfig{Local: "eu/a"}

// nearby returns calls from eu/a, in which any share of the endpoints may be
// ejected, for an hour.
func nearby(above backstay.Middleware, cfg loadbalance.LocalityConfig, s loadbalance.Strategy, panicBelow float64, endpoints ...loadbalance.Endpoint) *fleet {
	return newFleet(above, loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  loadbalance.Locality(cfg, s),
		Endpoints: endpoints,
		Health:    loadbalance.HealthConfig{MaxEjected: 1, BaseEjection: time.Hour, PanicThreshold: panicBelow},
	}))
}

// ejects has all of the endpoints ejected.
func (f *fleet) ejects(t *testing.T, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		f.fails(t, a, users(5000))
	}
}

// share returns the share of many calls that goes to endpoints with a prefix.
func (f *fleet) share(prefix string) float64 {
	const calls = 4000
	n := 0
	for _, key := range users(calls) {
		if strings.HasPrefix(f.at(key), prefix) {
			n++
		}
	}
	return float64(n) / calls
}

// L-27
func TestNearestEndpointsComeFirst(t *testing.T) {
	zones := map[string]string{"same": "eu/a", "region": "eu/b", "elsewhere": "us/a", "unknown": ""}
	for _, row := range []struct {
		there []string
		want  string
	}{
		{[]string{"unknown", "elsewhere", "region", "same"}, "same"},
		{[]string{"elsewhere", "region", "unknown"}, "region"},
		{[]string{"elsewhere"}, "elsewhere"},
		{[]string{"unknown"}, "unknown"},
	} {
		var endpoints []loadbalance.Endpoint
		for _, z := range row.there {
			endpoints = append(endpoints, at(zones[z], names(z, 3)...)...)
		}
		if got := nearby(nil, near, loadbalance.RoundRobin(), 0, endpoints...).share(row.want); got != 1 {
			t.Errorf("of %v, %s has %.3f of the calls, want all", row.there, row.want, got)
		}
	}
}

// "eu/a" has a part in common with "eu/b", and none with "eur/a".
func TestLocalitiesAreComparedByTheirParts(t *testing.T) {
	f := nearby(nil, near, loadbalance.RoundRobin(), 0, append(at("eur/a", "x"), at("eu/b", "y")...)...)
	if got := f.at("k"); got != "y" {
		t.Errorf("the call went to %s, want y, which is in eu", got)
	}
}

// Of ten near endpoints some are ejected. The ten far ones take what those left
// cannot bear, and nobody who is ejected gets a call.
//
// L-27
func TestCallsGoFarAsFarAsTheNearOnesCannotBearThem(t *testing.T) {
	for _, row := range []struct {
		reserve float64
		well    int
		want    float64
	}{
		{0, 10, 1}, {0, 8, 1}, {0, 5, .7}, {0, 3, .42}, {0, 1, .14}, {0, 0, 0},
		{1, 10, 1}, {1, 8, .8}, {2, 5, 1}, {2, 2, .4},
	} {
		for _, s := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Random(), loadbalance.Hash(byRequest)} {
			synctest.Test(t, func(t *testing.T) {
				f := nearby(nil, loadbalance.LocalityConfig{Local: "eu/a", Overprovisioning: row.reserve}, s, 0, append(at("eu/a", names("near", 10)...), at("us/a", names("far", 10)...)...)...)
				f.ejects(t, names("near", 10)[row.well:]...)
				got := f.share("near")
				if got < row.want-.04 || got > row.want+.04 { // 5 times the deviation
					t.Errorf("%v, Reserve %v: with %d of 10 well, near ones have %.3f of the calls, want %v", s, row.reserve, row.well, got, row.want)
				}
				if row.well > 0 || row.want == 0 {
					for i := range 10 - row.well {
						sick := fmt.Sprint("near", row.well+i)
						if got := f.share(sick); got > 0 {
							t.Errorf("%v: %s is ejected and has %.3f of the calls, want none while others are well", s, sick, got)
							break
						}
					}
				}
			})
		}
	}
}

// Where all together cannot bear the load, all have a part of it.
//
// L-19, L-27
func TestNobodyIsLeftOutWhereTooFewAreWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := nearby(nil, near, loadbalance.RoundRobin(), 0, append(at("eu/a", names("near", 4)...), at("us/a", names("far", 4)...)...)...)
		f.ejects(t, "near0", "near1", "near2", "near3", "far0")
		if got := f.share("far"); got < .99 {
			t.Errorf("with no near endpoint of 4 well and 3 far ones, the far ones have %.3f of the calls, want all", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := nearby(nil, near, loadbalance.RoundRobin(), 0, append(at("eu/a", names("near", 10)...), at("us/a", names("far", 10)...)...)...)
		f.ejects(t, append(names("near", 10)[3:], names("far", 10)[3:]...)...)
		if got := f.share("near"); got < .46 || got > .54 {
			t.Errorf("with 3 of 10 well here and there, near ones have %.3f of the calls, want half", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := nearby(nil, near, loadbalance.RoundRobin(), 1, append(at("eu/a", "near0", "near1"), at("us/a", "far0", "far1")...)...)
		f.ejects(t, "near0", "near1")
		f.ejects(t, "far0", "far1")
		if got := f.share("near"); got != 1 {
			t.Errorf("with none well, near ones have %.3f of the calls, want all", got)
		}
	})
}

// All near ones were ejected and nobody calls them any more. Their probes are
// made all the same.
//
// L-18, L-27
func TestNearEndpointsThatWereAllEjectedRecover(t *testing.T) {
	for _, s := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Weighted(), loadbalance.Random(), loadbalance.Hash(byRequest)} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(nil, loadbalance.NewBalancer(loadbalance.Config{
				Strategy:  loadbalance.Locality(near, s),
				Endpoints: append(at("eu/a", "near0", "near1"), at("us/a", "far0", "far1", "far2")...),
				Health:    loadbalance.HealthConfig{MaxEjected: 1},
			}))
			f.ejects(t, "near0", "near1")
			if got := f.share("far"); got != 1 {
				t.Errorf("%v: with no near one well, far ones have %.3f of the calls, want all", s, got)
			}
			f.set(false, "near0", "near1")
			<-time.After(6 * time.Second)
			f.share("near") // probes them
			<-time.After(10 * time.Second)
			if got := f.share("near"); got != 1 {
				t.Errorf("%v: with the near ones back, they have %.3f of the calls, want all", s, got)
			}
		})
	}
}

// L-23, L-27
func TestRetryGoesFarWhenTheNearOnesWereTried(t *testing.T) {
	for _, s := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.PeakEWMA(), loadbalance.Hash(byRequest), loadbalance.Weighted()} {
		f := newFleet(again(5), loadbalance.NewBalancer(loadbalance.Config{
			Strategy:  loadbalance.Locality(near, s),
			Endpoints: slices.Concat(at("us/a", "4"), at("eu/b", "3"), at("eu/a", "1", "2")),
			Health:    fearless,
		}))
		f.set(true, "1", "2", "3", "4")
		for range 20 {
			got := strings.Join(f.attempts("k"), " ")
			if !strings.HasPrefix(got, "1 2 3 4 ") && !strings.HasPrefix(got, "2 1 3 4 ") {
				t.Errorf("%v: attempts went to %s, want the near 1 and 2 first, then 3, then 4", s, got)
			}
		}
	}
}

// Calls are held, so that only the loads decide.
//
// L-27
func TestCallsSpillWhereTheNearOnesAreFull(t *testing.T) {
	for _, row := range []struct {
		spill, weight int
		want          string // of 20 calls
	}{
		{0, 1, "near 20 far 0"},
		{3, 1, "near 10 far 10"},
		{6, 1, "near 12 far 8"},
		{2, 2, "near 10 far 10"},
	} {
		endpoints := append(at("eu/a", "near0", "near1"), at("us/a", "far0", "far1")...)
		for i := range endpoints {
			endpoints[i].Weight = row.weight
		}
		b := loadbalance.NewBalancer(loadbalance.Config{
			Strategy:  loadbalance.Locality(loadbalance.LocalityConfig{Local: "eu/a", Spill: row.spill}, loadbalance.LeastConnectionsOfAll()),
			Endpoints: endpoints,
		})
		calls := map[string]int{}
		call := backstay.Bind(backstay.New(b), backstay.Op[int, *ticket]{
			Do: func(_ context.Context, call *backstay.Call, _ int) (*ticket, error) {
				calls[call.Endpoint[:len(call.Endpoint)-1]]++
				return new(ticket), nil
			},
			Hold: func(k *ticket, done func(error)) *ticket { k.done = done; return k },
		})
		for range 20 {
			if _, err := call(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprintf("near %d far %d", calls["near"], calls["far"]); got != row.want {
			t.Errorf("Spill %d at weight %d: 20 calls went to %s, want %s", row.spill, row.weight, got, row.want)
		}
	}
}

// L-6
func TestLocalityKeepsItsTurnsAcrossUpdate(t *testing.T) {
	endpoints := append(at("eu/a", "a", "b", "c"), at("us/a", "far")...)
	f := nearby(nil, near, loadbalance.RoundRobin(), 0, endpoints...)
	var seen []string
	for i := range 9 {
		seen = append(seen, f.at("k"))
		if err := f.Update(append(endpoints[:4:4], at("us/a", names("more", i%2)...)...)...); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen[:3], seen[3:6]) || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 3 {
		t.Errorf("calls with an Update after each went to %v, want each near endpoint in turn", seen)
	}
}

func TestLocalityRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		cfg  loadbalance.LocalityConfig
		want string
	}{
		{loadbalance.LocalityConfig{}, `loadbalance: Local is empty; give the client's own locality, such as "europe-west1/b"`},
		{loadbalance.LocalityConfig{Local: "a", Overprovisioning: .5}, "loadbalance: Overprovisioning is 0.5; give a factor of at least 1, or 0 for 1.4"},
		{loadbalance.LocalityConfig{Local: "a", Spill: -1}, "loadbalance: Spill is -1; give a number of calls in flight, or 0 for none"},
	} {
		panicsWith(t, row.want, func() { loadbalance.Locality(row.cfg, loadbalance.RoundRobin()) })
	}
	panicsWith(t, "loadbalance: Locality needs a strategy to pick with, such as PeakEWMA()", func() { loadbalance.Locality(near, loadbalance.Strategy{}) })
}

// L-7
func TestLocalityAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	s := loadbalance.Locality(loadbalance.LocalityConfig{Local: "eu/a", Spill: 1}, loadbalance.PeakEWMA())
	if got := allocates(s, append(at("eu/a", names("near", 3)...), at("us/a", names("far", 3)...)...)); got != 0 {
		t.Errorf("a call by %v allocates %v times, want 0", s, got)
	}
}
