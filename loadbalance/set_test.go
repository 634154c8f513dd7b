package loadbalance_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

// L-6
func TestStateSurvivesUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b", "c")
		var s service
		call := s.under(b)
		s.becomes("a", func(context.Context) error { <-time.After(20 * time.Millisecond); return nil })
		s.becomes("b", is(errDown))
		held := hold(t, b, "a")
		repeat(t.Context(), 12, call)
		sicken(t, b, "c")
		before := b.Nodes()
		type seen struct {
			state    loadbalance.State
			latency  time.Duration
			failures int
			inFlight int
		}
		look := func(n *loadbalance.Node) seen { return seen{n.State(), n.Latency(), n.Failures(), n.InFlight()} }
		var want []seen
		for _, n := range before {
			want = append(want, look(n))
		}
		if want[0].latency == 0 || want[0].inFlight != 1 || want[1].failures == 0 || want[2].state != loadbalance.Ejected {
			t.Fatalf("states before = %+v, want a latency, a call in flight, failures and an ejection", want)
		}
		for _, endpoints := range [][]loadbalance.Endpoint{
			loadbalance.Endpoints("c", "b", "a"),
			loadbalance.Endpoints("a", "b", "c", "d"),
			{{Address: "a", Weight: 7}, {Address: "b", Role: loadbalance.Primary}, {Address: "c", Locality: "x", Attributes: map[string]string{"k": "v"}}},
		} {
			if err := b.Update(endpoints...); err != nil {
				t.Fatal(err)
			}
			for i, n := range before {
				if node(t, b, n.Address()) != n {
					t.Errorf("the node of %s is another after an update to %v, want the same", n.Address(), endpoints)
				}
				if got := look(n); got != want[i] {
					t.Errorf("state of %s after an update to %v = %+v, want %+v", n.Address(), endpoints, got, want[i])
				}
			}
		}
		if e := before[0].Endpoint(); e.Weight != 7 {
			t.Errorf("Endpoint() after the update = %+v, want a weight of 7", e)
		}
		held.Close()
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// hold makes a call to an endpoint whose result is open until it is closed.
func hold(t *testing.T, b *loadbalance.Balancer, address string) io.Closer {
	t.Helper()
	for {
		e := ""
		r, err := holder(b)(context.WithValue(t.Context(), endpointOf{}, &e))
		if err != nil {
			t.Fatal(err)
		}
		if e == address {
			return r
		}
		r.Close()
	}
}

type endpointOf struct{}

// holder returns what makes a call whose result is open until it is closed.
func holder(b *loadbalance.Balancer) func(context.Context) (*result, error) {
	call := backstay.Bind(backstay.New(b), backstay.Op[int, *result]{
		Do: func(ctx context.Context, call *backstay.Call, _ int) (*result, error) {
			if e, ok := ctx.Value(endpointOf{}).(*string); ok {
				*e = call.Endpoint
			}
			return new(result), nil
		},
		Hold: func(r *result, done func(error)) *result { r.done = done; return r },
	})
	return func(ctx context.Context) (*result, error) { return call(ctx, 0) }
}

// An endpoint that leaves and comes back while it has calls is the same.
//
// L-6
func TestEndpointThatComesBackWhileItHasCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b")
		left := leavers(b)
		n := node(t, b, "a")
		r := hold(t, b, "a")
		for _, row := range []struct {
			endpoints []string
			want      loadbalance.State
		}{{[]string{"b"}, loadbalance.Gone}, {[]string{"a", "b"}, loadbalance.Warming}} {
			if err := b.Update(loadbalance.Endpoints(row.endpoints...)...); err != nil {
				t.Fatal(err)
			}
			if got := n.State(); got != row.want {
				t.Errorf("State() of a among %v = %v, want %v", row.endpoints, got, row.want)
			}
		}
		if node(t, b, "a") != n || n.InFlight() != 1 {
			t.Errorf("a has another node or %d in flight, want the same with 1", n.InFlight())
		}
		r.Close()
		if len(left()) != 0 {
			t.Errorf("OnLeave was told %v, want nothing of what has come back", left())
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// leavers returns a function that returns what OnLeave was told, in the order of
// the addresses.
func leavers(b *loadbalance.Balancer) func() []string {
	var mu sync.Mutex
	var left []string
	b.OnLeave(func(address string) {
		mu.Lock()
		defer mu.Unlock()
		left = append(left, address)
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(slices.Values(left))
	}
}

// L-26
func TestRemovedEndpointFinishesItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b")
		left := leavers(b)
		var s service
		var ended atomic.Int64
		s.becomes("a", func(ctx context.Context) error {
			select {
			case <-time.After(time.Second):
				ended.Add(1)
				return nil
			case <-ctx.Done():
				t.Errorf("the call at an endpoint that was removed is cut: %v", context.Cause(ctx))
				return ctx.Err()
			}
		})
		call := s.under(b, group)
		for range 10 {
			go func() {
				if err := call(t.Context()); err != nil {
					t.Errorf("a call = %v, want nil", err)
				}
			}()
		}
		synctest.Wait()
		n := node(t, b, "a")
		group.Breaker("a") // which the calls have made
		if n.InFlight() != 5 {
			t.Fatalf("InFlight() of a = %d, want 5", n.InFlight())
		}
		if err := b.Update(loadbalance.Endpoints("b")...); err != nil {
			t.Fatal(err)
		}
		s.count()
		repeat(t.Context(), 20, call)
		if got := s.count()["a"]; got != 0 {
			t.Errorf("%d calls went to an endpoint that was removed, want none", got)
		}
		if got := n.State(); got != loadbalance.Gone || len(left()) != 0 || !has(group, "a") {
			t.Errorf("with calls: State() = %v, OnLeave told %v, the group has a breaker = %v; want gone, nothing, true", got, left(), has(group, "a"))
		}
		pass(time.Second)
		if ended.Load() != 5 || n.InFlight() != 0 {
			t.Errorf("%d calls ended, %d in flight; want 5 and 0", ended.Load(), n.InFlight())
		}
		if !slices.Equal(left(), []string{"a"}) || has(group, "a") {
			t.Errorf("after the last call: OnLeave told %v, the group has a breaker = %v; want a, once, and false", left(), has(group, "a"))
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func has(g *breaker.Group, key string) bool {
	for k := range g.All() {
		if k == key {
			return true
		}
	}
	return false
}

// L-26
func TestIdleEndpointLeavesAtOnce(t *testing.T) {
	b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b", "c")
	left := leavers(b)
	if err := b.Update(loadbalance.Endpoints("b")...); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(left(), []string{"a", "c"}) {
		t.Errorf("OnLeave was told %v, want a and c", left())
	}
}

func TestUpdateRefusesWhatCannotWork(t *testing.T) {
	b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a")
	for _, row := range []struct {
		endpoints []loadbalance.Endpoint
		want      string
	}{
		{loadbalance.Endpoints(""), `loadbalance: an endpoint has no address; give one, such as "10.0.0.1:80"`},
		{loadbalance.Endpoints("b", "b"), `loadbalance: the endpoint "b" is given twice; give it once, with a Weight if it shall have more calls`},
		{[]loadbalance.Endpoint{{Address: "b", Weight: -1}}, `loadbalance: the endpoint "b" has the weight -1; give 1 to 65535, or 0 for 1`},
		{[]loadbalance.Endpoint{{Address: "b", Weight: 65536}}, `loadbalance: the endpoint "b" has the weight 65536; give 1 to 65535, or 0 for 1`},
		{[]loadbalance.Endpoint{{Address: "b", Role: 2}}, `loadbalance: the endpoint "b" has the role 2; give Primary or Replica`},
	} {
		if err := b.Update(row.endpoints...); err == nil || err.Error() != row.want {
			t.Errorf("Update(%v) = %v, want %s", row.endpoints, err, row.want)
		}
	}
	if got := b.Addresses(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("Endpoints() = %v, want them as they were: a", got)
	}
}

// H-48
func TestCallWithoutEndpoints(t *testing.T) {
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, "a")
		if err := b.Update(); err != nil {
			t.Fatal(err)
		}
		var s service
		err := s.under(b)(t.Context())
		none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
		if !ok || none.Why != "there are none" || none.Error() != "loadbalance: no endpoint for the call: there are none" {
			t.Errorf("%v: a call without endpoints = %v, want a NoEndpointError", st, err)
		}
		if !backstay.NotSent(err) || backstay.Classify(err) != backstay.Transient || backstay.TypeOf(err) != "no_endpoint" {
			t.Errorf("%v: NotSent, Classify, TypeOf = %v, %v, %s; want true, transient, no_endpoint", st, backstay.NotSent(err), backstay.Classify(err), backstay.TypeOf(err))
		}
		if err := b.Update(loadbalance.Endpoints("b")...); err != nil {
			t.Fatal(err)
		}
		if err := s.under(b)(t.Context()); err != nil {
			t.Errorf("%v: a call with an endpoint again = %v, want nil", st, err)
		}
	}
}

// A call that waited for the first endpoints is not charged with the wait.
func TestWaitForTheFirstEndpointsIsNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin()})
		reads := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.Began()
				return next(ctx, call)
			}
		})
		var s service
		s.becomes("a", func(context.Context) error { <-time.After(20 * time.Millisecond); return nil })
		time.AfterFunc(3*time.Second, func() { _ = b.Update(loadbalance.Endpoints("a")...) })
		began := time.Now()
		if err := s.under(reads, b)(t.Context()); err != nil || time.Since(began) != 3020*time.Millisecond {
			t.Errorf("the call = %v after %v, want nil after 3.02s", err, time.Since(began))
		}
		if got := node(t, b, "a").Latency().Round(time.Millisecond); got != 20*time.Millisecond {
			t.Errorf("Latency() = %v, want 20ms", got)
		}
	})
}

// H-48
func TestWaitForTheFirstEndpointsIsBounded(t *testing.T) {
	for _, row := range []struct {
		name         string
		wait, caller time.Duration
		want         time.Duration
		err          string
	}{
		{"default", 0, 0, 5 * time.Second, "loadbalance: no endpoint for the call: none were found in 5s; Update or Follow brings them"},
		{"Wait", time.Second, 0, time.Second, "loadbalance: no endpoint for the call: none were found in 1s; Update or Follow brings them"},
		{"caller", 0, time.Second, time.Second, "loadbalance: waiting for the first endpoints, which Update or Follow brings: context deadline exceeded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := loadbalance.NewBalancer(loadbalance.Config{Wait: row.wait})
				ctx := t.Context()
				if row.caller > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, row.caller)
					defer cancel()
				}
				var s service
				began := time.Now()
				err := s.under(b)(ctx)
				if took := time.Since(began); took != row.want || err == nil || err.Error() != row.err || !backstay.NotSent(err) {
					t.Errorf("the call = %v (not sent: %v) after %v, want %s (true) after %v", err, backstay.NotSent(err), took, row.err, row.want)
				}
			})
		})
	}
}

// L-10
func TestCloseWaitsForCallsNoLongerThanItsContext(t *testing.T) {
	for _, row := range []struct {
		name         string
		ctx, closing time.Duration // when the context ends, when the bodies are closed
		want         time.Duration
		err          string
	}{
		{"nothing in flight", time.Minute, 0, 0, ""},
		{"bodies that are closed", time.Minute, 7 * time.Second, 7 * time.Second, ""},
		{"the context ends", 3 * time.Second, time.Hour, 3 * time.Second, "loadbalance: closed while calls are in flight (2): context deadline exceeded; a response body that is not closed keeps its call in flight"},
		{"a context without end", 0, time.Hour, 30 * time.Second, "loadbalance: closed while calls are in flight (2): context deadline exceeded; a response body that is not closed keeps its call in flight"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b")
				if row.closing > 0 {
					for _, address := range b.Addresses() {
						r := hold(t, b, address)
						time.AfterFunc(row.closing, func() { r.Close() })
					}
				}
				ctx := t.Context()
				if row.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, row.ctx)
					defer cancel()
				}
				left := leavers(b)
				began := time.Now()
				got := ""
				if err := b.Close(ctx); err != nil {
					got = err.Error()
				}
				if took := time.Since(began); took != row.want || got != row.err {
					t.Errorf("Close() = %q after %v, want %q after %v", got, took, row.err, row.want)
				}
				synctest.Wait() // the last call may still be telling
				if got == "" && len(left()) != 2 {
					t.Errorf("OnLeave was told %v, want both", left())
				}
				pass(2 * time.Hour)
				if len(left()) != 2 {
					t.Errorf("OnLeave was told %v when the calls had ended, want both once", left())
				}
				if err := b.Close(ctx); err != nil {
					t.Errorf("Close() again = %v, want nil", err)
				}
			})
		})
	}
}

func TestNothingGoesThroughAfterClose(t *testing.T) {
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, "a", "b")
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var s service
		err := s.under(b)(t.Context())
		none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
		if !ok || none.Why != "the balancer is closed" {
			t.Errorf("%v: a call after Close = %v, want a NoEndpointError", st, err)
		}
		if err := b.Update(loadbalance.Endpoints("c")...); err == nil {
			t.Errorf("%v: Update() after Close = nil, want an error", st)
		}
		if got := b.Addresses(); len(got) != 0 {
			t.Errorf("%v: Endpoints() after Close = %v, want none", st, got)
		}
	}
}

func TestCloseWakesWhoWaitsForEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.NewBalancer(loadbalance.Config{})
		time.AfterFunc(time.Second, func() { _ = b.Close(t.Context()) })
		var s service
		began := time.Now()
		err := s.under(b)(t.Context())
		if _, ok := errors.AsType[*loadbalance.NoEndpointError](err); !ok || time.Since(began) != time.Second {
			t.Errorf("the call = %v after %v, want a NoEndpointError after 1s", err, time.Since(began))
		}
	})
}

// The timers of the states are all there is that runs without a call.
//
// L-28
func TestNothingRunsOnAfterCloseOrALeave(t *testing.T) {
	leak.Check(t)
	for name, end := range map[string]func(*loadbalance.Balancer) error{
		"Close": func(b *loadbalance.Balancer) error { return b.Close(context.Background()) },
		"leave": func(b *loadbalance.Balancer) error { return b.Update() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changes []loadbalance.State
				b := loadbalance.NewBalancer(loadbalance.Config{
					Strategy:  loadbalance.RoundRobin(),
					Endpoints: loadbalance.Endpoints("a", "b", "c"),
					OnChange:  func(c loadbalance.Change) { changes = append(changes, c.To) },
				})
				timers := b.CountTimers()
				sicken(t, b, "a")
				if err := b.Update(loadbalance.Endpoints("a", "b", "c", "d")...); err != nil {
					t.Fatal(err)
				}
				if got := timers.Load(); got != 2 {
					t.Fatalf("%d timers are set with an endpoint ejected and one new, want 2", got)
				}
				if err := end(b); err != nil {
					t.Fatal(err)
				}
				if got := timers.Load(); got != 0 {
					t.Errorf("%d timers are set after the end, want none", got)
				}
				before := slices.Clone(changes)
				pass(time.Hour)
				if !slices.Equal(changes, before) {
					t.Errorf("changes after the end = %v, want none", changes[len(before):])
				}
			})
		})
	}
}

func TestChangesAreToldInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c"), OnChange: d.note})
		sicken(t, b, "a")
		pass(5 * time.Second)
		var s service
		probed(t, &s, "a", s.under(b))
		pass(5 * time.Second)
		if err := b.Update(loadbalance.Endpoints("b", "c")...); err != nil {
			t.Fatal(err)
		}
		want := "a ejected connection refused; a probing <nil>; a warming <nil>; a available <nil>; a gone <nil>"
		if got := d.read(); got != want {
			t.Errorf("changes = %s, want %s", got, want)
		}
	})
}

func TestChangeTellsWhereFrom(t *testing.T) {
	var got []loadbalance.Change
	b := loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  loadbalance.RoundRobin(),
		Endpoints: []loadbalance.Endpoint{{Address: "a", Weight: 3}},
		OnChange:  func(c loadbalance.Change) { got = append(got, c) },
	})
	sicken(t, b, "a")
	want := loadbalance.Change{Endpoint: loadbalance.Endpoint{Address: "a", Weight: 3}, From: loadbalance.Available, To: loadbalance.Ejected, Err: errDown}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("changes = %v, want %v", got, want)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// OnChange and OnLeave may use the balancer: what they change is told after what
// they were told.
func TestOnChangeMayUseTheBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *loadbalance.Balancer
		var told []string
		b = loadbalance.NewBalancer(loadbalance.Config{
			Strategy:  loadbalance.RoundRobin(),
			Endpoints: loadbalance.Endpoints("a", "b", "c"),
			OnChange: func(c loadbalance.Change) {
				told = append(told, c.Endpoint.Address+" "+c.To.String())
				if c.To == loadbalance.Ejected {
					if err := b.Update(loadbalance.Endpoints("b", "c", "d")...); err != nil {
						t.Error(err)
					}
					_, _, _ = b.Nodes(), b.String(), b.LookupStatus()
					told = append(told, "updated")
				}
			},
		})
		b.OnLeave(func(address string) {
			told = append(told, address+" left")
			_ = b.Addresses()
			b.OnLeave(func(string) {})
		})
		var s service
		s.becomes("a", is(errDown))
		repeat(t.Context(), 15, s.under(b))
		want := "a ejected; updated; d warming; a gone; a left"
		if got := strings.Join(told, "; "); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A function that panics or ends its goroutine does so for itself.
func TestPanicInOnChangeIsContained(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("in OnChange") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				changes := 0
				b := loadbalance.NewBalancer(loadbalance.Config{
					Strategy:  loadbalance.RoundRobin(),
					Endpoints: loadbalance.Endpoints("a", "b", "c"),
					OnChange:  func(loadbalance.Change) { changes++; end() },
				})
				var s service
				s.becomes("a", is(errDown))
				over := make(chan bool)
				go func() { // Goexit ends the goroutine of the call
					defer close(over)
					call := s.under(b)
					for s.had("a") < 5 {
						if err := call(t.Context()); err != nil && err != errDown {
							t.Errorf("the call = %v, want %v", err, errDown)
						}
					}
				}()
				<-over
				pass(6 * time.Second)
				if changes != 2 {
					t.Errorf("OnChange was called %d times, want 2: ejected and probing", changes)
				}
				if n := node(t, b, "a").InFlight(); n != 0 {
					t.Errorf("InFlight() = %d, want 0", n)
				}
				go func() { _ = b.Update(loadbalance.Endpoints("a", "b")...) }()
				synctest.Wait()
				if got := b.Addresses(); len(got) != 2 {
					t.Errorf("Endpoints() = %v, want a and b", got)
				}
			})
		})
	}
}
