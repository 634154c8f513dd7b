package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// errUnconnected is of an attempt whose endpoint had no connection while others
// had one.
var errUnconnected = &backstay.Error{Class: backstay.Transient, NotSent: true, Type: "not_connected", Err: errors.New("not connected")}

// connections is the part of a stack that knows which endpoints are connected.
type connections struct {
	none map[string]bool // those that are not
}

func (c *connections) Wrap(next backstay.Func) backstay.Func { return next }
func (c *connections) Traits() backstay.Traits               { return backstay.Traits{NeedsEndpoint: true} }
func (c *connections) Blocks(address string) bool            { return c.none[address] }

// visits is the endpoints that attempts went to, in order, and what the calls
// say of them.
type visits struct {
	to       []string
	attempts []int
	results  []error // of the attempts, nil for those that are left
	wait     time.Duration
}

func (v *visits) op() backstay.Op[int, int] {
	return backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
		i := len(v.to)
		v.to, v.attempts = append(v.to, call.Endpoint), append(v.attempts, call.Attempt)
		if i < len(v.results) {
			pass(v.wait)
			return 0, v.results[i]
		}
		pass(10 * time.Millisecond)
		return 0, nil
	}}
}

func (v *visits) under(stack ...backstay.Middleware) func(context.Context) error {
	call := backstay.Bind(backstay.New(stack...), v.op())
	return func(ctx context.Context) error { _, err := call(ctx, 0); return err }
}

// Without a retry above, and at an endpoint that is not to blame.
//
// L-18, L-22, L-23
func TestAttemptWithoutAConnectionGoesElsewhere(t *testing.T) {
	for _, st := range strategies {
		in(t, st, loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
			v := visits{results: []error{errUnconnected, errUnconnected}, wait: 3 * time.Second}
			if err := v.under(b, new(connections))(t.Context()); err != nil || len(v.to) != 3 {
				t.Fatalf("%v: a call whose first two endpoints are not connected = %v after attempts at %v, want nil after 3", st, err, v.to)
			}
			if !slices.Equal(v.attempts, []int{1, 1, 1}) {
				t.Errorf("%v: Attempt = %v, want 1 each time", st, v.attempts)
			}
			for i, want := range []time.Duration{0, 0, 10 * time.Millisecond} {
				n := node(t, b, v.to[i])
				if n.Failures() != 0 || n.InFlight() != 0 || n.Latency().Round(time.Millisecond) != want {
					t.Errorf("%v: endpoint %d: Failures, InFlight, Latency = %d, %d, %v; want 0, 0, %v", st, i, n.Failures(), n.InFlight(), n.Latency(), want)
				}
			}
		})
	}
}

// When it goes elsewhere, and how often.
func TestWhenAnAttemptGoesElsewhere(t *testing.T) {
	sent := &backstay.Error{Class: backstay.Transient, Type: "not_connected", Err: errors.New("lost")}
	twenty := slices.Repeat([]error{errUnconnected}, 20)
	for _, row := range []struct {
		name      string
		endpoints int
		none      []int // the endpoints that are known not to be connected
		results   []error
		attempts  int
		failures  int // of the endpoint of the last
		err       error
	}{
		{"all in turn", 3, nil, twenty, 3, 0, errUnconnected},
		{"one endpoint", 1, nil, twenty, 1, 0, errUnconnected},
		{"the others are not connected", 3, []int{1, 2}, twenty, 1, 0, errUnconnected},
		{"many", 20, nil, twenty, 9, 0, errUnconnected},
		{"sent", 3, nil, []error{sent}, 1, 1, sent},
		{"not sent for another reason", 3, nil, []error{errAway}, 1, 1, errAway},
		{"then a failure", 3, nil, []error{errUnconnected, errDown}, 2, 1, errDown},
		{"then a no", 3, nil, []error{errUnconnected, errNo}, 2, 0, errNo},
	} {
		t.Run(row.name, func(t *testing.T) {
			addresses := addressesOf(row.endpoints)
			in(t, loadbalance.Custom("first", firstOf), unejecting, addresses, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				c := connections{map[string]bool{}}
				for _, i := range row.none {
					c.none[addresses[i]] = true
				}
				v := visits{results: row.results}
				err := v.under(b, &c)(t.Context())
				if !errors.Is(err, row.err) || len(v.to) != row.attempts {
					t.Fatalf("the call = %v after attempts at %v, want %v after %d", err, v.to, row.err, row.attempts)
				}
				if n := node(t, b, v.to[len(v.to)-1]); n.Failures() != row.failures {
					t.Errorf("Failures() of the last endpoint = %d, want %d", n.Failures(), row.failures)
				}
				for _, n := range b.Nodes() {
					if n.InFlight() != 0 {
						t.Errorf("InFlight() of %s = %d, want 0", n.Address(), n.InFlight())
					}
				}
			})
		})
	}
}

func firstOf(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
	return among[0]
}

// Where nothing in the stack knows connections, which a breaker does not, such
// an error is a failure like any other.
func TestWithoutConnectionsAnAttemptStays(t *testing.T) {
	for name, below := range map[string][]backstay.Middleware{"nothing": nil, "a breaker": {breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)}} {
		in(t, loadbalance.RoundRobin(), unejecting, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
			v := visits{results: []error{errUnconnected}}
			err := v.under(append([]backstay.Middleware{b}, below...)...)(t.Context())
			if !errors.Is(err, errUnconnected) || len(v.to) != 1 || node(t, b, v.to[0]).Failures() != 1 {
				t.Errorf("over %s the call = %v after attempts at %v, want %v after one that counts as a failure", name, err, v.to, errUnconnected)
			}
		})
	}
}

// A caller that is gone needs no other endpoint.
func TestAttemptOfACallerThatIsGoneDoesNotGoElsewhere(t *testing.T) {
	in(t, loadbalance.RoundRobin(), unejecting, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		v := visits{results: []error{errUnconnected}, wait: time.Second}
		if err := v.under(b, new(connections))(ctx); !errors.Is(err, errUnconnected) || len(v.to) != 1 {
			t.Errorf("the call = %v after attempts at %v, want %v after one", err, v.to, errUnconnected)
		}
	})
}

// With retry above: the attempts that came to nothing are one to it, and the
// next goes to what is left, at once.
//
// L-23, H-45
func TestRetryAboveAttemptsWithoutAConnection(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		for _, row := range []struct {
			results  []error
			attempts string
			err      error
		}{
			{[]error{errUnconnected, errDown, nil}, "[1 1 2]", nil},
			{[]error{errDown, errUnconnected, nil}, "[1 2 2]", nil},
			{[]error{errUnconnected, errDown, errUnconnected, nil}, "[1 1 2 2]", nil},
			{[]error{errUnconnected, errDown, errUnconnected, errDown}, "[1 1 2 2]", errDown},
		} {
			v := visits{results: row.results}
			began := time.Now()
			err := v.under(retry.New(retry.Config{MaxAttempts: 2, NoBudget: true}), b, new(connections))(t.Context())
			if !errors.Is(err, row.err) || fmt.Sprint(v.attempts) != row.attempts {
				t.Errorf("with %v the call = %v after attempts %v, want %v after %s", row.results, err, v.attempts, row.err, row.attempts)
			}
			if slices.Sort(v.to); len(slices.Compact(v.to)) != len(v.attempts) {
				t.Errorf("with %v the attempts went to %v, want another endpoint each time", row.results, v.to)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("with %v the call took %v, want no pause", row.results, took)
			}
		}
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("InFlight() of %s = %d, want 0", n.Address(), n.InFlight())
			}
		}
	})
}

// Where those that are left to the last attempt of a call are not connected, it
// goes where an earlier one was, for that works.
//
// L-23, G-11
func TestAttemptWithoutAConnectionGoesBack(t *testing.T) {
	for _, st := range strategies {
		in(t, st, unejecting, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
			for _, row := range []struct {
				results  []error
				attempts string
				err      error
			}{
				{[]error{errDown, errUnconnected, nil}, "[1 2 2]", nil},
				{[]error{errDown, errUnconnected, errDown}, "[1 2 2]", errDown},
				{[]error{errDown, errUnconnected, errUnconnected}, "[1 2 2]", errUnconnected},
			} {
				v := visits{results: row.results}
				err := v.under(retry.New(retry.Config{MaxAttempts: 2, NoBudget: true}), b, new(connections))(t.Context())
				if !errors.Is(err, row.err) || fmt.Sprint(v.attempts) != row.attempts || v.to[0] == v.to[1] || v.to[2] != v.to[0] {
					t.Errorf("%v with %v: the call = %v after attempts %v at %v, want %v after %s, the last where the first was",
						st, row.results, err, v.attempts, v.to, row.err, row.attempts)
				}
			}
		})
	}
}

// Those beneath are told the end of an attempt when it has come, those above the
// end of the call, and the answer has the time of the last attempt.
func TestAttemptThatGoesElsewhereHasEnded(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		var log []string
		registers := func(name string) backstay.Middleware {
			return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
				return func(ctx context.Context, call *backstay.Call) error {
					began := call.Began()
					call.OnDone(func(err error) { log = append(log, fmt.Sprintf("%s done: %v", name, err)) })
					err := next(ctx, call)
					log = append(log, fmt.Sprintf("%s: %v after %v", name, err, (call.Ended()-began).Round(time.Millisecond)))
					return err
				}
			})
		}
		v := visits{results: []error{errUnconnected}, wait: time.Second}
		call := v.under(registers("above"), b, registers("beneath"), new(connections))
		if err := call(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"beneath: not connected after 1s", "beneath done: not connected",
			"beneath: <nil> after 10ms", "above: <nil> after 1.01s",
			"beneath done: <nil>", "above done: <nil>",
		}
		if !slices.Equal(log, want) {
			t.Errorf("what the stack saw = %q, want %q", log, want)
		}
	})
}

// What a limiter beneath turns away says nothing about the endpoint, though an
// attempt of the call was sent before.
//
// L-18
func TestRejectionAfterAnAttemptWithoutAConnection(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		n := 0
		limit := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				if n++; n > 1 {
					return errBusy
				}
				return next(ctx, call)
			}
		})
		v := visits{results: []error{errUnconnected}}
		if err := v.under(b, limit, new(connections))(t.Context()); !errors.Is(err, errBusy) {
			t.Errorf("the call = %v, want %v", err, errBusy)
		}
		for _, n := range b.Nodes() {
			if n.Failures() != 0 {
				t.Errorf("Failures() of %s = %d, want 0", n.Address(), n.Failures())
			}
		}
	})
}

// Every result and request is given back once, and what cannot be sent again is
// not.
func TestRequestsAndResultsOfAttemptsThatGoElsewhere(t *testing.T) {
	for _, row := range []struct {
		name   string
		copies int // that can be made
		sent   []int
	}{{"can be sent again", 10, []int{1, 2}}, {"cannot", 1, []int{1}}} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				copies := 0
				var sent, discarded []int
				call := backstay.Bind(backstay.New(b, new(connections)), backstay.Op[int, int]{
					Copy: func(int) (int, error) {
						if copies++; copies > row.copies {
							return 0, errors.New("used up")
						}
						return copies, nil
					},
					Do: func(_ context.Context, _ *backstay.Call, req int) (int, error) {
						sent = append(sent, req)
						return req, nil
					},
					Check: func(resp int) error {
						if resp == 1 {
							return errUnconnected
						}
						return nil
					},
					Discard: func(resp int) { discarded = append(discarded, resp) },
				})
				resp, err := call(t.Context(), 0)
				want := row.sent[len(row.sent)-1] // a result that Check called a failure is one all the same
				if err != nil || resp != want || !slices.Equal(sent, row.sent) || !slices.Equal(discarded, row.sent[:len(row.sent)-1]) {
					t.Errorf("the call = %d, %v, sent %v, discarded %v; want %d, nil, %v, all but the last", resp, err, sent, discarded, want, row.sent)
				}
			})
		})
	}
}

// A panic at the second endpoint ends all there is.
//
// L-9
func TestPanicOfAnAttemptThatWentElsewhere(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		var done []error
		n := 0
		registers := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.OnDone(func(err error) { done = append(done, err) })
				if n++; n > 1 {
					panic("second")
				}
				return next(ctx, call)
			}
		})
		v := visits{results: []error{errUnconnected}}
		func() {
			defer func() { _ = recover() }()
			_ = v.under(b, registers, new(connections))(t.Context())
		}()
		if len(done) != 2 || !errors.Is(done[0], errUnconnected) || !errors.Is(done[1], backstay.ErrPanicked) {
			t.Errorf("OnDone functions were given %v, want the first failure and ErrPanicked", done)
		}
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("InFlight() of %s = %d, want 0", n.Address(), n.InFlight())
			}
		}
	})
}

// The probe of an endpoint without a connection is given back.
//
// L-18
func TestProbeWithoutAConnection(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		sicken(t, b, "a")
		pass(6 * time.Second)
		s.becomes("a", is(errUnconnected))
		call := s.under(b, new(connections))
		for range 2 {
			probed(t, s, "a", func(ctx context.Context) error {
				err := call(ctx)
				if err != nil {
					t.Errorf("a call = %v, want it to go elsewhere", err)
				}
				return err
			})
			if got := state(b, "a"); got != loadbalance.Probing {
				t.Errorf("State() of a = %v, want probing", got)
			}
		}
	})
}

// A strict key has one endpoint, which is not asked again at once.
//
// L-16
func TestAttemptWithoutAConnectionWhoseKeyHasNoOtherEndpointIsMadeOnce(t *testing.T) {
	strict := loadbalance.Hash(loadbalance.HashConfig{Key: func(context.Context, *backstay.Call) string { return "k" }, Strict: true})
	in(t, strict, loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
		v := visits{results: slices.Repeat([]error{errUnconnected}, 20)}
		if err := v.under(b, new(connections))(t.Context()); !errors.Is(err, errUnconnected) || len(v.to) != 1 {
			t.Errorf("a call whose only endpoint is not connected = %v after attempts at %v, want the error after 1", err, v.to)
		}
	})
}
