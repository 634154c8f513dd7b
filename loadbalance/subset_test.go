package loadbalance_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// subsetOf returns the endpoints that a client uses, sorted: all that a round
// robin comes to.
func subsetOf(cfg loadbalance.SubsetConfig, addresses ...string) []string {
	f := newFleet(nil, loadbalance.New(loadbalance.Subset(cfg, loadbalance.RoundRobin()), addresses...))
	return f.rotation(cfg.Size)
}

// rotation returns the endpoints that n calls go to, sorted.
func (f *fleet) rotation(n int) []string {
	used := make([]string, n)
	for i := range used {
		used[i] = f.at("k")
	}
	return slices.Sorted(slices.Values(used))
}

func distinct(sorted []string) bool { return len(slices.Compact(slices.Clone(sorted))) == len(sorted) }

// Clients with the numbers from 0 on use all endpoints equally often, whatever
// their count.
//
// L-27
func TestSubsetsByIndexAreEven(t *testing.T) {
	for _, n := range []int{2, 3, 5, 7, 10, 12, 23, 50} {
		for size := 1; size < n; size += 1 + n/9 {
			all, used := hosts(n), map[string]int{}
			for client := range 2*n + 3 {
				subset := subsetOf(loadbalance.SubsetConfig{Size: size, Index: client}, all...)
				if !distinct(subset) {
					t.Fatalf("subset of %d of %d of client %d = %v, want no endpoint twice", size, n, client, subset)
				}
				for _, a := range subset {
					used[a]++
				}
				least, most := 1<<30, 0
				for _, a := range all {
					least, most = min(least, used[a]), max(most, used[a])
				}
				if most-least > 1 {
					t.Fatalf("%d clients with %d of %d endpoints: one has %d clients and another %d, want a difference of one at most", client+1, size, n, most, least)
				}
			}
		}
	}
}

// L-27
func TestSubsetsByIndexAreNotAlwaysTheSameGroups(t *testing.T) {
	with := map[string]bool{}
	for client := range 120 { // of which ten have the endpoint
		if subset := subsetOf(loadbalance.SubsetConfig{Size: 4, Index: client}, hosts(48)...); slices.Contains(subset, hosts(1)[0]) {
			for _, a := range subset {
				with[a] = true
			}
		}
	}
	if len(with) < 20 {
		t.Errorf("an endpoint of 48 is in 10 subsets of 4 with %d different ones, want most of 30", len(with)-1)
	}
}

// What these change to is which endpoints a client leaves on an upgrade.
//
// L-27
func TestSubsetsAreTheSameInEveryProcess(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	for _, row := range []struct {
		cfg  loadbalance.SubsetConfig
		want string
	}{
		{loadbalance.SubsetConfig{Size: 3, Index: 0}, "ace"},
		{loadbalance.SubsetConfig{Size: 3, Index: 4}, "cfh"},
		{loadbalance.SubsetConfig{Size: 4, Index: 2}, "defg"},
		{loadbalance.SubsetConfig{Size: 7, Index: 2}, "abcefhi"},
		{loadbalance.SubsetConfig{Size: 3, Name: "client 7"}, "bce"},
	} {
		backwards := slices.Clone(all)
		slices.Reverse(backwards)
		got, other := subsetOf(row.cfg, all...), subsetOf(row.cfg, backwards...)
		if strings.Join(got, "") != row.want || !slices.Equal(got, other) {
			t.Errorf("subset of %+v = %v, and %v of another order, want %s of both", row.cfg, got, other, row.want)
		}
	}
}

// L-27
func TestSubsetByNameChangesByOne(t *testing.T) {
	all := hosts(30)
	for client := range 40 {
		cfg := loadbalance.SubsetConfig{Size: 8, Name: fmt.Sprint("client ", client)}
		with := subsetOf(cfg, all...)
		for i, gone := range all {
			without := subsetOf(cfg, slices.Delete(slices.Clone(all), i, i+1)...)
			stayed := 0
			for _, a := range with {
				if slices.Contains(without, a) {
					stayed++
				}
			}
			want := 8
			if slices.Contains(with, gone) {
				want = 7
			}
			if stayed != want || !distinct(without) {
				t.Fatalf("subset of %s = %v, and %v without %s, want %d of 8 to stay", cfg.Name, with, without, gone, want)
			}
		}
	}
}

func TestSubsetOfFewIsAll(t *testing.T) {
	for _, cfg := range []loadbalance.SubsetConfig{{Size: 3}, {Size: 9, Index: 5}, {Size: 3, Name: "x"}} {
		f := newFleet(nil, loadbalance.New(loadbalance.Subset(cfg, loadbalance.RoundRobin()), "a", "b", "c"))
		if got := f.rotation(3); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("subset of %d of 3 = %v, want all", cfg.Size, got)
		}
	}
}

func TestSubsetOfAVeryLargeIndex(t *testing.T) {
	if got := subsetOf(loadbalance.SubsetConfig{Size: 5, Index: 1<<62 + 1}, hosts(20)...); !distinct(got) {
		t.Errorf("subset = %v, want 5 endpoints", got)
	}
}

// Round robin goes on, and an endpoint that was ejected stays so, when others of
// the fleet change.
//
// L-6
func TestSubsetKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, all := loadbalance.SubsetConfig{Size: 4, Name: "x"}, hosts(30)
		f := newFleet(nil, loadbalance.New(loadbalance.Subset(cfg, loadbalance.RoundRobin()), all...))
		subset := f.rotation(4)
		f.fails(t, subset[0], users(40))
		for _, a := range all {
			if !slices.Contains(subset, a) {
				f.become(t, slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == a }))
				if got := f.rotation(3); !slices.Equal(got, subset[1:]) {
					t.Fatalf("without %s, which is not in the subset, calls went to %v, want %v in turn", a, got, subset[1:])
				}
			}
		}
	})
}

func TestSubsetRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		cfg  loadbalance.SubsetConfig
		want string
	}{
		{loadbalance.SubsetConfig{}, "loadbalance: the Size of a subset is 0; give how many endpoints a client uses, such as 20"},
		{loadbalance.SubsetConfig{Size: 3, Index: -1}, "loadbalance: the Index of a subset is -1; give the client's number, from 0"},
	} {
		panicsWith(t, row.want, func() { loadbalance.Subset(row.cfg, loadbalance.RoundRobin()) })
	}
	panicsWith(t, "loadbalance: Subset needs a strategy to pick with, such as PeakEWMA()", func() {
		loadbalance.Subset(loadbalance.SubsetConfig{Size: 3}, loadbalance.Strategy{})
	})
}

// A stack of all of them: what is near, of that a part, of that the owner of the
// key.
//
// L-6, L-16
func TestNestedStrategiesKeepTheirStateAcrossUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := hosts(20)[:12], hosts(20)[12:]
		endpoints := append(at("eu/a", near...), at("us/a", far...)...)
		s := loadbalance.Locality(loadbalance.LocalityConfig{Local: "eu/a"}, loadbalance.Subset(loadbalance.SubsetConfig{Size: 5, Name: "x"}, loadbalance.Hash(byRequest)))
		f := newFleet(nil, loadbalance.NewBalancer(loadbalance.Config{Strategy: s, Endpoints: endpoints}))
		keys := users(200)
		home := f.where(keys)
		used := slices.Sorted(maps.Keys(count(home)))
		if len(used) != 5 || slices.ContainsFunc(used, func(a string) bool { return slices.Contains(far, a) }) {
			t.Fatalf("calls went to %v, want a near subset of 5", used)
		}
		sick := used[2]
		f.fails(t, sick, keys)
		if err := f.Update(endpoints[:len(endpoints)-1]...); err != nil {
			t.Fatal(err)
		}
		for key, at := range f.where(keys) {
			if at == sick || home[key] != sick && at != home[key] {
				t.Fatalf("after an Update with %s ejected, %q is at %s, want it elsewhere only if it was there; it was at %s", sick, key, at, home[key])
			}
		}
		f.set(false, sick)
		<-time.After(6 * time.Second)
		f.where(keys)
		if got := f.where(keys); !maps.Equal(got, home) {
			t.Error("keys have not come home after an Update and the recovery of their endpoint")
		}
	})
}

func count(at map[string]string) map[string]int {
	counts := map[string]int{}
	for _, a := range at {
		counts[a]++
	}
	return counts
}

// L-7
func TestSubsetAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	s := loadbalance.Subset(loadbalance.SubsetConfig{Size: 5}, loadbalance.PeakEWMA())
	if got := allocates(s, loadbalance.Endpoints(hosts(20)...)); got != 0 {
		t.Errorf("a call by %v allocates %v times, want 0", s, got)
	}
}
