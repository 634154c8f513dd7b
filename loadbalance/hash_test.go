package loadbalance_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// A fleet is endpoints with a balancer. Its calls are known by a key, which
// is all that they ask for.
type fleet struct {
	*loadbalance.Balancer
	call func(ctx context.Context, key string) (string, error)

	mu    sync.Mutex
	down  map[string]bool
	tried []string // by all attempts since the last read
}

// newFleet has calls to the endpoints of b, with more middleware around and
// beneath it.
func newFleet(above backstay.Middleware, b *loadbalance.Balancer, below ...backstay.Middleware) *fleet {
	f := &fleet{Balancer: b, down: map[string]bool{}}
	stack := append([]backstay.Middleware{b}, below...)
	if above != nil {
		stack = append([]backstay.Middleware{above}, stack...)
	}
	f.call = backstay.Bind(backstay.New(stack...), backstay.Op[string, string]{Do: f.serve})
	return f
}

func (f *fleet) serve(_ context.Context, call *backstay.Call, _ string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = append(f.tried, call.Endpoint)
	if f.down[call.Endpoint] {
		return "", errDown
	}
	return call.Endpoint, nil
}

// set says whether endpoints are down.
func (f *fleet) set(down bool, addresses ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addresses {
		f.down[a] = down
	}
}

// attempts makes a call and returns which endpoints its attempts went to.
func (f *fleet) attempts(key string) []string {
	f.mu.Lock()
	f.tried = nil
	f.mu.Unlock()
	_, _ = f.call(context.Background(), key)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tried
}

// at returns where the only attempt of a call for a key goes.
func (f *fleet) at(key string) string { return strings.Join(f.attempts(key), " ") }

// where returns where each of some keys goes.
func (f *fleet) where(keys []string) map[string]string {
	at := make(map[string]string, len(keys))
	for _, k := range keys {
		at[k] = f.at(k)
	}
	return at
}

// fails makes calls for keys until the endpoint is ejected, which is down.
func (f *fleet) fails(t *testing.T, address string, keys []string) {
	t.Helper()
	f.set(true, address)
	for _, k := range keys {
		if f.at(k); node(t, f.Balancer, address).State() == loadbalance.Ejected {
			return
		}
	}
	t.Fatalf("%s is %v after %d calls, want ejected", address, node(t, f.Balancer, address).State(), len(keys))
}

// request returns the request of a call as its key.
func request(_ context.Context, call *backstay.Call) string {
	key, _ := backstay.Peek[string](call)
	return key
}

func theKey(context.Context, *backstay.Call) string { return "the key" }

func users(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user %d", i)
	}
	return keys
}

func hosts(n int) []string {
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1)
	}
	return addresses
}

// again returns a retry that pauses for no time.
func again(attempts int) backstay.Middleware {
	return retry.New(retry.Config{MaxAttempts: attempts, Backoff: retry.NoPause(), NoBudget: true})
}

var hashes = []struct {
	name string
	of   func(loadbalance.HashConfig) loadbalance.Strategy
}{
	{"Hash", loadbalance.Hash},
	{"Rendezvous", loadbalance.Rendezvous},
	{"Maglev", loadbalance.Maglev},
}

var (
	byRequest = loadbalance.HashConfig{Key: request}
	bounded   = loadbalance.HashConfig{Key: request, Bound: 1.25}
	strict    = loadbalance.HashConfig{Key: request, Strict: true}
	fearless  = loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never}
)

// What these change to is where every program looks for its keys.
//
// L-11
func TestOwnersAreTheSameInEveryProcess(t *testing.T) {
	want := map[string]string{
		"Hash":       "dccacdcdaddcddadacaacacd",
		"Rendezvous": "bdcaacdadaaaadaccbcdabda",
		"Maglev":     "adbbcabacdbbbcdbddaaadcb",
	}
	for _, h := range hashes {
		one := newFleet(nil, loadbalance.New(h.of(byRequest), "a:80", "b:80", "c:80", "d:80"))
		other := newFleet(nil, loadbalance.New(h.of(bounded), "d:80", "b:80", "gone:80"))
		if err := other.Update(loadbalance.Endpoints("c:80", "a:80", "d:80", "b:80")...); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for _, k := range users(24) {
			at := one.at(k)
			got.WriteString(at[:1])
			if elsewhere := other.at(k); elsewhere != at {
				t.Errorf("%s: %q is at %s in one process and at %s in another", h.name, k, at, elsewhere)
			}
		}
		if got.String() != want[h.name] {
			t.Errorf("%s: owners = %q, want %q", h.name, got.String(), want[h.name])
		}
	}
}

// Each step adds or removes one endpoint. All keys that move are its own, and
// so their share is what it owns.
//
// L-12, L-13
func TestEndpointThatComesOrGoesMovesItsOwnKeysOnly(t *testing.T) {
	for _, h := range hashes[:2] {
		for _, n := range []int{3, 10, 100, 1000} {
			all, keys := hosts(n), users(1000)
			f := newFleet(nil, loadbalance.New(h.of(byRequest), all...))
			with := f.where(keys)
			moved, steps := 0, 10
			if h.name == "Rendezvous" && n == 1000 || n == 3 {
				steps = 3
			}
			for i := range steps {
				i *= n / steps
				f.become(t, slices.Delete(slices.Clone(all), i, i+1))
				for key, at := range f.where(keys) {
					switch {
					case with[key] == all[i]:
						moved++
					case with[key] != at:
						t.Fatalf("%s: without %s of %d, %q is at %s, want it to stay at %s", h.name, all[i], n, key, at, with[key])
					}
				}
				f.become(t, all)
				for key, at := range f.where(keys) {
					if at != with[key] {
						t.Fatalf("%s: %s of %d came back and %q is at %s, want it at %s as before", h.name, all[i], n, key, at, with[key])
					}
				}
			}
			// Of 3 and 10 all have gone once, so each key has moved once.
			if steps == n && moved != len(keys) || moved == 0 {
				t.Errorf("%s: %d of %d keys moved when %d of %d endpoints had gone in turn, want those that they own", h.name, moved, len(keys), steps, n)
			}
		}
	}
}

func (f *fleet) become(t *testing.T, addresses []string) {
	t.Helper()
	if err := f.Update(loadbalance.Endpoints(addresses...)...); err != nil {
		t.Fatal(err)
	}
}

func TestMaglevMovesFewOtherKeys(t *testing.T) {
	for _, n := range []int{3, 10, 100, 1000} {
		all, keys := hosts(n), users(5000)
		f := newFleet(nil, loadbalance.New(loadbalance.Maglev(byRequest), all...))
		with := f.where(keys)
		f.become(t, all[1:])
		own, others := 0, 0
		for key, at := range f.where(keys) {
			if with[key] == all[0] {
				own++
			} else if at != with[key] {
				others++
			}
		}
		t.Logf("of %d keys of %d endpoints, %d move with the one that goes and %d between others", len(keys), n, own, others)
		if others > len(keys)*2/100 {
			t.Errorf("%d of %d keys move between endpoints that stay, of %d, want at most 2 %%", others, len(keys), n)
		}
	}
}

// Calls take ten ticks, and an endpoint fails what it has no room for. Half of
// the room is asked for, by keys of which the most wanted is every seventh.
//
// L-14
func TestBoundKeepsAHotKeyFromItsEndpoint(t *testing.T) {
	for _, n := range []int{10, 40} { // in flight is added up of few endpoints, counted of many
		for _, h := range hashes {
			plain, bound := overload(t, h.of(byRequest), n), overload(t, h.of(bounded), n)
			t.Logf("%s over %d: %.1f %% fail, with a bound %.1f %%", h.name, n, 100*plain, 100*bound)
			if plain < .02 {
				t.Errorf("%s over %d fails %.1f %% of the calls without a bound, want some %%", h.name, n, 100*plain)
			}
			if bound > 0 {
				t.Errorf("%s over %d fails %.1f %% of the calls with a bound of 1.25, want none", h.name, n, 100*bound)
			}
		}
	}
}

// A ticket is a result that is held for some ticks.
type ticket struct {
	at   string
	done func(error)
}

// overload returns the share of calls that fail.
func overload(t *testing.T, s loadbalance.Strategy, endpoints int) float64 {
	const room, ticks, length = 20, 300, 10
	b := balance(s, fearless, hosts(endpoints)...)
	busy := map[string]int{}
	call := backstay.Bind(backstay.New(b), backstay.Op[string, *ticket]{
		Do: func(_ context.Context, call *backstay.Call, _ string) (*ticket, error) {
			at := call.Endpoint
			if busy[at] == room {
				return nil, errDown
			}
			busy[at]++
			call.OnDone(func(error) { busy[at]-- })
			return new(ticket), nil
		},
		Hold: func(k *ticket, done func(error)) *ticket { k.done = done; return k },
	})
	key, held, failed := zipf(1000), make([][]*ticket, ticks+length), 0
	calls := endpoints * room / 2 / length
	for now := range ticks {
		for _, k := range held[now] {
			k.done(nil)
		}
		for range calls {
			if k, err := call(t.Context(), key()); err != nil {
				failed++
			} else {
				held[now+length] = append(held[now+length], k)
			}
		}
	}
	return float64(failed) / float64(calls*ticks)
}

// zipf returns a function that draws from n keys, of which the i-th is wanted
// 1/i times as often as the first.
func zipf(n int) func() string {
	random, sum := rand.New(rand.NewPCG(1, 2)), make([]float64, n+1)
	for i := range n {
		sum[i+1] = sum[i] + 1/float64(i+1)
	}
	return func() string {
		i, _ := slices.BinarySearch(sum, random.Float64()*sum[n])
		return fmt.Sprintf("user %d", i)
	}
}

// All calls have one key. One that has come to where it was before, because all
// endpoints were tried, counts like any other.
//
// L-14
func TestBoundHoldsForASingleKey(t *testing.T) {
	for _, n := range []int{2, 3, 16, 17} {
		for _, attempts := range []int{1, n + 1} {
			b := balance(loadbalance.Hash(bounded), fearless, hosts(n)...)
			stack := []backstay.Middleware{b}
			if attempts > 1 {
				stack = []backstay.Middleware{again(attempts), b}
			}
			call := backstay.Bind(backstay.New(stack...), backstay.Op[string, *ticket]{
				Do: func(_ context.Context, call *backstay.Call, _ string) (*ticket, error) {
					if call.Attempt < attempts {
						return nil, errDown
					}
					return new(ticket), nil
				},
				Hold: func(k *ticket, done func(error)) *ticket { k.done = done; return k },
			})
			var held []*ticket
			for round := range 3 {
				for i := range 5 * n {
					k, err := call(t.Context(), "the key")
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, k)
					limit := int(math.Ceil(1.25 * float64(len(held)) / float64(n)))
					for _, e := range b.Nodes() {
						if e.InFlight() > limit {
							t.Fatalf("InFlight of one of %d after %d calls = %d, want at most %d", n, i+1, e.InFlight(), limit)
						}
					}
				}
				for _, k := range held {
					k.done(nil)
				}
				held = held[:0]
				if busy := node(t, b, b.Addresses()[0]).InFlight(); busy != 0 {
					t.Errorf("InFlight after round %d = %d, want 0", round, busy)
				}
			}
		}
	}
}

// What is in flight was added up before and has a total since.
//
// L-14
func TestBoundHoldsWhileTheBalancerGrows(t *testing.T) {
	b := balance(loadbalance.Hash(bounded), fearless, hosts(16)...)
	call := backstay.Bind(backstay.New(b), backstay.Op[string, *ticket]{
		Do: func(_ context.Context, call *backstay.Call, _ string) (*ticket, error) {
			return &ticket{at: call.Endpoint}, nil
		},
		Hold: func(k *ticket, done func(error)) *ticket { k.done = done; return k },
	})
	hold := func(key string) *ticket {
		k, err := call(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for _, key := range users(320) {
		hold(key)
	}
	if err := b.Update(loadbalance.Endpoints(hosts(17)...)...); err != nil {
		t.Fatal(err)
	}
	owners := newFleet(nil, loadbalance.New(loadbalance.Hash(byRequest), hosts(17)...))
	for i := range 500 {
		key := fmt.Sprintf("new user %d", i)
		owner := owners.at(key)
		busy := node(t, b, owner).InFlight()
		room := float64(busy) < 1.25*321/17
		k := hold(key)
		if k.done(nil); (k.at == owner) != room {
			t.Fatalf("with 320 calls at 17 endpoints and %d at its owner %s, %q is at %s, want it there: %v", busy, owner, key, k.at, room)
		}
	}
}

// L-15
func TestCallsWithoutAKeyAreSpread(t *testing.T) {
	for _, h := range hashes {
		for _, cfg := range []loadbalance.HashConfig{byRequest, bounded, strict} {
			f := newFleet(nil, loadbalance.New(h.of(cfg), hosts(5)...))
			calls := map[string]int{}
			for range 1000 {
				at, err := f.call(t.Context(), "")
				if err != nil {
					t.Fatalf("a call without a key failed with %v, want it anywhere", err)
				}
				calls[at]++
			}
			for _, a := range hosts(5) {
				if calls[a] < 120 || calls[a] > 290 { // 200, with a deviation of 13, and shares that are up to 1.2 times the mean
					t.Errorf("%s: %d of 1000 calls without a key went to one of 5 endpoints, want about 200", h.name, calls[a])
				}
			}
		}
	}
}

// L-16
func TestKeysComeHomeWhenTheirEndpointRecovers(t *testing.T) {
	for _, h := range hashes {
		for _, cfg := range []loadbalance.HashConfig{byRequest, bounded} {
			synctest.Test(t, func(t *testing.T) {
				keys := users(400)
				f := newFleet(nil, loadbalance.New(h.of(cfg), hosts(5)...))
				sick := hosts(5)[2]
				home := f.where(keys)
				f.fails(t, sick, keys)

				away := f.where(keys)
				for key, at := range away {
					if at == sick || home[key] != sick && at != home[key] {
						t.Fatalf("%s: with %s ejected, %q is at %s, want it elsewhere only if it was there; it was at %s", h.name, sick, key, at, home[key])
					}
				}
				if h.name != "Maglev" { // whose table would be another
					without := newFleet(nil, loadbalance.New(h.of(cfg), slices.Delete(hosts(5), 2, 3)...)).where(keys)
					for key, at := range away {
						if at != without[key] {
							t.Fatalf("%s: with %s ejected, %q is at %s, want %s as if it were not there", h.name, sick, key, at, without[key])
						}
					}
				}

				f.set(false, sick)
				<-time.After(6 * time.Second)
				f.where(keys) // probes it
				for key, at := range f.where(keys) {
					if at != home[key] {
						t.Fatalf("%s: %s is back and %q is at %s, want it home at %s", h.name, sick, key, at, home[key])
					}
				}
			})
		}
	}
}

// L-16
func TestRetryGoesToTheNextOwner(t *testing.T) {
	all := hosts(5)
	for _, h := range hashes {
		for _, cfg := range []loadbalance.HashConfig{byRequest, bounded} {
			f := newFleet(again(5), balance(h.of(cfg), fearless, all...))
			f.set(true, all...)
			for _, key := range users(50) {
				tried := f.attempts(key)
				if distinct := slices.Compact(slices.Sorted(slices.Values(tried))); len(distinct) != 5 {
					t.Fatalf("%s: 5 attempts for %q went to %v, want each to another endpoint", h.name, key, tried)
				}
				if h.name == "Maglev" {
					continue
				}
				left := all
				for _, at := range tried {
					if next := newFleet(nil, loadbalance.New(h.of(cfg), left...)).at(key); at != next {
						t.Fatalf("%s: attempts for %q went to %v, want %s next among %v", h.name, key, tried, next, left)
					}
					left = slices.DeleteFunc(slices.Clone(left), func(a string) bool { return a == at })
				}
			}
		}
	}
}

// L-16
func TestStrictKeysStay(t *testing.T) {
	for _, h := range hashes {
		synctest.Test(t, func(t *testing.T) {
			pausing := retry.New(retry.Config{Backoff: retry.Constant(100 * time.Millisecond), NoBudget: true})
			f := newFleet(pausing, loadbalance.New(h.of(strict), hosts(5)...))
			owner := f.at("user 0")
			f.set(true, owner)
			began := time.Now()
			for i := range 4 {
				if got, want := f.at("user 0"), strings.TrimSpace(strings.Repeat(owner+" ", 3)); got != want {
					t.Fatalf("%s: attempts of call %d for a key of %s went to %s, want them all there", h.name, i, owner, got)
				}
			}
			if got := node(t, f.Balancer, owner).State(); got != loadbalance.Ejected {
				t.Fatalf("%s: State() after 12 failures = %v, want ejected", h.name, got)
			}
			if took := time.Since(began); took != 800*time.Millisecond {
				t.Errorf("%s: 8 retries took %v, want a pause before each, for there is nowhere else to go", h.name, took)
			}
			for range 50 {
				if tried := f.attempts(""); slices.Contains(tried, owner) {
					t.Fatalf("%s: attempts without a key went to %v, want none to %s, which is ejected", h.name, tried, owner)
				}
			}
			f.set(false, owner)
			<-time.After(6 * time.Second)
			if got := f.at("user 0"); got != owner {
				t.Errorf("%s: a key of %s that waits for a probe is at %s, want it there", h.name, owner, got)
			}
			if got := node(t, f.Balancer, owner).State(); got != loadbalance.Warming {
				t.Errorf("%s: State() after a good call = %v, want warming", h.name, got)
			}
		})
	}
}

// L-18
func TestEjectedOwnerIsProbedByOneCall(t *testing.T) {
	for _, h := range hashes {
		synctest.Test(t, func(t *testing.T) {
			b := loadbalance.New(h.of(byRequest), hosts(3)...)
			f := newFleet(nil, b)
			owner := f.at("the key")
			f.fails(t, owner, slices.Repeat([]string{"the key"}, 10))
			<-time.After(6 * time.Second)

			var mu sync.Mutex
			calls := map[string]int{}
			slow := backstay.Bind(backstay.New(b), backstay.Op[string, int]{Do: func(_ context.Context, call *backstay.Call, _ string) (int, error) {
				mu.Lock()
				calls[call.Endpoint]++
				mu.Unlock()
				<-time.After(time.Second)
				return 0, nil
			}})
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() { _, _ = slow(t.Context(), "the key") })
			}
			all.Wait()
			if calls[owner] != 1 || len(calls) != 2 {
				t.Errorf("%s: 10 calls at once went to %v, want one to %s, which waits for a probe, and 9 to the next", h.name, calls, owner)
			}
			if got := f.at("the key"); got != owner {
				t.Errorf("%s: after the probe the key is at %s, want %s", h.name, got, owner)
			}
		})
	}
}

// L-19
func TestKeysAreHomeWhileTooFewAreWell(t *testing.T) {
	for _, h := range hashes {
		synctest.Test(t, func(t *testing.T) {
			all, keys := hosts(4), users(400)
			f := newFleet(nil, balance(h.of(byRequest), loadbalance.HealthConfig{MaxEjected: 1, BaseEjection: time.Hour}, all...))
			home := f.where(keys)
			for _, a := range all[:3] {
				f.fails(t, a, keys)
			}
			f.set(false, all...)
			for key, at := range f.where(keys) {
				if at != home[key] {
					t.Fatalf("%s: with 3 of 4 ejected %q is at %s, want it at %s as if none were", h.name, key, at, home[key])
				}
			}
		})
	}
}

// L-22
func TestOwnerWhoseBreakerIsOpenIsWalkedPast(t *testing.T) {
	for _, h := range hashes {
		for _, cfg := range []loadbalance.HashConfig{byRequest, bounded} {
			breakers := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 2, Cooldown: time.Hour, MaxCooldown: time.Hour}, breaker.ByEndpoint)
			f := newFleet(nil, balance(h.of(cfg), fearless, hosts(5)...), breakers)
			keys := users(100)
			home := f.where(keys)
			sick := home["user 0"]
			f.set(true, sick)
			f.at("user 0")
			f.at("user 0")
			f.set(false, sick)
			for key, at := range f.where(keys) {
				if at == "" || at == sick || home[key] != sick && at != home[key] {
					t.Errorf("%s: with the breaker of %s open, %q is at %q, want it elsewhere only if it was there; it was at %s", h.name, sick, key, at, home[key])
				}
			}
		}
	}
}

func TestKeysAreSharedByWeight(t *testing.T) {
	for _, h := range hashes {
		f := newFleet(nil, loadbalance.NewBalancer(loadbalance.Config{Strategy: h.of(byRequest), Endpoints: []loadbalance.Endpoint{{Address: "a", Weight: 1}, {Address: "b", Weight: 2}, {Address: "c", Weight: 5}}}))
		calls := map[string]int{}
		for _, at := range f.where(users(8000)) {
			calls[at]++
		}
		for a, want := range map[string]int{"a": 1000, "b": 2000, "c": 5000} {
			if math.Abs(float64(calls[a])/float64(want)-1) > .15 {
				t.Errorf("%s: keys of %s = %d of 8000, want %d", h.name, a, calls[a], want)
			}
		}
	}
}

// Hardly any can be had: the walk on the ring is given up, and the search is
// not.
func TestTheOnlyOneLeftOfManyIsFound(t *testing.T) {
	for _, h := range hashes {
		n := 400
		if h.name == "Rendezvous" {
			n = 100
		}
		all := hosts(n)
		f := newFleet(again(n), balance(h.of(byRequest), fearless, all...))
		f.set(true, all...)
		tried := f.attempts("the key")
		if distinct := slices.Compact(slices.Sorted(slices.Values(tried))); len(distinct) != n {
			t.Errorf("%s: %d attempts went to %d endpoints, want each to another", h.name, n, len(distinct))
		}
	}
}

func TestHashRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		cfg  loadbalance.HashConfig
		want string
	}{
		{loadbalance.HashConfig{}, `loadbalance: a hash strategy needs a Key, such as httpcall.ByHeader("X-User")`},
		{loadbalance.HashConfig{Key: request, Bound: 1}, "loadbalance: Bound is 1; give a factor above 1, such as 1.25, or 0 for no bound"},
		{loadbalance.HashConfig{Key: request, Bound: math.NaN()}, "loadbalance: Bound is NaN; give a factor above 1, such as 1.25, or 0 for no bound"},
		{loadbalance.HashConfig{Key: request, Bound: 2, Strict: true}, "loadbalance: Bound sends keys elsewhere and Strict forbids it; leave one of them out"},
	} {
		for _, h := range hashes {
			panicsWith(t, row.want, func() { h.of(row.cfg) })
		}
	}
}

// panicsWith checks what a misuse panics with.
func panicsWith(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got != want {
			t.Errorf("panic = %v, want %s", got, want)
		}
	}()
	f()
}

// allocates returns how many times a call allocates through a balancer.
func allocates(s loadbalance.Strategy, endpoints []loadbalance.Endpoint) float64 {
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: s, Endpoints: endpoints})
	call := backstay.Bind(backstay.New(b), backstay.Op[int, int]{Do: func(context.Context, *backstay.Call, int) (int, error) { return 0, nil }})
	ctx := context.Background()
	return testing.AllocsPerRun(1000, func() { _, _ = call(ctx, 0) })
}

// L-7
func TestHashAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	for _, h := range hashes {
		for _, cfg := range []loadbalance.HashConfig{byRequest, bounded, strict} {
			cfg.Key = theKey // a string from the request would be an allocation
			for _, n := range []int{3, 100} {
				if got := allocates(h.of(cfg), loadbalance.Endpoints(hosts(n)...)); got != 0 {
					t.Errorf("a call by %v over %d allocates %v times, want 0", h.of(cfg), n, got)
				}
			}
		}
	}
}
