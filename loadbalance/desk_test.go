package loadbalance_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// picking returns what makes a call that only picks: it is over when there is a
// lease.
func picking(d *loadbalance.Desk, above ...backstay.Middleware) func(context.Context) (*loadbalance.Lease, error) {
	call := backstay.Bind(backstay.New(above...), backstay.Op[kind, *loadbalance.Lease]{
		Do: func(ctx context.Context, call *backstay.Call, _ kind) (*loadbalance.Lease, error) {
			return d.Pick(ctx, call)
		},
	})
	return func(ctx context.Context) (*loadbalance.Lease, error) {
		k, _ := ctx.Value(kindOf{}).(kind)
		return call(ctx, k)
	}
}

// A kind says whether a call streams.
type kind bool

const (
	unary  kind = false
	stream kind = true
)

func (k kind) Streams() bool { return bool(k) }

type kindOf struct{}

// as returns ctx for calls of the kind.
func as(ctx context.Context, k kind) context.Context { return context.WithValue(ctx, kindOf{}, k) }

// mustLease returns a lease of a pick that cannot fail.
func mustLease(t *testing.T, ctx context.Context, d *loadbalance.Desk) *loadbalance.Lease {
	t.Helper()
	l, err := picking(d)(ctx)
	if err != nil {
		t.Fatalf("Pick() = %v, want a lease", err)
	}
	return l
}

// leaseOf picks until there is a lease of the endpoint at an address.
func leaseOf(t *testing.T, ctx context.Context, d *loadbalance.Desk, address string) *loadbalance.Lease {
	t.Helper()
	for range 100 {
		l := mustLease(t, ctx, d)
		if l.Address() == address {
			return l
		}
		l.End(nil)
	}
	t.Fatalf("none of 100 picks was %s", address)
	return nil
}

// errAway is of an attempt that was not sent.
var errAway = &backstay.Error{Class: backstay.Transient, NotSent: true, Err: errors.New("connection closed")}

type leaseEnd func(l *loadbalance.Lease, err error)

// answering has the answer begin, and the end come an hour later.
func answering(end leaseEnd) leaseEnd {
	return func(l *loadbalance.Lease, err error) {
		l.Answered()
		pass(time.Hour)
		end(l, err)
	}
}

// L-8, L-9, L-18
func TestWhatTheEndOfALeaseSays(t *testing.T) {
	const ms, hour = time.Millisecond, time.Hour
	end := (*loadbalance.Lease).End
	for _, row := range []struct {
		name     string
		after    time.Duration // since the pick
		kind     kind
		end      leaseEnd
		err      error
		latency  time.Duration
		failures int
	}{
		{"an answer", 90 * ms, unary, end, nil, 90 * ms, 0},
		{"a failure", 90 * ms, unary, end, errDown, 2000 * ms, 1},
		{"a slow failure", 3000 * ms, unary, end, errDown, 3000 * ms, 1},
		{"throttled", 90 * ms, unary, end, errBusy, 2000 * ms, 1},
		{"a no", 90 * ms, unary, end, errNo, 90 * ms, 0},
		{"not sent", 90 * ms, unary, end, errAway, 0, 0},
		{"a stream", hour, stream, end, nil, 0, 0},
		{"a stream that says no", hour, stream, end, errNo, 0, 0},
		{"a stream that fails", hour, stream, end, errDown, 2000 * ms, 1},
		{"a stream that was not sent", hour, stream, end, errAway, 0, 0},
		{"answered, then a stream", 90 * ms, stream, answering(end), nil, 90 * ms, 0},
		{"answered, then a stream that fails", 90 * ms, stream, answering(end), errDown, 90 * ms, 0},
		{"a stream that begins when something happens", hour, stream, answering(end), nil, 0, 0},
		{"answered, then an end", 90 * ms, unary, answering(end), nil, 90 * ms, 0},
		{"answered, then an end that fails", 90 * ms, unary, answering(end), errDown, 90 * ms, 0},
		{"answered twice", 90 * ms, unary, answering(answering(end)), nil, 90 * ms, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				n, l := b.Nodes()[0], mustLease(t, as(t.Context(), row.kind), b.Desk(nil))
				if got := l.Address(); got != "a" {
					t.Errorf("Address() = %q, want a", got)
				}
				pass(row.after)
				if got := n.InFlight(); got != 1 {
					t.Errorf("InFlight() before the end = %d, want 1", got)
				}
				row.end(l, row.err)
				for range 3 { // an end that is told again changes nothing
					if n.InFlight() != 0 || n.Waiting() != 0 || n.Failures() != row.failures {
						t.Errorf("InFlight, Waiting, Failures = %d, %d, %d; want 0, 0, %d", n.InFlight(), n.Waiting(), n.Failures(), row.failures)
					}
					if got := n.Latency(); got.Round(ms) != row.latency || row.latency == 0 && got != 0 {
						t.Errorf("Latency() = %v, want %v", got, row.latency)
					}
					l.Answered()
					l.End(errDown)
				}
			})
		})
	}
}

// L-8
func TestAnsweredLeaseIsInFlight(t *testing.T) {
	b := balance(loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, "a")
	n, l := b.Nodes()[0], mustLease(t, t.Context(), b.Desk(nil))
	for _, row := range []struct {
		name              string
		then              func()
		inFlight, waiting int
	}{
		{"the pick", func() {}, 1, 1},
		{"the answer", l.Answered, 1, 0},
		{"the end", func() { l.End(nil) }, 0, 0},
	} {
		if row.then(); n.InFlight() != row.inFlight || n.Waiting() != row.waiting {
			t.Errorf("InFlight, Waiting after %s = %d, %d; want %d, %d", row.name, n.InFlight(), n.Waiting(), row.inFlight, row.waiting)
		}
	}
}

// Nobody waits for the answer to a stream, which may come when something happens.
//
// L-2, L-8
func TestAStreamIsInFlightAndDoesNotWait(t *testing.T) {
	b := balance(loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, "a")
	n, l := b.Nodes()[0], mustLease(t, as(t.Context(), stream), b.Desk(nil))
	for _, row := range []struct {
		name     string
		then     func()
		inFlight int
	}{{"the pick", func() {}, 1}, {"the answer", l.Answered, 1}, {"the end", func() { l.End(nil) }, 0}} {
		if row.then(); n.InFlight() != row.inFlight || n.Waiting() != 0 {
			t.Errorf("InFlight, Waiting after %s = %d, %d; want %d, 0", row.name, n.InFlight(), n.Waiting(), row.inFlight)
		}
	}
}

// A caller that gave up says nothing, unless the endpoint had long enough.
//
// L-18
func TestLeaseWhoseCallerGaveUp(t *testing.T) {
	for _, row := range []struct {
		name     string
		deadline time.Duration // 0 for a cancel after 10 ms
		kind     kind
		failures int
	}{
		{"canceled", 0, unary, 0},
		{"short", 10 * time.Millisecond, unary, 0},
		{"long", 2 * time.Second, unary, 1},
		{"stream, canceled", 0, stream, 0},
		{"stream, long", time.Hour, stream, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				ctx, cancel := context.WithCancel(t.Context())
				if row.deadline > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), row.deadline)
				}
				defer cancel()
				l := mustLease(t, as(ctx, row.kind), b.Desk(nil))
				pass(max(row.deadline, 10*time.Millisecond))
				cancel()
				l.End(ctx.Err())
				if n := b.Nodes()[0]; n.Failures() != row.failures || n.InFlight() != 0 {
					t.Errorf("Failures, InFlight = %d, %d; want %d, 0", n.Failures(), n.InFlight(), row.failures)
				}
			})
		})
	}
}

// A probe that has found nothing out is given back.
//
// L-18
func TestLeaseIsTheProbeOfAnEjectedEndpoint(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want loadbalance.State
	}{
		{"answered", nil, loadbalance.Warming},
		{"failed", errDown, loadbalance.Ejected},
		{"not sent", errAway, loadbalance.Probing},
	} {
		for name, k := range map[string]kind{"unary": unary, "stream": stream} {
			t.Run(name+"/"+row.name, func(t *testing.T) {
				in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
					d := b.Desk(nil)
					sicken(t, b, "a")
					pass(6 * time.Second)
					for probes := 1; probes == 1 || row.want == loadbalance.Probing && probes == 2; probes++ {
						probe := leaseOf(t, as(t.Context(), k), d, "a")
						for range 100 {
							l := mustLease(t, as(t.Context(), k), d)
							if l.Address() == "a" {
								t.Fatal("a pick during the probe of a = a, want another")
							}
							l.End(nil)
						}
						probe.End(row.err)
						if got := state(b, "a"); got != row.want {
							t.Errorf("State() after probe %d = %v, want %v", probes, got, row.want)
						}
					}
				})
			})
		}
	}
}

// L-9, L-18
func TestErrorThatPanicsEndsTheLease(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		d := b.Desk(nil)
		sicken(t, b, "a")
		pass(6 * time.Second)
		for range 2 { // the second is the probe that the first has given back
			l := leaseOf(t, t.Context(), d, "a")
			func() {
				defer func() { _ = recover() }()
				l.End(evil2{})
				t.Error("End of an error that panics returned, want the panic")
			}()
			if n := node(t, b, "a"); n.InFlight() != 0 || n.Waiting() != 0 {
				t.Errorf("InFlight, Waiting = %d, %d; want 0, 0", n.InFlight(), n.Waiting())
			}
		}
	})
}

// L-18
func TestFailedLeasesEject(t *testing.T) {
	for name, k := range map[string]kind{"unary": unary, "stream": stream} {
		in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
			d := b.Desk(nil)
			for _, err := range []error{errDown, errDown, errDown, errDown, errAway, nil, errDown, errDown, errDown, errDown, errAway} {
				mustLease(t, as(t.Context(), k), d).End(err)
			}
			if got := state(b, "a"); got != loadbalance.Available {
				t.Errorf("%s: State() after 4 failures in a row = %v, want available", name, got)
			}
			mustLease(t, as(t.Context(), k), d).End(errDown)
			if got := state(b, "a"); got != loadbalance.Ejected {
				t.Errorf("%s: State() after 5 failures in a row = %v, want ejected", name, got)
			}
		})
	}
}

// What a stream does to the average when it begins takes nothing from the weight
// of its failure.
//
// L-3
func TestFailingFastDrawsNoStreams(t *testing.T) {
	for name, k := range map[string]kind{"unary": unary, "stream": stream} {
		for oneIn, health := range map[int]loadbalance.HealthConfig{1: unejecting, 4: {}} {
			in(t, loadbalance.PeakEWMA(), health, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				d := b.Desk(nil)
				got := map[string]int{}
				for range 600 {
					pass(20 * time.Millisecond)
					l := mustLease(t, as(t.Context(), k), d)
					if got[l.Address()]++; l.Address() == "a" && got["a"] > 20 && got["a"]%oneIn == 0 {
						l.End(errDown)
						continue
					}
					time.AfterFunc(5*time.Millisecond, l.Answered)
					time.AfterFunc(10*time.Second, func() { l.End(nil) })
				}
				pass(time.Minute)
				if got["a"] > 120 {
					t.Errorf("%s: of 600 calls a, where one in %d failed at once, got %d; want 120 at most", name, oneIn, got["a"])
				}
			})
		}
	}
}

// An answer that comes when there has been none for long weighs much, and one
// right after another little, also where streams have begun in between.
//
// L-2
func TestAnAnswerWeighsByTheTimeSinceTheLast(t *testing.T) {
	in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		d, n := b.Desk(nil), b.Nodes()[0]
		answer := func(took time.Duration, end func(*loadbalance.Lease)) {
			l := mustLease(t, as(t.Context(), stream), d)
			pass(took)
			end(l)
		}
		ok := func(l *loadbalance.Lease) { l.Answered(); l.End(nil) }
		fail := func(l *loadbalance.Lease) { l.End(errDown) }
		for _, row := range []struct {
			name        string
			since, took time.Duration
			end         func(*loadbalance.Lease)
			least, most time.Duration // of the average
		}{
			{"the first", 0, 10 * time.Millisecond, ok, 10 * time.Millisecond, 10 * time.Millisecond},
			{"one long after", time.Minute, 100 * time.Millisecond, ok, 95 * time.Millisecond, 100 * time.Millisecond},
			{"a failure right after", 0, 0, fail, 95 * time.Millisecond, 110 * time.Millisecond},
			{"a failure long after", time.Minute, 0, fail, 1950 * time.Millisecond, 2 * time.Second},
		} {
			pass(row.since)
			answer(row.took, row.end)
			if got := n.Latency(); got < row.least-time.Microsecond || got > row.most+time.Microsecond {
				t.Errorf("Latency() after %s = %v, want %v to %v", row.name, got, row.least, row.most)
			}
		}
	})
}

// gRPC may find the endpoint of an attempt gone, and have another picked.
//
// L-8, L-18
func TestAnAttemptThatHasMovedSaysNothingOfItsEndpoint(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		d := b.Desk(func(address string) bool { return address == "a" })
		call := backstay.Bind(backstay.New(b), backstay.Op[int, int]{
			Do: func(ctx context.Context, call *backstay.Call, _ int) (int, error) {
				l, err := d.Pick(ctx, call)
				if err != nil || l.Address() != "b" || call.Endpoint != "b" {
					t.Fatalf("Pick() = %v, %v, and the attempt is at %s; want b", l, err, call.Endpoint)
				}
				pass(time.Second)
				l.End(errDown)
				call.Move(l.Address())
				return 0, errDown
			},
		})
		for range 2 {
			_, _ = call(t.Context(), 0)
		}
		for address, want := range map[string]int{"a": 0, "b": 2} {
			if n := node(t, b, address); n.Failures() != want || (n.Latency() != 0) != (want > 0) || n.InFlight() != 0 || n.Waiting() != 0 {
				t.Errorf("Failures, Latency, InFlight, Waiting of %s = %d, %v, %d, %d; want %d, and none in flight", address, n.Failures(), n.Latency(), n.InFlight(), n.Waiting(), want)
			}
		}
	})
}

// L-22
func TestDeskPassesOverWhatIsBlocked(t *testing.T) {
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, "a", "b", "c")
		for _, row := range []struct{ blocked, allowed string }{{"", "abc"}, {"a", "bc"}, {"ac", "b"}, {"abc", "abc"}} {
			d := b.Desk(func(address string) bool { return strings.Contains(row.blocked, address) })
			for i := range 100 {
				l := mustLease(t, context.WithValue(t.Context(), keyOf{}, i), d)
				if !strings.Contains(row.allowed, l.Address()) {
					t.Errorf("%v with %q blocked: Pick() = %s, want one of %q", st, row.blocked, l.Address(), row.allowed)
				}
				l.End(nil)
			}
		}
	}
}

// An endpoint that is ejected may work; one that is blocked cannot.
//
// L-18, L-22
func TestWhereAllThatIsLeftIsBlockedAnEjectedEndpointIsUsed(t *testing.T) {
	for _, st := range strategies {
		in(t, st, loadbalance.HealthConfig{}, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
			sicken(t, b, "a")
			sicken(t, b, "b")
			for _, row := range []struct{ blocked, allowed string }{{"c", "d"}, {"cd", "ab"}, {"acd", "b"}, {"abcd", "cd"}} {
				d := b.Desk(func(address string) bool { return strings.Contains(row.blocked, address) })
				for i := range 100 {
					l := mustLease(t, context.WithValue(t.Context(), keyOf{}, i), d)
					if !strings.Contains(row.allowed, l.Address()) {
						t.Errorf("%v with a and b ejected and %q blocked: Pick() = %s, want one of %q", st, row.blocked, l.Address(), row.allowed)
					}
					l.End(nil)
				}
			}
			if got := state(b, "a"); got != loadbalance.Ejected {
				t.Errorf("%v: State() of an endpoint that was used all the same = %v, want ejected", st, got)
			}
		})
	}
}

// L-19
func TestAnEjectedEndpointIsNeverUsedWhereThatIsSaid(t *testing.T) {
	never := loadbalance.HealthConfig{PanicThreshold: loadbalance.Never}
	in(t, loadbalance.PeakEWMA(), never, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		sicken(t, b, "a")
		d := b.Desk(func(address string) bool { return address == "b" })
		for range 20 {
			l := mustLease(t, t.Context(), d)
			if l.Address() != "b" {
				t.Errorf("Pick() with a ejected, b blocked and no panic threshold = %s, want b", l.Address())
			}
			l.End(nil)
		}
	})
}

// The pick marks the endpoint as tried, so that a retry goes to another, at
// once.
//
// L-23
func TestRetryOfACallThatPicksAtADeskGoesElsewhere(t *testing.T) {
	for _, st := range strategies {
		synctest.Test(t, func(t *testing.T) {
			d := balance(st, loadbalance.HealthConfig{}, "a", "b", "c").Desk(nil)
			had := map[string]int{}
			call := backstay.Bind(backstay.New(retry.New(retry.Config{NoBudget: true})), backstay.Op[int, int]{
				Do: func(ctx context.Context, call *backstay.Call, _ int) (int, error) {
					l, err := d.Pick(ctx, call)
					if err != nil {
						return 0, err
					}
					had[l.Address()]++
					l.End(errDown)
					return 0, errDown
				},
			})
			began := time.Now()
			_, _ = call(t.Context(), 0)
			if len(had) != 3 || time.Since(began) > 0 {
				t.Errorf("%v: 3 attempts went to %v in %v, want one at each and no pause", st, had, time.Since(began))
			}
		})
	}
}

// No picker can wait.
func TestDeskDoesNotWaitForTheFirstEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadbalance.NewBalancer(loadbalance.Config{})
		d := b.Desk(nil)
		for _, row := range []struct {
			name  string
			then  func() error
			text  string
			class backstay.Class
		}{
			{"none yet", func() error { return nil }, "none were found yet; Update or Follow brings them", backstay.Transient},
			{"none", func() error { return b.Update() }, "there are none", backstay.Transient},
			{"closed", func() error { return b.Close(t.Context()) }, "the balancer is closed", backstay.Permanent},
		} {
			if err := row.then(); err != nil {
				t.Fatal(err)
			}
			var o observer
			began := time.Now()
			l, err := picking(d, &o)(t.Context())
			none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
			if l != nil || !ok || none.Why != row.text || backstay.Classify(err) != row.class || !backstay.NotSent(err) {
				t.Errorf("%s: Pick() = %v, %v, want a NoEndpointError of class %v: %s", row.name, l, err, row.class, row.text)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%s: Pick() took %v, want 0", row.name, took)
			}
			if len(o.events) != 1 || o.events[0].Kind != backstay.EventReject || o.events[0].Reason != "no_endpoint" {
				t.Errorf("%s: events = %+v, want one rejection", row.name, o.events)
			}
		}
	})
}

// What the call has waited before, for a connection or a pause, is no latency.
//
// L-8
func TestLatencyOfALeaseBeginsWithThePick(t *testing.T) {
	in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		late := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.Began()
				pass(time.Minute)
				return next(ctx, call)
			}
		})
		l, err := picking(b.Desk(nil), late)(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pass(20 * time.Millisecond)
		l.End(nil)
		if got := b.Nodes()[0].Latency().Round(time.Millisecond); got != 20*time.Millisecond {
			t.Errorf("Latency() = %v, want 20ms", got)
		}
	})
}

// L-26
func TestEndpointThatLeavesIsReleasedWhenItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance(loadbalance.RoundRobin(), loadbalance.HealthConfig{}, "a")
		left := make(chan string, 10)
		b.OnLeave(func(address string) { left <- address })
		l := mustLease(t, t.Context(), b.Desk(nil))
		if err := b.Update(loadbalance.Endpoints("b")...); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- b.Close(context.Background()) }()
		pass(time.Second)
		if len(closed) > 0 || len(left) != 1 || <-left != "b" {
			t.Fatal("a was released while it is leased")
		}
		l.End(nil)
		synctest.Wait()
		if len(left) != 1 || <-left != "a" || len(closed) != 1 || <-closed != nil {
			t.Error("a was not released when its lease ended")
		}
	})
}

// However often and wherever a lease is ended, it ends once.
//
// L-9
func TestLeasesEndOnceOnAnyGoroutine(t *testing.T) {
	leak.Check(t)
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, addressesOf(5)...)
		d := b.Desk(func(address string) bool { return address == b.Addresses()[0] })
		var all sync.WaitGroup
		for g := range 16 {
			all.Go(func() {
				for i := range 100 {
					l, err := picking(d)(context.WithValue(t.Context(), keyOf{}, g+i))
					if err != nil {
						t.Error(err)
						return
					}
					err = []error{nil, errDown, errAway, errNo}[i%4]
					all.Go(l.Answered)
					all.Go(func() { l.End(err) })
					all.Go(func() { l.End(err) })
				}
			})
		}
		all.Go(func() {
			for i := range 100 {
				if err := b.Update(loadbalance.Endpoints(addressesOf(4 + i%3)...)...); err != nil {
					t.Error(err)
				}
			}
		})
		all.Wait()
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("%v: InFlight() of %s in the end = %d, want 0", st, n.Address(), n.InFlight())
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("%v: Close() = %v, want nil", st, err)
		}
	}
}

// L-7
func TestLeaseIsOneAllocation(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, addressesOf(10)...)
		first, ctx := b.Addresses()[0], context.WithValue(t.Context(), keyOf{}, 7)
		for name, blocks := range map[string]func(string) bool{"nothing blocked": nil, "one blocked": func(a string) bool { return a == first }} {
			d := b.Desk(blocks)
			do := func() { _ = pickAndEnd(ctx, d) }
			for range 100 {
				do()
			}
			if n := testing.AllocsPerRun(1000, do); n > 1 {
				t.Errorf("%v, %s: Pick and End allocate %v times, want 1", st, name, n)
			}
		}
	}
}

// pickAndEnd makes a call that picks at d and ends the lease.
func pickAndEnd(ctx context.Context, d *loadbalance.Desk) error {
	_, err := ofDesk(ctx, d)
	return err
}

var ofDesk = backstay.Bind(nil, backstay.Op[*loadbalance.Desk, int]{
	Do: func(ctx context.Context, call *backstay.Call, d *loadbalance.Desk) (int, error) {
		l, err := d.Pick(ctx, call)
		if err == nil {
			l.End(nil)
		}
		return 0, err
	},
})

func TestZeroDeskAndLease(t *testing.T) {
	var l loadbalance.Lease
	l.Answered()
	l.End(errDown)
	if got := l.Address(); got != "" {
		t.Errorf("Address() of the zero Lease = %q, want none", got)
	}
	for _, row := range []struct {
		name, want string
		f          func()
	}{
		{"Desk", "loadbalance: this Desk was not made with Balancer.Desk", func() { _ = pickAndEnd(t.Context(), new(loadbalance.Desk)) }},
		{"Balancer", "loadbalance: this Balancer was not made with New; loadbalance.New(loadbalance.PeakEWMA(), \"10.0.0.1:80\") makes one", func() { new(loadbalance.Balancer).Desk(nil) }},
	} {
		func() {
			defer func() {
				if got := recover(); got != row.want {
					t.Errorf("a zero %s panics with %v, want %q", row.name, got, row.want)
				}
			}()
			row.f()
		}()
	}
}
