package loadbalance_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// must returns a schema that is known to be right.
func must(s loadbalance.Schema, err error) loadbalance.Schema {
	if err != nil {
		panic(err)
	}
	return s
}

func part(name string, endpoints ...string) loadbalance.Partition {
	return loadbalance.Partition{Name: name, Endpoints: endpoints}
}

func from(key, name string, endpoints ...string) loadbalance.Range {
	return loadbalance.Range{From: key, Partition: part(name, endpoints...)}
}

// partitioned returns calls to endpoints by a schema.
func partitioned(s loadbalance.Schema, addresses ...string) *fleet {
	return newFleet(nil, loadbalance.New(loadbalance.NewPartitions(request, s, loadbalance.RoundRobin()).Strategy(), addresses...))
}

// L-17
func TestRangesHaveTheirKeys(t *testing.T) {
	s := must(loadbalance.RangeSchema(from("n", "second", "b"), from("c", "first", "a"), from("t", "first", "a")))
	f := partitioned(s, "a", "b")
	for key, want := range map[string]string{
		"b": "", "b\xff": "", "c": "a", "c\x00": "a", "m\xff\xff": "a", "n": "b", "naught": "b", "szzz": "b", "t": "a", "\xff": "a",
	} {
		if got := f.at(key); got != want {
			t.Errorf("%q is at %q, want %q", key, got, want)
		}
	}
	var names []string
	for _, p := range s.Partitions() {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "first second" {
		t.Errorf("Partitions() = %s, want first second", got)
	}
}

// L-17
func TestDirectoryIsAskedForTheKey(t *testing.T) {
	tenants := map[string]string{"acme": "large", "tiny": "small", "lost": "nowhere"}
	f := partitioned(must(loadbalance.DirectorySchema(func(key string) string { return tenants[key] }, part("large", "a"), part("small", "b"))), "a", "b")
	for key, want := range map[string]string{"acme": "a", "tiny": "b", "lost": "", "unknown": ""} {
		if got := f.at(key); got != want {
			t.Errorf("%q is at %q, want %q", key, got, want)
		}
	}
}

// What these change to is where every program looks for its keys.
//
// L-17
func TestHashedPartitionsAreTheSameInEveryProcess(t *testing.T) {
	one := must(loadbalance.HashSchema(part("0"), part("1"), part("2")))
	other := must(loadbalance.HashSchema(part("2"), part("0"), part("1")))
	fewer := must(loadbalance.HashSchema(part("0"), part("1")))
	var got strings.Builder
	for _, k := range users(24) {
		p, _ := one.Of(k)
		got.WriteString(p.Name)
		if q, _ := other.Of(k); q.Name != p.Name {
			t.Errorf("Of(%q) = %s, and %s where the partitions come in another order", k, p.Name, q.Name)
		}
		if q, _ := fewer.Of(k); q.Name != p.Name && p.Name != "2" {
			t.Errorf("Of(%q) = %s without partition 2, want it to stay in %s", k, q.Name, p.Name)
		}
	}
	if want := "121210201120112110222112"; got.String() != want {
		t.Errorf("partitions = %s, want %s", got.String(), want)
	}
}

// L-17
func TestCallWithoutAPartitionFails(t *testing.T) {
	f := partitioned(must(loadbalance.RangeSchema(from("b", "all", "a"))), "a")
	for _, key := range []string{"", "a"} {
		_, err := f.call(t.Context(), key)
		if _, ok := errors.AsType[*loadbalance.NoEndpointError](err); !ok || len(f.tried) > 0 {
			t.Errorf("call(%q) = %v after %d attempts, want a NoEndpointError after none", key, err, len(f.tried))
		}
	}
}

// L-17
func TestEndpointsTellTheirPartitions(t *testing.T) {
	s := must(loadbalance.HashSchema(part("red"), part("blue")))
	at := func(address, parts string) loadbalance.Endpoint {
		return loadbalance.Endpoint{Address: address, Attributes: map[string]string{loadbalance.PartitionAttribute: parts}}
	}
	b := loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  loadbalance.NewPartitions(request, s, loadbalance.RoundRobin()).Strategy(),
		Endpoints: []loadbalance.Endpoint{at("a", "red"), at("b", "red, blue,blue"), at("c", "green"), at("d", "blue"), {Address: "e"}},
	})
	f, got := newFleet(nil, b), map[string]map[string]bool{"red": {}, "blue": {}}
	for range 5 {
		for _, k := range users(20) {
			p, _ := s.Of(k)
			got[p.Name][f.at(k)] = true
		}
	}
	for name, want := range map[string]string{"red": "[a b]", "blue": "[b d]"} {
		if at := fmt.Sprint(slices.Sorted(maps.Keys(got[name]))); at != want {
			t.Errorf("calls for partition %s went to %s, want %s", name, at, want)
		}
	}
}

// L-17
func TestRetryStaysInThePartition(t *testing.T) {
	s := must(loadbalance.RangeSchema(from("", "low", "a", "b", "c"), from("n", "high", "d", "e")))
	b := balance(loadbalance.NewPartitions(request, s, loadbalance.RoundRobin()).Strategy(), fearless, "a", "b", "c", "d", "e")
	f := newFleet(again(6), b)
	f.set(true, "a", "b", "c", "d", "e")
	for range 20 {
		for key, replicas := range map[string][]string{"k": {"a", "b", "c"}, "z": {"d", "e"}} {
			tried := f.attempts(key)
			if first := slices.Sorted(slices.Values(tried[:len(replicas)])); !slices.Equal(first, replicas) {
				t.Errorf("attempts for %q went to %v, want each of %v first", key, tried, replicas)
			}
			if slices.ContainsFunc(tried, func(a string) bool { return !slices.Contains(replicas, a) }) {
				t.Errorf("attempts for %q went to %v, want none outside of %v", key, tried, replicas)
			}
		}
	}
}

// A key that is at an old and a new place in turn: 100 swaps while 32 goroutines
// call. Of each schema only the partition of the key has endpoints that answer
// its calls, so a pick by half of one and half of the other would fail.
//
// L-17
func TestSwapWhileCallsRun(t *testing.T) {
	leak.Check(t)
	schemas := []loadbalance.Schema{
		must(loadbalance.RangeSchema(from("", "x", "a"), from("m", "y", "b"))),
		must(loadbalance.DirectorySchema(func(key string) string {
			if key < "m" {
				return "y"
			}
			return "z"
		}, part("w", "a"), part("y", "c"), part("z", "d"))),
	}
	p := loadbalance.NewPartitions(request, schemas[0], loadbalance.Random())
	f := newFleet(nil, loadbalance.New(p.Strategy(), "a", "b", "c", "d"))
	var over atomic.Bool
	var callers sync.WaitGroup
	var moved atomic.Int64
	for i := range 32 {
		callers.Go(func() {
			key, wants := "k", [2]string{"a", "c"}
			if i%2 == 1 {
				key, wants = "z", [2]string{"b", "d"}
			}
			for n := 0; n < 50 || !over.Load(); n++ {
				at, err := f.call(t.Context(), key)
				if err != nil || at != wants[0] && at != wants[1] {
					t.Errorf("call(%q) = %q, %v, want %s or %s", key, at, err, wants[0], wants[1])
					return
				}
				if at == wants[1] {
					moved.Add(1)
				}
			}
		})
	}
	for i := range 101 {
		if err := p.Swap(schemas[(i+1)%2]); err != nil {
			t.Error(err)
		}
	}
	over.Store(true)
	callers.Wait()
	if got := f.at("k"); got != "c" || moved.Load() == 0 {
		t.Errorf("after the last swap the key is at %s and %d calls went to the new places, want c and some", got, moved.Load())
	}
}

func TestSwapReachesEachBalancer(t *testing.T) {
	p := loadbalance.NewPartitions(request, must(loadbalance.HashSchema(part("all", "a"))), loadbalance.RoundRobin())
	one, two := newFleet(nil, loadbalance.New(p.Strategy(), "a", "b")), newFleet(nil, loadbalance.New(p.Strategy(), "a", "b"))
	if err := two.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Swap(must(loadbalance.HashSchema(part("all", "b")))); err != nil {
		t.Fatal(err)
	}
	if got := one.at("k"); got != "b" {
		t.Errorf("after Swap the key is at %q, want b", got)
	}
	if got := two.at("k"); got != "" {
		t.Errorf("Swap has opened a balancer that was closed: the key is at %q", got)
	}
	if err := p.Swap(loadbalance.Schema{}); err == nil || one.at("k") != "b" {
		t.Errorf("Swap(zero) = %v with the key at %q, want an error, and b as before", err, one.at("k"))
	}
}

// Round robin goes on where it was.
//
// L-6
func TestSwapKeepsWhatThePartitionsKnow(t *testing.T) {
	s := must(loadbalance.HashSchema(part("all", "a", "b", "c")))
	p := loadbalance.NewPartitions(request, s, loadbalance.RoundRobin())
	f := newFleet(nil, loadbalance.New(p.Strategy(), "a", "b", "c"))
	var seen []string
	for range 9 {
		seen = append(seen, f.at("k"))
		if err := p.Swap(s); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(seen[:3], seen[3:6]) || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 3 {
		t.Errorf("calls with a swap after each went to %v, want each endpoint in turn", seen)
	}
}

func TestSchemaKeepsNothingOfTheCallers(t *testing.T) {
	parts := []loadbalance.Partition{part("all", "a")}
	s := must(loadbalance.HashSchema(parts...))
	parts[0].Endpoints[0] = "b"
	s.Partitions()[0].Endpoints[0] = "b"
	if p, ok := s.Of("k"); !ok || p.Endpoints[0] != "a" {
		t.Errorf("Of(k) = %v, %v, want it as it was given", p, ok)
	}
}

func TestGroupDividesKeys(t *testing.T) {
	s := must(loadbalance.RangeSchema(from("b", "low"), from("n", "high")))
	want := map[string][]string{"low": {"c", "b"}, "high": {"z"}, "": {"a"}}
	if got := s.Group("c", "z", "a", "b"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Group(c, z, a, b) = %v, want %v", got, want)
	}
	if got := (loadbalance.Schema{}).Group("a"); fmt.Sprint(got) != "map[:[a]]" {
		t.Errorf("Group(a) of the zero Schema = %v, want a under no partition", got)
	}
}

func TestSchemasRefuseWhatCannotWork(t *testing.T) {
	find := func(string) string { return "" }
	for _, row := range []struct {
		of   func() (loadbalance.Schema, error)
		want string
	}{
		{func() (loadbalance.Schema, error) { return loadbalance.HashSchema() }, "loadbalance: a hash schema needs at least one partition"},
		{func() (loadbalance.Schema, error) { return loadbalance.RangeSchema() }, "loadbalance: a range schema needs at least one partition"},
		{func() (loadbalance.Schema, error) { return loadbalance.DirectorySchema(find) }, "loadbalance: a directory schema needs at least one partition"},
		{func() (loadbalance.Schema, error) { return loadbalance.DirectorySchema(nil, part("p")) }, "loadbalance: DirectorySchema needs a function that finds the partition of a key"},
		{func() (loadbalance.Schema, error) { return loadbalance.HashSchema(part("")) }, "loadbalance: a partition of a hash schema has no name; give it one"},
		{func() (loadbalance.Schema, error) { return loadbalance.HashSchema(part("p"), part("p")) }, `loadbalance: the partition "p" is given twice; give it once`},
		{func() (loadbalance.Schema, error) { return loadbalance.HashSchema(part("p", "a", "b", "a")) }, `loadbalance: the partition "p" has the endpoint "a" twice; give it once`},
		{func() (loadbalance.Schema, error) { return loadbalance.RangeSchema(from("a", "p"), from("a", "q")) }, `loadbalance: two ranges begin at "a"; give each a From of its own`},
		{func() (loadbalance.Schema, error) {
			return loadbalance.RangeSchema(from("a", "p", "x"), from("b", "p"))
		}, `loadbalance: the partition "p" has different endpoints in two ranges; give both the same`},
	} {
		if _, err := row.of(); err == nil || err.Error() != row.want {
			t.Errorf("error = %v, want %s", err, row.want)
		}
	}
	s := must(loadbalance.HashSchema(part("p")))
	panicsWith(t, "loadbalance: NewPartitions needs a function that returns the key of a call", func() { loadbalance.NewPartitions(nil, s, loadbalance.RoundRobin()) })
	panicsWith(t, "loadbalance: NewPartitions needs a strategy to pick with, such as PeakEWMA()", func() { loadbalance.NewPartitions(request, s, loadbalance.Strategy{}) })
	panicsWith(t, "loadbalance: the schema is empty; make it with HashSchema, RangeSchema or DirectorySchema", func() {
		loadbalance.NewPartitions(request, loadbalance.Schema{}, loadbalance.RoundRobin())
	})
}

// L-7
func TestPartitionsAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	for _, s := range []loadbalance.Schema{
		must(loadbalance.HashSchema(part("p", "a", "b"), part("q", "a", "b"))),
		must(loadbalance.RangeSchema(from("", "p", "a", "b"), from("u", "q", "b"))),
		must(loadbalance.DirectorySchema(func(string) string { return "p" }, part("p", "a", "b"))),
	} {
		strategy := loadbalance.NewPartitions(theKey, s, loadbalance.PeakEWMA()).Strategy()
		if got := allocates(strategy, loadbalance.Endpoints("a", "b")); got != 0 {
			t.Errorf("a call by %v allocates %v times, want 0", strategy, got)
		}
	}
}
