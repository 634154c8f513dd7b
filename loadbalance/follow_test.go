package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

var errDNS = errors.New("no such host")

// A resolver gives the answers of a script, one after the other and the last
// for good, and notes when it was asked.
type resolver struct {
	script []answer
	mu     sync.Mutex
	asked  []time.Time
}

type answer func(ctx context.Context) ([]loadbalance.Endpoint, error)

func (r *resolver) Resolve(ctx context.Context) ([]loadbalance.Endpoint, error) {
	r.mu.Lock()
	a := r.script[min(len(r.asked), len(r.script)-1)]
	r.asked = append(r.asked, time.Now())
	r.mu.Unlock()
	return a(ctx)
}

// times returns when it was asked, counted from the given time.
func (r *resolver) times(from time.Time) (all []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.asked {
		all = append(all, at.Sub(from))
	}
	return all
}

func finds(addresses ...string) answer {
	return func(context.Context) ([]loadbalance.Endpoint, error) {
		return loadbalance.Endpoints(addresses...), nil
	}
}

func fails(err error) answer {
	return func(context.Context) ([]loadbalance.Endpoint, error) { return nil, err }
}

func hangs(ctx context.Context) ([]loadbalance.Endpoint, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func panics(context.Context) ([]loadbalance.Endpoint, error) { panic("boom") }

// follow has b follow r until the test of the bubble ends.
func follow(t *testing.T, b *loadbalance.Balancer, r loadbalance.Resolver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Follow(ctx, r) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Follow() = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// pass lets d pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// caller returns what makes a call through b and returns where it went. Calls
// to the endpoints in down fail.
func caller(b *loadbalance.Balancer, down ...string) func(context.Context) (string, error) {
	call := backstay.Bind(backstay.New(b), backstay.Op[struct{}, string]{
		Do: func(_ context.Context, call *backstay.Call, _ struct{}) (string, error) {
			if slices.Contains(down, call.Endpoint) {
				return "", errors.New("connection refused")
			}
			return call.Endpoint, nil
		},
	})
	return func(ctx context.Context) (string, error) { return call(ctx, struct{}{}) }
}

// bubble runs f in a bubble in which a balancer of cfg follows r.
func bubble(t *testing.T, cfg loadbalance.Config, r loadbalance.Resolver, f func(t *testing.T, b *loadbalance.Balancer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.NewBalancer(cfg)
		follow(t, b, r)
		f(t, b)
	})
}

func TestFirstCallsWaitForTheFirstEndpoints(t *testing.T) {
	r := &resolver{script: []answer{fails(errDNS), finds(), panics, finds("a")}}
	bubble(t, loadbalance.Config{}, r, func(t *testing.T, b *loadbalance.Balancer) {
		began := time.Now()
		endpoint, err := caller(b)(t.Context())
		if endpoint != "a" || err != nil {
			t.Errorf("call() = %q, %v, want a", endpoint, err)
		}
		if took := time.Since(began); took < 700*time.Millisecond || took > 1400*time.Millisecond {
			t.Errorf("call() took %v, want the 0.7s to 1.4s of three pauses", took)
		}
	})
}

// L-24
func TestCallWaitsForEndpointsNoLongerThanItsContext(t *testing.T) {
	bubble(t, loadbalance.Config{}, loadbalance.ResolverFunc(hangs), func(t *testing.T, b *loadbalance.Balancer) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := caller(b)(ctx); !errors.Is(err, context.DeadlineExceeded) || !backstay.NotSent(err) {
			t.Errorf("call() = %v, want that the deadline is over and nothing was sent", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("call() took %v, want 1s", took)
		}
	})
}

func TestCallWaitsForTheFirstEndpointsThoughLookupsHaveFailedForLong(t *testing.T) {
	r := &resolver{script: []answer{fails(errDNS), fails(errDNS), fails(errDNS), fails(errDNS), fails(errDNS), finds("a")}}
	bubble(t, loadbalance.Config{Wait: time.Minute, MaxStale: time.Second}, r, func(t *testing.T, b *loadbalance.Balancer) {
		if endpoint, err := caller(b)(t.Context()); endpoint != "a" || err != nil {
			t.Errorf("call() = %q, %v, want a", endpoint, err)
		}
	})
}

func TestCallThatGetsNoEndpointTellsWhy(t *testing.T) {
	bubble(t, loadbalance.Config{Wait: 2 * time.Second}, &resolver{script: []answer{fails(errDNS)}}, func(t *testing.T, b *loadbalance.Balancer) {
		_, err := caller(b)(t.Context())
		var none *loadbalance.NoEndpointError
		if !errors.As(err, &none) || none.Err != errDNS {
			t.Errorf("call() = %v, want a NoEndpointError with %v", err, errDNS)
		}
	})
}

// L-24
func TestFirstLookupBacksOffFrom100MillisecondsTo30Seconds(t *testing.T) {
	r := &resolver{script: []answer{fails(errDNS)}}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		follow(t, loadbalance.NewBalancer(loadbalance.Config{}), r)
		pass(5 * time.Minute)
		limit, before, shorter := 200*time.Millisecond, time.Duration(0), 0
		for i, at := range r.times(began)[1:] {
			pause := at - before
			if pause < limit/2 || pause > limit {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pause, limit/2, limit)
			}
			if pause < limit {
				shorter++
			}
			limit, before = min(2*limit, 30*time.Second), at
		}
		if shorter < 5 {
			t.Errorf("%d pauses shorter than the longest, want nearly all", shorter)
		}
		if n := len(r.times(began)); n < 12 || n > 30 {
			t.Errorf("%d lookups in 5m, want some 20", n)
		}
	})
}

func TestLaterFailuresBackOffFrom5SecondsUntilOneSucceeds(t *testing.T) {
	r := &resolver{script: []answer{finds("a"), fails(errDNS), fails(errDNS), fails(errDNS), finds("a"), fails(errDNS), finds("a")}}
	bubble(t, loadbalance.Config{}, r, func(t *testing.T, b *loadbalance.Balancer) {
		began, before := time.Now(), time.Duration(0)
		pass(3 * time.Minute)
		for i, limits := range [][2]int{{30000, 37500}, {5000, 10000}, {10000, 20000}, {15000, 30000}, {30000, 37500}, {5000, 10000}} {
			at := r.times(began)[i+1]
			pause, least, most := at-before, time.Duration(limits[0])*time.Millisecond, time.Duration(limits[1])*time.Millisecond
			if pause < least || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pause, least, most)
			}
			before = at
		}
	})
}

// L-24
func TestPollsAreSpreadOverTime(t *testing.T) {
	r := &resolver{script: []answer{finds("a")}}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		follow(t, loadbalance.NewBalancer(loadbalance.Config{}), r)
		pass(10 * time.Minute)
		pauses, before := map[time.Duration]bool{}, time.Duration(0)
		for _, at := range r.times(began)[1:] {
			pause := at - before
			if pause < 30*time.Second || pause > 37500*time.Millisecond {
				t.Errorf("pause of %v, want 30s to 37.5s", pause)
			}
			pauses[pause], before = true, at
		}
		if len(pauses) < 10 {
			t.Errorf("%d different pauses in 10m, want 16 or more", len(pauses))
		}
	})
}

// L-24
func TestEjectionHasTheEndpointsLookedUpAtOnce(t *testing.T) {
	for _, row := range []struct{ eject, want time.Duration }{
		{12 * time.Second, 12 * time.Second},
		{time.Second, 5 * time.Second}, // not sooner after the last
	} {
		r := &resolver{script: []answer{finds("a"), finds("a", "b")}}
		bubble(t, loadbalance.Config{}, r, func(t *testing.T, b *loadbalance.Balancer) {
			began := time.Now()
			pass(row.eject)
			call := caller(b, "a")
			for range 5 {
				_, _ = call(t.Context())
			}
			pass(row.want - row.eject)
			if got := r.times(began); !slices.Equal(got, []time.Duration{0, row.want}) {
				t.Errorf("lookups at %v, want [0s %v]", got, row.want)
			}
			if got := fmt.Sprint(b.Addresses()); got != "[a b]" {
				t.Errorf("Endpoints() = %v, want [a b]", got)
			}
		})
	}
}

func TestFailureBeforeALookupCausesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.New(loadbalance.PeakEWMA(), "a")
		eject(t, b, "a")
		r, began := &resolver{script: []answer{finds("a")}}, time.Now()
		follow(t, b, r)
		pass(29 * time.Second)
		if got := r.times(began); len(got) != 1 {
			t.Errorf("lookups at %v, want one", got)
		}
	})
}

func TestCallWithoutEndpointHasThemLookedUp(t *testing.T) {
	r := &resolver{script: []answer{finds("a")}}
	bubble(t, loadbalance.Config{}, r, func(t *testing.T, b *loadbalance.Balancer) {
		pass(time.Second)
		_ = b.Update()
		if _, err := caller(b)(t.Context()); err == nil {
			t.Error("call() = nil, want an error: there are no endpoints")
		}
		pass(4 * time.Second)
		if _, err := caller(b)(t.Context()); err != nil {
			t.Errorf("call() = %v, want nil after the lookup", err)
		}
	})
}

// L-25
func TestLastEndpointsFoundStayForATimeInWhichLookupsFail(t *testing.T) {
	for name, row := range map[string]struct {
		failure answer
		want    string
	}{
		"error":   {fails(errDNS), "no such host"},
		"empty":   {finds(), "loadbalance: the lookup found no endpoints"},
		"invalid": {finds("b", "b"), `loadbalance: the endpoint "b" is given twice`},
		"panic":   {panics, "loadbalance: Resolve panicked: boom, at follow_test.go:"},
		"hung":    {hangs, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &resolver{script: []answer{finds("a"), row.failure}}
			bubble(t, loadbalance.Config{MaxStale: 2 * time.Minute}, r, func(t *testing.T, b *loadbalance.Balancer) {
				began, call := time.Now(), caller(b)
				pass(time.Minute)
				l := b.LookupStatus()
				if !l.FoundAt.Equal(began) || l.FailingSince.Sub(began) < 30*time.Second || l.Err == nil || !strings.HasPrefix(l.Err.Error(), row.want) {
					t.Errorf("LookupStatus() = %+v, want Found at %v, Since half a minute later and the error %s", l, began, row.want)
				}
				pass(time.Until(l.FailingSince.Add(2*time.Minute - time.Millisecond)))
				if endpoint, err := call(t.Context()); endpoint != "a" || err != nil {
					t.Errorf("call() after %v of failed lookups = %q, %v, want a", time.Since(l.FailingSince), endpoint, err)
				}
				pass(20 * time.Second) // the last chance may hang
				_, err := call(t.Context())
				var none *loadbalance.NoEndpointError
				if !errors.As(err, &none) || none.Err == nil || !strings.HasPrefix(none.Err.Error(), row.want) {
					t.Errorf("call() after %v of failed lookups = %v, want a NoEndpointError with %s", time.Since(l.FailingSince), err, row.want)
				}
				if again := b.LookupStatus(); again.FailingSince != l.FailingSince {
					t.Errorf("LookupStatus().FailingSince = %v, want %v as before", again.FailingSince, l.FailingSince)
				}
			})
		})
	}
}

// L-25
func TestEndpointsStayForGoodIfMaxStaleIsNever(t *testing.T) {
	r := &resolver{script: []answer{finds("a"), fails(errDNS)}}
	bubble(t, loadbalance.Config{MaxStale: loadbalance.Never}, r, func(t *testing.T, b *loadbalance.Balancer) {
		pass(240 * time.Hour)
		if endpoint, err := caller(b)(t.Context()); endpoint != "a" || err != nil {
			t.Errorf("call() after ten days = %q, %v, want a", endpoint, err)
		}
	})
}

func TestEndpointsComeBackAfterTheyWereTooOld(t *testing.T) {
	failures := slices.Repeat([]answer{fails(errDNS)}, 10)
	r := &resolver{script: append(append([]answer{finds("a")}, failures...), finds("b"))}
	bubble(t, loadbalance.Config{MaxStale: time.Second}, r, func(t *testing.T, b *loadbalance.Balancer) {
		pass(time.Minute)
		if n := len(b.Nodes()); n != 0 {
			t.Fatalf("%d endpoints after a minute, want 0", n)
		}
		pass(10 * time.Minute)
		if endpoint, err := caller(b)(t.Context()); endpoint != "b" || err != nil {
			t.Errorf("call() = %q, %v, want b", endpoint, err)
		}
		if l := b.LookupStatus(); l.Err != nil || !l.FailingSince.IsZero() {
			t.Errorf("LookupStatus() = %+v, want no error", l)
		}
	})
}

// L-25
func TestEmptyListOfATrustedSourceIsHonoured(t *testing.T) {
	t.Run("Trusted", func(t *testing.T) {
		r := &resolver{script: []answer{finds("a"), finds()}}
		bubble(t, loadbalance.Config{}, loadbalance.Trusted(r), func(t *testing.T, b *loadbalance.Balancer) {
			pass(40 * time.Second)
			if n, err := len(b.Nodes()), b.LookupStatus().Err; n != 0 || err != nil {
				t.Errorf("%d endpoints and LookupStatus().Err = %v, want none and nil", n, err)
			}
		})
	})
	t.Run("Update", func(t *testing.T) {
		bubble(t, loadbalance.Config{}, &resolver{script: []answer{finds("a")}}, func(t *testing.T, b *loadbalance.Balancer) {
			pass(time.Second)
			if err := b.Update(); err != nil || len(b.Nodes()) != 0 {
				t.Errorf("Update() = %v with %d endpoints, want nil with none", err, len(b.Nodes()))
			}
		})
	})
	t.Run("Static", func(t *testing.T) {
		b := loadbalance.New(loadbalance.PeakEWMA(), "a")
		synctest.Test(t, func(t *testing.T) {
			follow(t, b, loadbalance.Static())
			pass(time.Hour)
			if n := len(b.Nodes()); n != 0 {
				t.Errorf("%d endpoints, want none", n)
			}
		})
	})
}

func TestTrustedResolverIsAskedAsOftenAsItself(t *testing.T) {
	for _, row := range []struct {
		resolver loadbalance.Resolver
		want     time.Duration
	}{
		{loadbalance.File{Path: "x"}, time.Second},
		{loadbalance.File{Path: "x", Interval: time.Minute}, time.Minute},
		{loadbalance.DNS{}, 30 * time.Second},
		{loadbalance.DNS{Interval: time.Second}, 5 * time.Second}, // L-24
		{loadbalance.SRV{Interval: time.Second}, 5 * time.Second},
		{loadbalance.SRV{Interval: time.Hour}, time.Hour},
		{loadbalance.ResolverFunc(hangs), 30 * time.Second},
	} {
		if got := loadbalance.Trusted(row.resolver).(loadbalance.Poller).Every(); got != row.want {
			t.Errorf("Trusted(%#v).Every() = %v, want %v", row.resolver, got, row.want)
		}
	}
}

func TestStaticIsLookedUpOnce(t *testing.T) {
	endpoints := []loadbalance.Endpoint{{Address: "a", Weight: 2}}
	bubble(t, loadbalance.Config{}, loadbalance.Static(endpoints...), func(t *testing.T, b *loadbalance.Balancer) {
		began := time.Now()
		call := caller(b, "a")
		for range 5 { // ejects it
			_, _ = call(t.Context())
		}
		pass(time.Hour)
		if l := b.LookupStatus(); !l.FoundAt.Equal(began) {
			t.Errorf("LookupStatus().Found = %v, want %v", l.FoundAt, began)
		}
		if e := b.Nodes()[0].Endpoint(); e.Address != "a" || e.Weight != 2 {
			t.Errorf("Endpoint() = %+v, want a of weight 2", e)
		}
	})
}

// A lookup that heeds its context is ended after 16 seconds.
func TestLookupHasADeadline(t *testing.T) {
	r := &resolver{script: []answer{hangs, finds("a")}}
	bubble(t, loadbalance.Config{Wait: time.Minute}, r, func(t *testing.T, b *loadbalance.Balancer) {
		began := time.Now()
		if endpoint, err := caller(b)(t.Context()); endpoint != "a" || err != nil {
			t.Errorf("call() = %q, %v, want a", endpoint, err)
		}
		if took := time.Since(began); took < 16*time.Second || took > 17*time.Second {
			t.Errorf("call() took %v, want 16s and a pause", took)
		}
	})
}

// L-25, L-28
func TestResolverThatIgnoresItsContextIsWaitedForByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := func(context.Context) ([]loadbalance.Endpoint, error) {
			<-release
			return loadbalance.Endpoints("outdated"), nil
		}
		r := &resolver{script: []answer{finds("a"), stuck, finds("b"), stuck}}
		b := loadbalance.NewBalancer(loadbalance.Config{MaxStale: time.Minute})
		stop := follow(t, b, r)
		pass(5 * time.Minute)
		if n := len(r.times(time.Now())); n != 2 {
			t.Errorf("%d lookups while one hangs, want it and the first", n)
		}
		if l := b.LookupStatus(); len(b.Nodes()) != 0 || l.Err == nil || l.Err.Error() != "loadbalance: Resolve has not returned though its context has ended" {
			t.Errorf("%d endpoints and LookupStatus().Err = %v, want none and that Resolve has not returned", len(b.Nodes()), l.Err)
		}
		release <- struct{}{}
		pass(31 * time.Second)
		if got := fmt.Sprint(b.Addresses()); got != "[b]" {
			t.Errorf("Endpoints() = %s, want [b] and not what came too late", got)
		}
		pass(time.Minute)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("Follow() returned %v after its context had ended, want 1s at most", took)
		}
		close(release)
	})
}

func TestOneFollowAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.NewBalancer(loadbalance.Config{})
		stop := follow(t, b, loadbalance.Static(loadbalance.Endpoints("a")...))
		pass(time.Second)
		want := "loadbalance: a Follow of this balancer is under way; end its context first, or use another balancer"
		if err := b.Follow(t.Context(), loadbalance.Static()); err == nil || err.Error() != want {
			t.Errorf("Follow() = %v, want %s", err, want)
		}
		stop()
		if got := fmt.Sprint(b.Addresses()); got != "[a]" {
			t.Errorf("Endpoints() after Follow = %s, want [a] still", got)
		}
		follow(t, b, loadbalance.Static(loadbalance.Endpoints("b")...))
		pass(time.Second)
		if got := fmt.Sprint(b.Addresses()); got != "[b]" {
			t.Errorf("Endpoints() = %s, want [b]", got)
		}
	})
}

// L-28
func TestFollowEndsWithTheBalancer(t *testing.T) {
	for name, r := range map[string]loadbalance.Resolver{"pausing": &resolver{script: []answer{finds("a")}}, "looking up": loadbalance.ResolverFunc(hangs)} {
		synctest.Test(t, func(t *testing.T) {
			b := loadbalance.NewBalancer(loadbalance.Config{})
			ended := make(chan error, 1)
			go func() { ended <- b.Follow(t.Context(), r) }()
			pass(time.Second)
			_ = b.Close(t.Context())
			synctest.Wait()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("%s: Follow() = %v, want nil", name, err)
				}
			default:
				t.Errorf("%s: Follow() goes on after Close", name)
			}
			if err := b.Follow(t.Context(), r); err != nil {
				t.Errorf("%s: Follow() after Close = %v, want nil", name, err)
			}
		})
	}
}

func TestFollowRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		resolver loadbalance.Resolver
		want     string
	}{
		{nil, `loadbalance: Follow needs a Resolver, such as DNS{Host: "orders.internal", Port: 80}`},
		{loadbalance.Trusted(nil), `loadbalance: Follow needs a Resolver, such as DNS{Host: "orders.internal", Port: 80}`},
		{loadbalance.Static(loadbalance.Endpoints("a", "a")...), `loadbalance: the endpoint "a" is given twice; give it once, with a Weight if it shall have more calls`},
		{loadbalance.DNS{Port: 80}, `loadbalance: DNS needs a Host, such as "orders.internal"`},
		{loadbalance.DNS{Host: "a"}, `loadbalance: the Port of a is 0; give 1 to 65535`},
		{loadbalance.DNS{Host: "a", Port: 80, Network: "tcp"}, `loadbalance: the Network of a is "tcp"; give "ip", "ip4" or "ip6"`},
		{loadbalance.DNS{Host: "a", Port: 80, Interval: -1}, `loadbalance: the Interval of a is -1ns; give a positive duration, or 0 for 30s`},
		{loadbalance.SRV{}, `loadbalance: SRV needs a Name, such as "orders.internal"`},
		{loadbalance.SRV{Name: "a", Service: "http"}, `loadbalance: SRV of a has one of Service and Proto; give both, such as "http" and "tcp", or neither`},
		{loadbalance.SRV{Name: "a", Interval: -1}, `loadbalance: the Interval of a is -1ns; give a positive duration, or 0 for 30s`},
		{loadbalance.File{}, `loadbalance: File needs a Path`},
		{loadbalance.File{Path: "a", Interval: -1}, `loadbalance: the Interval of a is -1ns; give a positive duration, or 0 for 1s`},
		{loadbalance.Trusted(loadbalance.File{}), `loadbalance: File needs a Path`},
	} {
		b := loadbalance.NewBalancer(loadbalance.Config{})
		if err := b.Follow(t.Context(), row.resolver); err == nil || err.Error() != row.want {
			t.Errorf("Follow(%#v) = %v, want %s", row.resolver, err, row.want)
		}
		if err := b.LookupStatus().Err; err == nil || err.Error() != row.want {
			t.Errorf("LookupStatus().Err after Follow(%#v) = %v, want the same error", row.resolver, err)
		}
	}
	if err := (loadbalance.Config{MaxStale: -2}).Validate(); err == nil || err.Error() != "loadbalance: MaxStale is -2ns; give a positive duration, 0 for 10m, or Never" {
		t.Errorf("Validate(MaxStale: -2) = %v, want an error", err)
	}
}

// Time passes in a bubble only while all of its goroutines wait for one another.
func TestFollowAndMonitorOfABalancerMadeOutsideOfTheBubble(t *testing.T) {
	b := loadbalance.New(loadbalance.PeakEWMA(), "a")
	synctest.Test(t, func(t *testing.T) {
		var w ward
		r := &resolver{script: []answer{finds("a"), finds("a", "b")}}
		follow(t, b, r)
		monitor(t, b, brisk(&w))
		pass(time.Minute)
		if a, b := len(w.checked("a")), len(w.checked("b")); a < 40 || b < 10 {
			t.Errorf("%d checks of a and %d of b in a minute, want 48 and 20 or more", a, b)
		}
	})
}

// Everything at once, for the race detector.
func TestFollowUpdateAndMonitorWhileCallsAreMade(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	b := loadbalance.New(loadbalance.PeakEWMA(), "a", "b")
	var all sync.WaitGroup
	all.Go(func() { _ = b.Follow(ctx, &hasty{}) })
	all.Go(func() {
		_ = b.Monitor(ctx, loadbalance.MonitorConfig{Interval: time.Microsecond, Check: func(_ context.Context, address string) error {
			if address == "b" {
				return errors.New("ill")
			}
			return nil
		}})
	})
	call := caller(b, "c")
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = call(ctx)
				_ = b.LookupStatus()
			}
		})
	}
	for ctx.Err() == nil {
		_ = b.Update(loadbalance.Endpoints("a", "b")...)
	}
	all.Wait()
	for _, n := range b.Nodes() {
		if n.InFlight() != 0 || n.State() == loadbalance.Unhealthy {
			t.Errorf("%s has %d in flight and is %v, want 0 and not unhealthy", n.Address(), n.InFlight(), n.State())
		}
	}
}

// hasty is asked all the time.
type hasty struct{ n int }

func (h *hasty) Every() time.Duration { return time.Microsecond }
func (h *hasty) Resolve(context.Context) ([]loadbalance.Endpoint, error) {
	h.n++
	if h.n%3 == 0 {
		return nil, errDNS
	}
	return loadbalance.Endpoints([]string{"a", "b", "c", "d"}[:1+h.n%4]...), nil
}
