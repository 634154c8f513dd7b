package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

const never = loadbalance.Never

// rated has no limit but that of the failure rate.
var rated = loadbalance.HealthConfig{ConsecutiveFailures: never}

// in runs f in a bubble with a service behind a balancer, which is closed in the
// end: a timer that was left would keep the bubble from ending.
func in(t *testing.T, st loadbalance.Strategy, h loadbalance.HealthConfig, addresses []string, f func(t *testing.T, b *loadbalance.Balancer, s *service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		b := balance(st, h, addresses...)
		f(t, b, new(service))
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
	})
}

// sicken has the endpoint at address ejected, by calls that have nowhere else to
// go.
func sicken(t *testing.T, b *loadbalance.Balancer, address string) {
	t.Helper()
	only := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			for _, other := range b.Addresses() {
				if other != address {
					call.Try(other, nil)
				}
			}
			return next(ctx, call)
		}
	})
	var s service
	s.becomes(address, is(errDown))
	repeat(t.Context(), 5, s.under(only, b))
	if got := state(b, address); got != loadbalance.Ejected {
		t.Fatalf("State() of %s after 5 failures = %v, want ejected", address, got)
	}
}

// repeat makes n calls, whatever becomes of them.
func repeat(ctx context.Context, n int, call func(context.Context) error) {
	for range n {
		_ = call(ctx)
	}
}

// probed makes calls until one goes to the endpoint at address, which waits for
// its probe.
func probed(t *testing.T, s *service, address string, call func(context.Context) error) {
	t.Helper()
	s.count()
	for n := 0; s.had(address) == 0; n++ {
		if n == 300 {
			t.Fatalf("none of 300 calls was the probe of %s", address)
		}
		_ = call(t.Context())
	}
}

// countIn returns how many of the balancer's endpoints are in a state.
func countIn(b *loadbalance.Balancer, s loadbalance.State) (n int) {
	for _, node := range b.Nodes() {
		if node.State() == s {
			n++
		}
	}
	return n
}

// L-3, L-18
func TestFailuresInARowEject(t *testing.T) {
	broken := &backstay.Error{Class: backstay.Broken, Err: errors.New("x509: unknown authority")}
	for _, row := range []struct {
		name string
		act  act
		want loadbalance.State
	}{
		{"refused", is(errDown), loadbalance.Ejected},
		{"503", is(&backstay.Error{Class: backstay.Transient, Err: errors.New("503")}), loadbalance.Ejected},
		{"429", is(errBusy), loadbalance.Ejected},
		{"broken", is(broken), loadbalance.Ejected},
		{"attempt timed out", hangs5, loadbalance.Ejected},
		{"404", is(errNo), loadbalance.Available},
		{"canceled by the callee", is(context.Canceled), loadbalance.Available},
		{"at work on an earlier attempt", is(&backstay.Error{Class: backstay.Pending, Err: errors.New("409")}), loadbalance.Available},
		{"answered", nil, loadbalance.Available},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, st := range strategies {
				in(t, st, loadbalance.HealthConfig{FailureRate: never}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
					s.becomes("a", row.act)
					call := s.under(b, timeout.Attempt(time.Second))
					repeat(t.Context(), 4, call)
					if got := state(b, "a"); got != loadbalance.Available {
						t.Fatalf("%v: State() after 4 calls = %v, want available", st, got)
					}
					repeat(t.Context(), 1, call)
					if got := state(b, "a"); got != row.want {
						t.Fatalf("%v: State() after 5 calls = %v, want %v", st, got, row.want)
					}
				})
			}
		})
	}
}

// hangs5 answers after 5 seconds, or when its context ends.
func hangs5(ctx context.Context) error {
	select {
	case <-time.After(5 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// L-18
func TestASuccessBreaksTheRow(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{FailureRate: never}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		for range 10 {
			s.becomes("a", is(errDown))
			repeat(t.Context(), 4, call)
			if got := node(t, b, "a").Failures(); got != 4 {
				t.Fatalf("Failures() after 4 = %d, want 4", got)
			}
			s.becomes("a", nil)
			repeat(t.Context(), 1, call)
		}
		if got := state(b, "a"); got != loadbalance.Available {
			t.Errorf("State() after rows of 4 failures = %v, want available", got)
		}
	})
}

// L-18
func TestHealthLimitsCanBeSwitchedOff(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		s.becomes("a", is(errDown))
		repeat(t.Context(), 300, s.under(b))
		if got := state(b, "a"); got != loadbalance.Available {
			t.Errorf("State() with both limits off = %v, want available", got)
		}
	})
}

// failing returns an act of which every k-th call fails.
func failing(k int) act {
	var n atomic.Int64
	return func(context.Context) error {
		if n.Add(1)%int64(k) == 0 {
			return errDown
		}
		return nil
	}
}

// L-18
func TestFailureRateFarFromThePeersEjects(t *testing.T) {
	for _, row := range []struct {
		name  string
		acts  map[string]act
		calls int // in all, over 5 seconds
		want  []string
	}{
		{"half fail", map[string]act{"a": failing(2)}, 400, []string{"a"}},
		{"too few calls", map[string]act{"a": failing(2)}, 4 * 19, nil},
		{"a quarter fails", map[string]act{"a": failing(4)}, 400, nil},
		{"all fail alike", map[string]act{"a": failing(2), "b": failing(2), "c": failing(2), "d": failing(2)}, 4000, nil},
		{"all but one fail alike", map[string]act{"a": failing(2), "b": failing(2), "c": failing(2)}, 4000, nil},
		{"the others fail less", map[string]act{"a": is(errDown), "b": failing(4), "c": failing(4), "d": failing(4)}, 400, []string{"a"}},
		{"the others fail nearly as often", map[string]act{"a": failing(2), "b": failing(3), "c": failing(3), "d": failing(3)}, 4000, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), rated, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				ejects(t, b, s, row.acts, row.calls, row.want)
			})
		})
		// What is well has counted nothing but good calls for minutes, and has
		// no part in the rate of the peers but by those of late.
		t.Run(row.name+" after 100000 good calls", func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), rated, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				call := s.under(b)
				for range 1000 {
					repeat(t.Context(), 100, call)
					pass(100 * time.Millisecond)
				}
				pass(11 * time.Second) // in which nobody counts anything
				ejects(t, b, s, row.acts, row.calls, row.want)
			})
		})
	}
}

// ejects makes calls over 5 seconds at endpoints that do as acts says, and tells
// where others are ejected than want.
func ejects(t *testing.T, b *loadbalance.Balancer, s *service, acts map[string]act, calls int, want []string) {
	t.Helper()
	for address, a := range acts {
		s.becomes(address, a)
	}
	call := s.under(b)
	for range calls {
		_ = call(t.Context())
		pass(4900 * time.Millisecond / time.Duration(calls))
	}
	var ejected []string
	for _, n := range b.Nodes() {
		if n.State() == loadbalance.Ejected {
			ejected = append(ejected, n.Address())
		}
	}
	if !slices.Equal(ejected, want) {
		t.Errorf("ejected after %d calls = %v, want %v", calls, ejected, want)
	}
}

// What an endpoint did long ago does not hide that it fails now, and failures of
// long ago do not eject.
//
// L-18
func TestFailureRateIsThatOfTheLastSeconds(t *testing.T) {
	in(t, loadbalance.RoundRobin(), rated, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		s.becomes("a", failing(20))
		for range 40000 { // the failures have windows begin, again and again
			_ = call(t.Context())
			pass(time.Millisecond)
		}
		pass(11 * time.Second)
		s.becomes("a", failing(2))
		for range 400 {
			_ = call(t.Context())
			pass(10 * time.Millisecond)
		}
		if got := state(b, "a"); got != loadbalance.Ejected {
			t.Errorf("State() after 40000 calls that were fine and 100 of which half failed = %v, want ejected", got)
		}
	})
	in(t, loadbalance.RoundRobin(), rated, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		s.becomes("a", is(errDown))
		for range 10 { // 15 failures in 11 seconds each, never 20 in a window
			repeat(t.Context(), 30, call)
			pass(11 * time.Second)
		}
		if got := state(b, "a"); got != loadbalance.Available {
			t.Errorf("State() after 15 failures in every 11 seconds = %v, want available", got)
		}
	})
}

// L-18
func TestAShareAtMostIsEjectedButOneAlwaysMayBe(t *testing.T) {
	for _, row := range []struct {
		n     int
		share float64
		want  int
	}{
		{1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 2}, {10, 0, 5},
		{3, 0.01, 1}, {10, 0.1, 1}, {10, 0.29, 2}, {10, 1, 10}, {2, 1, 2},
	} {
		h := loadbalance.HealthConfig{MaxEjected: row.share, PanicThreshold: never}
		in(t, loadbalance.RoundRobin(), h, addressesOf(row.n), func(t *testing.T, b *loadbalance.Balancer, s *service) {
			for _, address := range b.Addresses() {
				s.becomes(address, is(errDown))
			}
			repeat(t.Context(), 40*row.n, s.under(b))
			if got := countIn(b, loadbalance.Ejected); got != row.want {
				t.Errorf("of %d endpoints that fail %d are ejected with a MaxShare of %v, want %d", row.n, got, row.share, row.want)
			}
		})
	}
}

// addressesOf returns n addresses.
func addressesOf(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("10.0.0.%d:80", i))
	}
	return all
}

// Those that wait for their probe count as ejected.
//
// L-18
func TestTheShareHoldsWhileEndpointsAreProbed(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, addressesOf(4), func(t *testing.T, b *loadbalance.Balancer, s *service) {
		for _, address := range b.Addresses() {
			s.becomes(address, is(errDown))
		}
		call := s.under(b)
		for range 3000 {
			repeat(t.Context(), 5, call)
			pass(10 * time.Millisecond)
			if n := countIn(b, loadbalance.Ejected) + countIn(b, loadbalance.Probing); n > 2 {
				t.Fatalf("%d of 4 endpoints are ejected or probed, want 2 at most", n)
			}
		}
	})
}

// L-18
func TestASingleCallProbes(t *testing.T) {
	for _, st := range strategies {
		t.Run(st.String(), func(t *testing.T) {
			in(t, st, loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				sicken(t, b, "a")
				call := s.under(b)
				pass(5 * time.Second)
				if got := state(b, "a"); got != loadbalance.Probing {
					t.Fatalf("State() 5 s after the ejection = %v, want probing", got)
				}
				s.count()
				s.becomes("a", func(context.Context) error { <-time.After(time.Second); return nil })
				var all sync.WaitGroup
				for i := range 200 {
					ctx := context.WithValue(t.Context(), keyOf{}, i)
					all.Go(func() { _ = call(ctx) })
				}
				synctest.Wait()
				if got := s.count()["a"]; got != 1 {
					t.Errorf("%d of 200 concurrent calls went to an endpoint that waits for its probe, want 1", got)
				}
				if got := state(b, "a"); got != loadbalance.Probing {
					t.Errorf("State() during the probe = %v, want probing", got)
				}
				all.Wait()
				if got := state(b, "a"); got != loadbalance.Warming {
					t.Errorf("State() after the probe = %v, want warming", got)
				}
			})
		})
	}
}

// A client that calls more seldom than ejections last does not send each call to
// what is sick.
//
// L-18
func TestRareCallsAreNotAllProbes(t *testing.T) {
	for _, every := range []time.Duration{15 * time.Second, time.Minute} {
		for _, st := range []loadbalance.Strategy{loadbalance.PeakEWMA(), loadbalance.RoundRobin()} {
			t.Run(fmt.Sprint(st, "/", every), func(t *testing.T) {
				in(t, st, loadbalance.HealthConfig{}, addressesOf(10), func(t *testing.T, b *loadbalance.Balancer, s *service) {
					for _, address := range b.Addresses() {
						s.becomes(address, func(context.Context) error { <-time.After(10 * time.Millisecond); return nil })
					}
					s.becomes(b.Addresses()[0], is(errDown))
					call := s.under(b)
					failed := 0
					for i := range 900 {
						if call(t.Context()) != nil && i >= 300 { // it was ejected by then
							failed++
						}
						pass(every)
					}
					if failed >= 120 {
						t.Errorf("%d of 600 calls failed with 1 of 10 endpoints down, want less than 120", failed)
					}
				})
			})
		}
	}
}

// A probe that finds nothing out leaves its place to a later call.
//
// L-18
func TestAProbeThatFindsNothingOutIsRepeated(t *testing.T) {
	canceled := func(ctx context.Context, call func(context.Context) error) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Millisecond, cancel)
		_ = call(ctx)
	}
	for _, row := range []struct {
		name  string
		act   act
		probe func(ctx context.Context, call func(context.Context) error)
	}{
		{"canceled", hangs5, canceled},
		{"out of the caller's time, at once", hangs5, func(ctx context.Context, call func(context.Context) error) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			_ = call(ctx)
		}},
		{"panic", func(context.Context) error { panic("in the probe") }, func(ctx context.Context, call func(context.Context) error) {
			defer func() { _ = recover() }()
			_ = call(ctx)
		}},
		{"goexit", func(context.Context) error { runtime.Goexit(); return nil }, func(ctx context.Context, call func(context.Context) error) {
			over := make(chan bool)
			go func() {
				defer close(over)
				_ = call(ctx)
			}()
			<-over
		}},
		{"not sent", nil, func(ctx context.Context, call func(context.Context) error) {
			_ = call(context.WithValue(ctx, dropped{}, true))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				sicken(t, b, "a")
				pass(5 * time.Second)
				s.becomes("a", row.act)
				var picked atomic.Int64 // a, though the call may not get there
				watch := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
					return func(ctx context.Context, call *backstay.Call) error {
						if call.Endpoint == "a" {
							picked.Add(1)
						}
						return next(ctx, call)
					}
				})
				call := s.under(b, watch, drop)
				for n := 0; picked.Load() == 0; n++ {
					if n == 300 {
						t.Fatal("none of 300 calls was the probe")
					}
					row.probe(t.Context(), call)
				}
				if got := state(b, "a"); got != loadbalance.Probing {
					t.Errorf("State() after such a probe = %v, want probing", got)
				}
				s.becomes("a", nil)
				probed(t, s, "a", call)
				if got := state(b, "a"); got != loadbalance.Warming {
					t.Errorf("State() after a probe that was answered = %v, want warming", got)
				}
			})
		})
	}
}

// drop is a middleware that does not send calls with dropped in their context.
var drop = backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if ctx.Value(dropped{}) != nil {
			return errors.New("dropped")
		}
		return next(ctx, call)
	}
})

type dropped struct{}

// L-18
func TestEjectionGrowsIsCappedAndDecays(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{SlowStart: never}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		// lasts ejects a, by one failure if it is probed, and returns how long
		// that lasts.
		lasts := func() time.Duration {
			s.becomes("a", is(errDown))
			for n := 0; state(b, "a") != loadbalance.Ejected; n++ {
				if n == 100 {
					t.Fatal("a was not ejected by 100 calls")
				}
				_ = call(t.Context())
			}
			began := time.Now()
			for state(b, "a") == loadbalance.Ejected {
				pass(time.Millisecond)
			}
			return time.Since(began)
		}
		within := func(when string, got, want time.Duration) {
			t.Helper()
			if got < want*7/8 || got > want+time.Millisecond {
				t.Errorf("the ejection %s lasts %v, want %v less up to an eighth", when, got, want)
			}
		}
		within("at first", lasts(), 5*time.Second)
		s.count()
		within("after a probe that failed", lasts(), 10*time.Second)
		if got := s.count()["a"]; got != 1 {
			t.Errorf("it took %d failures to eject what is probed, want 1", got)
		}
		within("after two probes that failed", lasts(), 15*time.Second)
		within("after three probes that failed", lasts(), 15*time.Second)
		well := func(d time.Duration) {
			s.becomes("a", nil)
			probed(t, s, "a", call)
			if got := state(b, "a"); got != loadbalance.Available {
				t.Fatalf("State() after a probe that was answered = %v, want available", got)
			}
			pass(d)
		}
		well(time.Second)
		within("of one that was well for a second", lasts(), 15*time.Second) // the 5th
		well(4 * 15 * time.Second)
		within("of one that was well for a minute", lasts(), 10*time.Second) // 4 doublings less
		well(time.Hour)
		within("of one that was well for an hour", lasts(), 5*time.Second)
	})
}

// L-18
func TestEjectionsAreNotInStep(t *testing.T) {
	lengths := map[time.Duration]bool{}
	for range 16 { // of which all are alike once in 625000000^15
		in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
			sicken(t, b, "a")
			began := time.Now()
			for state(b, "a") == loadbalance.Ejected {
				pass(time.Millisecond)
			}
			lengths[time.Since(began)] = true
		})
	}
	if len(lengths) == 1 {
		t.Errorf("16 ejections all last %v, want different times", lengths)
	}
}

// L-18
func TestOneWhoGivesUpSaysNothing(t *testing.T) {
	for _, row := range []struct {
		name    string
		act     act
		timeout time.Duration // of the caller
		cancel  time.Duration
		want    int // failures in a row, of 4 calls
	}{
		{"canceled after long", forever, 0, 4 * time.Second, 0},
		{"deadline at once", forever, 10 * time.Millisecond, 0, 0},
		{"deadline after long", forever, 2 * time.Second, 0, 4},
		{"answer of its own after the deadline", func(ctx context.Context) error { <-ctx.Done(); return errDown }, 100 * time.Millisecond, 0, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				s.becomes("a", row.act)
				call := s.under(b)
				for s.had("a") < 4 {
					ctx, cancel := context.WithCancel(t.Context())
					if row.timeout > 0 {
						ctx, cancel = context.WithTimeout(t.Context(), row.timeout)
					} else {
						time.AfterFunc(row.cancel, cancel)
					}
					_ = call(ctx)
					cancel()
				}
				if got := node(t, b, "a").Failures(); got != row.want {
					t.Errorf("Failures() after 4 such calls = %d, want %d", got, row.want)
				}
			})
		})
	}
}

// forever hangs until its context ends.
func forever(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// L-18, L-9
func TestCallsThatWereNotSentSayNothing(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b, drop)
		repeat(context.WithValue(t.Context(), dropped{}, true), 100, call)
		for _, n := range b.Nodes() {
			if n.Failures() != 0 || n.Latency() != 0 || n.InFlight() != 0 {
				t.Errorf("Failures, Latency, InFlight of %s after calls that were not sent = %d, %v, %d; want 0", n.Address(), n.Failures(), n.Latency(), n.InFlight())
			}
		}
	})
}

// A call that hung at an endpoint since before it was ejected says nothing about
// the one that has come back.
//
// L-18
func TestFailuresFromBeforeDoNotEjectWhatHasComeBack(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{FailureRate: never}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b, timeout.Attempt(8*time.Second))
		s.becomes("a", forever)
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() { _ = call(t.Context()) })
		}
		pass(time.Second)
		s.becomes("a", is(errDown))
		repeat(t.Context(), 15, call)
		if got := state(b, "a"); got != loadbalance.Ejected {
			t.Fatalf("State() after 5 failures = %v, want ejected", got)
		}
		pass(5 * time.Second)
		s.becomes("a", nil)
		probed(t, s, "a", call)
		if got := state(b, "a"); got != loadbalance.Warming {
			t.Fatalf("State() after the probe = %v, want warming", got)
		}
		pass(2 * time.Second) // 20 calls of before time out
		if got := state(b, "a"); got != loadbalance.Warming {
			t.Errorf("State() after failures of calls that began before the ejection = %v, want warming", got)
		}
		all.Wait()
	})
}

// L-18
func TestSlowerEjectsWhatIsFarAboveItsPeers(t *testing.T) {
	slow := func(d time.Duration) act { return func(context.Context) error { <-time.After(d); return nil } }
	for _, row := range []struct {
		name   string
		acts   map[string]act
		slower float64
		want   int // ejected
	}{
		{"ten times", map[string]act{"a": slow(100 * time.Millisecond)}, 5, 1},
		{"ten times, by default", map[string]act{"a": slow(100 * time.Millisecond)}, 0, 0},
		{"four times", map[string]act{"a": slow(40 * time.Millisecond)}, 5, 0},
		{"half of them", map[string]act{"a": slow(100 * time.Millisecond), "b": slow(100 * time.Millisecond)}, 5, 2},
		{"most of them", map[string]act{"a": slow(100 * time.Millisecond), "b": slow(100 * time.Millisecond), "c": slow(100 * time.Millisecond)}, 5, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{LatencyFactor: row.slower, BaseEjection: time.Minute, MaxEjection: time.Minute}, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				for _, address := range b.Addresses() {
					s.becomes(address, slow(10*time.Millisecond))
				}
				for address, a := range row.acts {
					s.becomes(address, a)
				}
				repeat(t.Context(), 400, s.under(b))
				if got := countIn(b, loadbalance.Ejected); got != row.want {
					t.Errorf("ejected = %d, want %d", got, row.want)
				}
			})
		})
	}
}

// To PeakEWMA what was ejected has a latency of 2 s at first, which fades.
//
// L-19, H-48
func TestAllAreUsedWhenLessThanHalfAreWell(t *testing.T) {
	for _, st := range strategies {
		t.Run(st.String(), func(t *testing.T) {
			in(t, st, loadbalance.HealthConfig{MaxEjected: 1, BaseEjection: time.Hour, MaxEjection: time.Hour}, addressesOf(4), func(t *testing.T, b *loadbalance.Balancer, s *service) {
				used := func() (n int) {
					s.count()
					for _, address := range b.Addresses() {
						s.becomes(address, func(context.Context) error { <-time.After(time.Millisecond); return nil })
					}
					call := s.under(b)
					var all sync.WaitGroup
					for i := range 200 {
						all.Go(func() { _ = call(context.WithValue(t.Context(), keyOf{}, i)) })
						pass(10 * time.Microsecond)
					}
					all.Wait()
					return len(s.count())
				}
				for i, want := range []int{3, 2, 4, 4} {
					sicken(t, b, b.Addresses()[i])
					pass(30 * time.Second)
					if got := used(); got != want {
						t.Errorf("with %d of 4 ejected %d are used, want %d", i+1, got, want)
					}
				}
			})
		})
	}
}

func TestPanicThresholdCanBeSwitchedOff(t *testing.T) {
	for _, st := range strategies {
		in(t, st, loadbalance.HealthConfig{PanicThreshold: never}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
			sicken(t, b, "a")
			err := s.under(b)(t.Context())
			if _, ok := errors.AsType[*loadbalance.NoEndpointError](err); !ok {
				t.Errorf("%v: a call with the only endpoint ejected = %v, want a NoEndpointError", st, err)
			}
		})
	}
}

// A call at an endpoint that is used in spite of its ejection neither ejects it
// anew nor brings it back.
//
// L-19
func TestPanicDoesNotChangeTheStates(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{MaxEjected: 1, PanicThreshold: 1}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		sicken(t, b, "a")
		call := s.under(b)
		for _, a := range []act{nil, is(errDown)} {
			pass(2 * time.Second)
			s.becomes("a", a)
			repeat(t.Context(), 20, call)
			if got := state(b, "a"); got != loadbalance.Ejected || s.count()["a"] != 10 {
				t.Errorf("State() after 10 calls at what is ejected = %v, want ejected", got)
			}
		}
		s.becomes("a", nil)
		pass(time.Second)
		if got := state(b, "a"); got != loadbalance.Probing {
			t.Errorf("State() 5 s after the ejection = %v, want probing", got)
		}
		repeat(t.Context(), 100, call) // of which one in three would be the probe
		if got := state(b, "a"); got != loadbalance.Warming {
			t.Errorf("State() after its time and 100 calls = %v, want warming", got)
		}
	})
}

// L-20
func TestSlowStartOfNewAndRecoveredEndpoints(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Random(), loadbalance.Weighted(), loadbalance.LeastConnections(), loadbalance.LeastConnectionsOfAll(), loadbalance.PeakEWMA()} {
		for _, begins := range []string{"new", "recovered"} {
			t.Run(fmt.Sprint(st, "/", begins), func(t *testing.T) {
				in(t, st, loadbalance.HealthConfig{}, addressesOf(4), func(t *testing.T, b *loadbalance.Balancer, s *service) {
					for _, address := range addressesOf(5) {
						s.becomes(address, func(context.Context) error { <-time.After(10 * time.Millisecond); return nil })
					}
					call := s.under(b)
					// Open loop: 10 calls every 10 ms make 2 or 2.5 in flight at each.
					load := func(d time.Duration) map[string]int {
						s.count()
						var failed atomic.Int64
						for range d / (10 * time.Millisecond) {
							for range 10 {
								go func() {
									if call(t.Context()) != nil {
										failed.Add(1)
									}
								}()
							}
							pass(10 * time.Millisecond)
						}
						if failed.Load() > 0 {
							t.Errorf("%d calls failed in the slow start, want none", failed.Load())
						}
						return s.count()
					}
					load(2 * time.Second)
					address := addressesOf(5)[4]
					if begins == "new" {
						if err := b.Update(loadbalance.Endpoints(addressesOf(5)...)...); err != nil {
							t.Fatal(err)
						}
					} else {
						address = addressesOf(4)[0]
						sicken(t, b, address)
						pass(5 * time.Second)
						probed(t, s, address, call)
					}
					if got := state(b, address); got != loadbalance.Warming {
						t.Fatalf("State() = %v, want warming", got)
					}
					fair := 100 / float64(len(b.Nodes())) // calls a tenth of a second
					var had []float64                     // of its fair share, in each second
					for range 12 {
						had = append(had, float64(load(time.Second)[address])/(10*fair))
					}
					if had[0] > 0.5 {
						t.Errorf("share in each second = %.2f of the fair one, want less than half in the first", had)
					}
					if had[0] >= had[2] || had[2] >= had[6] {
						t.Errorf("share in each second = %.2f of the fair one, want it to grow", had)
					}
					// A second of Random's draws has a standard deviation of 7 %.
					if share := mean(had[6:]); share < 0.9 || share > 1.1 {
						t.Errorf("share in each second = %.2f of the fair one, want 0.9 to 1.1 after 6 s", had)
					}
				})
			})
		}
	}
}

func mean(all []float64) (m float64) {
	for _, v := range all {
		m += v / float64(len(all))
	}
	return m
}

// All endpoints are new at first, and none has to spare another.
//
// L-20
func TestFirstEndpointsBeginAtOnce(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, eight, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		if got := countIn(b, loadbalance.Available); got != len(eight) {
			t.Errorf("%d of %d first endpoints are available, want all", got, len(eight))
		}
		if err := errors.Join(b.Update(), b.Update(loadbalance.Endpoints(eight[:3]...)...)); err != nil {
			t.Fatal(err)
		}
		if got := countIn(b, loadbalance.Available); got != 3 {
			t.Errorf("%d of 3 endpoints that come when there are none are available, want all", got)
		}
	})
}

// L-20
func TestSlowStartCanBeSwitchedOff(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{SlowStart: never}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		if err := b.Update(loadbalance.Endpoints("a", "b")...); err != nil {
			t.Fatal(err)
		}
		if got := state(b, "b"); got != loadbalance.Available {
			t.Errorf("State() of a new endpoint = %v, want available", got)
		}
	})
}

// An endpoint that was sick for a while and is probed by calls as they come is
// back at its share, and calls with one retry do not fail meanwhile.
//
// L-18, L-20
func TestAHealedEndpointIsBackAtItsShareWithoutErrors(t *testing.T) {
	for _, st := range []loadbalance.Strategy{loadbalance.RoundRobin(), loadbalance.Random(), loadbalance.Weighted(), loadbalance.LeastConnections(), loadbalance.PeakEWMA()} {
		t.Run(st.String(), func(t *testing.T) {
			in(t, st, loadbalance.HealthConfig{}, addressesOf(5), func(t *testing.T, b *loadbalance.Balancer, s *service) {
				for _, address := range addressesOf(5) {
					s.becomes(address, func(context.Context) error { <-time.After(10 * time.Millisecond); return nil })
				}
				sick := addressesOf(5)[0]
				call := s.under(retry.New(retry.Config{MaxAttempts: 2, NoBudget: true}), b)
				var failed atomic.Int64
				load := func(d time.Duration) float64 {
					s.count()
					for range d / (10 * time.Millisecond) {
						for range 5 {
							go func() {
								if call(t.Context()) != nil {
									failed.Add(1)
								}
							}()
						}
						pass(10 * time.Millisecond)
					}
					return float64(s.count()[sick]) / (d.Seconds() * 100)
				}
				load(5 * time.Second)
				s.becomes(sick, is(errDown))
				if share := load(30 * time.Second); share > 0.02 {
					t.Errorf("the sick endpoint had %.3f of its fair share, want 0.02 at most", share)
				}
				s.becomes(sick, func(context.Context) error { <-time.After(10 * time.Millisecond); return nil })
				load(20 * time.Second)
				if share := load(5 * time.Second); share < 0.9 {
					t.Errorf("from 20 to 25 s after it healed it had %.2f of its fair share, want 0.9", share)
				}
				if failed.Load() > 0 {
					t.Errorf("%d calls with a retry failed, want none", failed.Load())
				}
			})
		})
	}
}

func TestHealthValidate(t *testing.T) {
	for _, row := range []struct {
		health loadbalance.HealthConfig
		want   string
	}{
		{loadbalance.HealthConfig{}, ""},
		{loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never, PanicThreshold: never, SlowStart: never, LatencyFactor: 3, MaxEjected: 1}, ""},
		{loadbalance.HealthConfig{MaxEjection: time.Minute}, ""},
		{loadbalance.HealthConfig{ConsecutiveFailures: -2}, "loadbalance: ConsecutiveFailures is -2; give a count, 0 for 5, or Never"},
		{loadbalance.HealthConfig{FailureRate: 2}, "loadbalance: FailureRate is 2; give a share from 0 to 1, 0 for 0.3, or Never"},
		{loadbalance.HealthConfig{FailureRate: math.NaN()}, "loadbalance: FailureRate is NaN; give a share from 0 to 1, 0 for 0.3, or Never"},
		{loadbalance.HealthConfig{LatencyFactor: 1}, "loadbalance: LatencyFactor is 1; give a factor above 1, or 0 to eject none for being slow"},
		{loadbalance.HealthConfig{BaseEjection: -1}, "loadbalance: BaseEjection is -1ns; give a positive duration, or 0 for 5s"},
		{loadbalance.HealthConfig{MaxEjection: -1}, "loadbalance: MaxEjection is -1ns; give at least the BaseEjection of 5s, or 0 for 15s"},
		{loadbalance.HealthConfig{MaxEjection: time.Second}, "loadbalance: MaxEjection is 1s; give at least the BaseEjection of 5s, or 0 for 15s"},
		{loadbalance.HealthConfig{BaseEjection: time.Minute, MaxEjection: time.Second}, "loadbalance: MaxEjection is 1s; give at least the BaseEjection of 1m0s, or 0 for 15s"},
		{loadbalance.HealthConfig{MaxEjected: -0.1}, "loadbalance: MaxEjected is -0.1; give a share from 0 to 1, or 0 for 0.5"},
		{loadbalance.HealthConfig{PanicThreshold: 1.5}, "loadbalance: PanicThreshold is 1.5; give a share from 0 to 1, 0 for 0.5, or Never"},
		{loadbalance.HealthConfig{SlowStart: -2}, "loadbalance: SlowStart is -2ns; give a positive duration, 0 for 5s, or Never"},
	} {
		got := ""
		if err := (loadbalance.Config{Health: row.health}).Validate(); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("Validate(%+v) = %q, want %q", row.health, got, row.want)
		}
		func() {
			defer func() {
				p := fmt.Sprint(recover())
				if row.want != "" && !strings.Contains(p, row.want) {
					t.Errorf("NewBalancer(%+v) panicked with %s, want %s", row.health, p, row.want)
				}
			}()
			loadbalance.NewBalancer(loadbalance.Config{Health: row.health})
		}()
	}
}
