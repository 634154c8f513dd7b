package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// brittle opens at the first failure, for 5 s to 6.25 s, and closes after one
// probe.
var brittle = breaker.Config{ConsecutiveFailures: 1, Probes: 1}

// L-22
func TestEndpointWhoseBreakerIsOpenIsPassedOver(t *testing.T) {
	for _, st := range strategies {
		t.Run(st.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := breaker.NewGroup(brittle, breaker.ByEndpoint)
				b := balance(st, loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}, "a", "b", "c")
				var s service
				call := s.under(b, group)
				load := func(n int) int64 {
					s.count()
					var failed atomic.Int64
					var all sync.WaitGroup
					for i := range n {
						all.Go(func() {
							if call(context.WithValue(t.Context(), keyOf{}, i)) != nil {
								failed.Add(1)
							}
						})
						pass(100 * time.Microsecond)
					}
					all.Wait()
					return failed.Load()
				}
				for _, address := range b.Addresses() {
					s.becomes(address, func(context.Context) error { <-time.After(time.Millisecond); return nil })
				}
				group.Breaker("a").ForceOpen()
				if failed := load(300); failed > 0 || s.had("a") > 0 || s.had("b") == 0 || s.had("c") == 0 {
					t.Errorf("with the breaker of a open %d of 300 calls failed, and the endpoints had %v; want 0, and only b and c", failed, s.count())
				}
				group.Breaker("a").Reset()
				s.becomes("a", is(errDown))
				for !group.Blocks("a") {
					load(10)
				}
				if failed := load(300); failed > 0 || s.had("a") > 0 {
					t.Errorf("with the breaker of a open %d of 300 calls failed and %d went to a, want 0 and 0", failed, s.had("a"))
				}
				pass(time.Minute) // its cooldown, and what PeakEWMA remembers
				s.becomes("a", nil)
				if failed := load(300); failed > 0 {
					t.Errorf("%d of 300 calls failed when the breaker tried one, want 0", failed)
				}
				if got := group.State("a"); got != breaker.Closed {
					t.Errorf("State of the breaker after its cooldown and 300 calls = %v, want closed", got)
				}
			})
		})
	}
}

// What passes a breaker that is half-open is up to the breaker: calls that it
// turns away go elsewhere, however many look at the same time.
//
// L-22
func TestCallThatAHalfOpenBreakerTurnsAwayGoesElsewhere(t *testing.T) {
	for _, st := range strategies {
		t.Run(st.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := breaker.NewGroup(brittle, breaker.ByEndpoint)
				b := balance(st, loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}, "a", "b")
				var s service
				s.becomes("a", is(errDown))
				call := s.under(b, group)
				for i := 0; !group.Blocks("a"); i++ {
					_ = call(context.WithValue(t.Context(), keyOf{}, i))
					pass(5 * time.Second)
				}
				pass(7 * time.Second)
				slow := func(context.Context) error { <-time.After(time.Second); return nil }
				s.becomes("a", slow)
				s.becomes("b", slow)
				s.count()
				var failed atomic.Int64
				for round := range 3 { // one at the same time, two during the probe
					for i := range 100 {
						go func() {
							if err := call(context.WithValue(t.Context(), keyOf{}, i)); err != nil {
								failed.Add(1)
							}
						}()
					}
					synctest.Wait()
					if got := node(t, b, "a").InFlight(); got > 1 {
						t.Errorf("round %d: InFlight() of what is tried = %d, want 1 at most", round, got)
					}
					pass(10 * time.Millisecond)
				}
				pass(2 * time.Second)
				if failed.Load() > 0 {
					t.Errorf("%d of 300 calls failed, want 0", failed.Load())
				}
				if got := s.count(); got["a"] != 1 || got["b"] != 299 {
					t.Errorf("calls = %v, want 1 at a and 299 at b", got)
				}
				for _, n := range b.Nodes() {
					if n.InFlight() != 0 || n.Failures() != 0 {
						t.Errorf("InFlight, Failures of %s = %d, %d; want 0", n.Address(), n.InFlight(), n.Failures())
					}
				}
			})
		})
	}
}

// Rejections of the breaker are not failures of the endpoint, and where there is
// no other endpoint they are what the call gets.
//
// L-18, L-22
func TestRejectionWhereThereIsNoOtherEndpoint(t *testing.T) {
	group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
	group.Breaker("a").ForceOpen()
	group.Breaker("b").ForceOpen()
	b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b")
	var s service
	call := s.under(b, group)
	for range 100 {
		if err := call(t.Context()); !errors.Is(err, breaker.ErrOpen) {
			t.Fatalf("a call with all breakers open = %v, want %v", err, breaker.ErrOpen)
		}
	}
	for _, n := range b.Nodes() {
		if n.InFlight() != 0 || n.Failures() != 0 || n.State() != loadbalance.Available {
			t.Errorf("InFlight, Failures, State of %s = %d, %d, %v; want 0, 0, available", n.Address(), n.InFlight(), n.Failures(), n.State())
		}
	}
}

// A retry of a call that only an open breaker is left for goes to what it has
// tried, and the call does not fail with the rejection.
//
// L-22, H-45
func TestRetryPrefersWhatItTriedToAnOpenBreaker(t *testing.T) {
	group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
	group.Breaker("b").ForceOpen()
	b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a", "b")
	var s service
	var n atomic.Int64
	s.becomes("a", func(context.Context) error {
		if n.Add(1) == 1 {
			return errDown
		}
		return nil
	})
	call := s.under(retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}), b, group)
	if err := call(t.Context()); err != nil || n.Load() != 2 {
		t.Errorf("the call = %v after %d attempts at a, want nil after 2", err, n.Load())
	}
}

// So it is while those that may try a breaker that is half-open are under way, and
// then there is a pause, for it is the endpoint that has failed.
//
// L-22, B-8
func TestRetryPrefersWhatItTriedToAHalfOpenBreakerThatIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		group := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 3, FailureRate: breaker.Never, Probes: 1}, breaker.ByEndpoint)
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}, "a", "b")
		var s service
		s.becomes("b", is(errDown))
		for !group.Blocks("b") {
			_ = s.under(b, group)(t.Context())
		}
		pass(7 * time.Second)
		s.becomes("b", func(context.Context) error { <-time.After(10 * time.Second); return nil })
		for range 2 { // one of them tries b
			go func() { _ = s.under(b, group)(t.Context()) }()
		}
		synctest.Wait()
		if got := node(t, b, "b").InFlight(); got != 1 {
			t.Fatalf("InFlight() of b = %d, want the one that tries it", got)
		}
		for range 4 {
			n := 0
			s.becomes("a", func(context.Context) error {
				if n++; n == 1 {
					return errDown
				}
				return nil
			})
			began := time.Now()
			if err := s.under(retry.New(retry.Config{NoBudget: true}), b, group)(t.Context()); err != nil || n != 2 {
				t.Errorf("the call = %v after %d attempts at a, want nil after 2", err, n)
			}
			if time.Since(began) == 0 {
				t.Error("the retry came at once, want a pause")
			}
		}
		pass(time.Minute)
	})
}

// L-23, H-45
func TestRetryGoesToAnotherEndpoint(t *testing.T) {
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}, "a", "b", "c")
		var s service
		s.becomes("a", is(errDown))
		call := s.under(retry.New(retry.Config{MaxAttempts: 2, NoBudget: true}), b)
		began := time.Now()
		for i := range 1000 {
			if err := call(context.WithValue(t.Context(), keyOf{}, i)); err != nil {
				t.Fatalf("%v: a call with one retry and one of three endpoints down = %v, want nil", st, err)
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%v: 1000 calls took %v, want retries without a pause", st, took)
		}
		// Every attempt is charged, those that were retried too.
		if n := node(t, b, "a"); s.had("a") > 0 && n.Failures() != s.had("a") {
			t.Errorf("%v: Failures() of a = %d after %d attempts, want as many", st, n.Failures(), s.had("a"))
		}
	}
}

// Two attempts fail and the third is answered: each is its endpoint's, and what
// became of the call is nobody's.
//
// L-23
func TestEveryAttemptCountsForItsEndpoint(t *testing.T) {
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, "a", "b", "c")
		var tried []string
		call := backstay.Bind(
			backstay.New(retry.New(retry.Config{MaxAttempts: 3, Backoff: retry.NoPause(), NoBudget: true}), b),
			backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
				if tried = append(tried, call.Endpoint); len(tried) < 3 {
					return 0, errDown
				}
				return 0, nil
			}},
		)
		if _, err := call(t.Context(), 0); err != nil || len(tried) != 3 {
			t.Fatalf("%v: a call of which 2 attempts fail = %v after attempts at %v, want nil after 3", st, err, tried)
		}
		for i, want := range []int{1, 1, 0} {
			n := node(t, b, tried[i])
			if n.Failures() != want || n.Latency() == 0 || n.InFlight() != 0 {
				t.Errorf("%v: attempt %d: Failures, Latency, InFlight = %d, %v, %d; want %d, one, 0", st, i+1, n.Failures(), n.Latency(), n.InFlight(), want)
			}
		}
	}
}

// A body whose end the call waits for, and an answer that came before.
//
// L-8
func TestInFlightToTheEndOfTheBodyAndLatencyToTheAnswer(t *testing.T) {
	for name, end := range map[string]func(io.ReadCloser){
		"closed":          func(r io.ReadCloser) { r.Close() },
		"read to the end": func(r io.ReadCloser) { io.Copy(io.Discard, r) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := balance(loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, "a")
				n := b.Nodes()[0]
				r, err := backstay.Do(t.Context(), backstay.New(b), "get", func(context.Context) (io.ReadCloser, error) {
					<-time.After(30 * time.Millisecond)
					return io.NopCloser(strings.NewReader("body")), nil
				})
				if err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				if got := n.InFlight(); got != 1 {
					t.Errorf("InFlight() with the body open = %d, want 1", got)
				}
				end(r)
				if got := n.InFlight(); got != 0 {
					t.Errorf("InFlight() at the end of the body = %d, want 0", got)
				}
				if got := n.Latency().Round(time.Millisecond); got != 30*time.Millisecond {
					t.Errorf("Latency() = %v, want 30ms", got)
				}
			})
		})
	}
}

// An attempt that fails is not in flight while the retry pauses.
//
// L-8, L-9
func TestFailedAttemptIsNotInFlightDuringThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a")
		var s service
		s.becomes("a", is(errDown))
		call := s.under(retry.New(retry.Config{Backoff: retry.Constant(time.Second), NoBudget: true}), b)
		go func() { _ = call(t.Context()) }()
		pass(500 * time.Millisecond)
		if got := b.Nodes()[0].InFlight(); got != 0 {
			t.Errorf("InFlight() in the pause after a failure = %d, want 0", got)
		}
		pass(5 * time.Second)
	})
}

// observer notes the events of calls.
type observer struct{ events []backstay.Event }

func (o *observer) Observe(_ *backstay.Call, e backstay.Event) { o.events = append(o.events, e) }

func (o *observer) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		call.Watch(o)
		return next(ctx, call)
	}
}

func TestCallWithoutEndpointIsAnEvent(t *testing.T) {
	b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a")
	if err := b.Update(); err != nil {
		t.Fatal(err)
	}
	var o observer
	var s service
	err := s.under(&o, b)(t.Context())
	if len(o.events) != 1 {
		t.Fatalf("events = %+v, want one", o.events)
	}
	want := backstay.Event{Kind: backstay.EventReject, Attempt: 1, Source: "round robin", Reason: "no_endpoint", Err: err}
	if o.events[0] != want {
		t.Errorf("event = %+v, want %+v", o.events[0], want)
	}
}

// The limit of the policy's own timeout says by itself what is long.
//
// L-18
func TestTimeoutOfTheCallCountsAfterHalfOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			queued time.Duration // before the attempt
			want   int
		}{{0, 1}, {60 * time.Millisecond, 0}} {
			b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a")
			wait := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
				return func(ctx context.Context, call *backstay.Call) error {
					<-time.After(row.queued)
					call.Waited()
					return next(ctx, call)
				}
			})
			var s service
			s.becomes("a", forever)
			_ = s.under(timeout.Call(100*time.Millisecond), wait, b)(t.Context())
			if got := b.Nodes()[0].Failures(); got != row.want {
				t.Errorf("Failures() after a timeout(100ms) of which %v were queued = %d, want %d", row.queued, got, row.want)
			}
		}
	})
}

// A balancer in several policies counts the load of all.
func TestOneBalancerInTwoPolicies(t *testing.T) {
	b := balance(loadbalance.LeastConnections(), loadbalance.HealthConfig{}, "a", "b")
	r := hold(t, b, "a")
	defer r.Close()
	var s service
	call := s.under(b, breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint))
	for range 50 {
		if err := call(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.count(); got["b"] != 50 {
		t.Errorf("with a busy in another policy calls = %v, want all 50 at b", fmt.Sprint(got))
	}
}
