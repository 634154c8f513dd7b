package loadbalance_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// The first answer to a stream may come when something happens: a late one is no
// latency, nor is it one how long a caller has listened in vain.
//
// L-2, L-9
func TestWhatAStreamSaysOfItsEndpoint(t *testing.T) {
	const ms, hour = time.Millisecond, time.Hour
	quiet := &backstay.Error{Err: context.DeadlineExceeded, Class: backstay.Canceled}
	for _, row := range []struct {
		name     string
		limit    time.Duration // of the caller, 0 for none
		after    time.Duration
		err      error
		latency  time.Duration
		failures int
	}{
		{"an answer", 0, 90 * ms, nil, 90 * ms, 0},
		{"an answer when something happens", 0, hour, nil, 0, 0},
		{"a no when something happens", 0, hour, errNo, 0, 0},
		{"a caller who goes", 0, hour, context.Canceled, 0, 0},
		{"a caller whose time is up, who is owed nothing", hour, hour, quiet, 0, 0},
		{"a caller whose time is up", hour, hour, context.DeadlineExceeded, 2000 * ms, 1},
		{"a failure", 0, 90 * ms, errDown, 2000 * ms, 1},
		{"a late failure", 0, hour, errDown, 2000 * ms, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				n := b.Nodes()[0]
				call := backstay.Bind(backstay.New(b), backstay.Op[kind, int]{Do: func(context.Context, *backstay.Call, kind) (int, error) {
					if n.InFlight() != 1 || n.Waiting() != 0 {
						t.Errorf("InFlight, Waiting of a stream = %d, %d; want 1, 0", n.InFlight(), n.Waiting())
					}
					pass(row.after)
					return 0, row.err
				}})
				ctx, cancel := context.WithCancel(t.Context())
				if row.limit > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), row.limit)
				}
				defer cancel()
				_, _ = call(ctx, stream)
				if got := n.Latency().Round(ms); got != row.latency || n.Failures() != row.failures || n.InFlight() != 0 {
					t.Errorf("Latency, Failures, InFlight = %v, %d, %d; want %v, %d, 0", got, n.Failures(), n.InFlight(), row.latency, row.failures)
				}
			})
		})
	}
}

// Streams whose answers are no latencies leave averages alone, which fade, and
// faded ones cannot be compared with others.
//
// L-2
func TestStreamsAreSharedThoughNothingIsKnownOfLatency(t *testing.T) {
	for _, row := range []struct {
		name  string
		apart time.Duration // the latencies that were observed last
		then  time.Duration // since then
		every time.Duration // a stream begins
		late  string        // an endpoint that comes then
	}{
		{"long after each other", 20 * time.Second, 0, 50 * time.Millisecond, ""},
		{"seldom", 20 * time.Second, 0, time.Minute, ""},
		{"long after all", 0, 10 * time.Minute, 2 * time.Second, ""},
		{"a new endpoint", 0, 10 * time.Minute, 2 * time.Second, "d"},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, _ *service) {
				d := b.Desk(nil)
				for _, address := range b.Addresses() {
					l := leaseOf(t, t.Context(), d, address)
					pass(time.Millisecond)
					l.End(nil)
					pass(row.apart)
				}
				pass(row.then)
				if row.late != "" {
					if err := b.Update(loadbalance.Endpoints(append(b.Addresses(), row.late)...)...); err != nil {
						t.Fatal(err)
					}
					pass(time.Minute) // its slow start
				}
				got := map[string]int{}
				for range 300 {
					l := mustLease(t, as(t.Context(), stream), d)
					got[l.Address()]++
					defer l.End(nil)
					time.AfterFunc(2*time.Second, l.Answered)
					pass(row.every)
				}
				pass(time.Minute)
				for _, n := range b.Nodes() {
					if share := 300 / len(b.Nodes()); got[n.Address()] < share*3/4 || got[n.Address()] > share*5/4 {
						t.Errorf("%s has %d of 300 streams, want about %d", n.Address(), got[n.Address()], share)
					}
				}
			})
		})
	}
}
