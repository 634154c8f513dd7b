package loadbalance_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay/loadbalance"
)

// L-3
func TestFailingFastDrawsNoCallsWhereNoMoreMayBeEjected(t *testing.T) {
	in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, []string{"a", "b", "c", "d", "e"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		call := s.under(b)
		load := func() { // 1000 calls a second, for 2 seconds
			var all sync.WaitGroup
			for range 2000 {
				<-time.After(time.Millisecond)
				all.Go(func() { _ = call(context.Background()) })
			}
			all.Wait()
		}
		for _, address := range []string{"a", "b", "c", "d", "e"} {
			s.becomes(address, after(20*time.Millisecond, nil))
		}
		load()
		sicken(t, b, "a")
		sicken(t, b, "b")
		s.becomes("c", after(100*time.Microsecond, errDown))
		s.count()
		load()
		if n := s.had("c"); n > 10 {
			t.Errorf("an endpoint that fails had %d of 2000 calls while no more could be ejected, want 10 at most", n)
		}
	})
}

// unejecting ejects nobody.
var unejecting = loadbalance.HealthConfig{ConsecutiveFailures: never, FailureRate: never}

// A failure at once is an answer after 2 s, in the average over 3 s as any
// other: of one after a second without answers that is 1-exp(-1/3) of the 2 s.
//
// L-3
func TestAFailureCountsAs2Seconds(t *testing.T) {
	const ms = time.Millisecond
	for _, row := range []struct {
		name        string
		good, bad   int // calls, one every 10 ms
		pause       time.Duration
		fails       act
		least, most time.Duration
	}{
		{"the first", 0, 1, 0, is(errDown), 2000 * ms, 2000 * ms},
		{"the first, throttled", 0, 1, 0, is(errBusy), 2000 * ms, 2000 * ms},
		{"the first, slow", 0, 1, 0, after(5*time.Second, errDown), 5000 * ms, 5000 * ms},
		{"all for 20 s", 100, 2000, 0, is(errDown), 1980 * ms, 2000 * ms},
		{"all for 3 s", 100, 300, 0, is(errDown), 1200 * ms, 1320 * ms},
		{"one after a second", 100, 1, time.Second, is(errDown), 540 * ms, 580 * ms},
		{"one in 10 ms", 100, 1, 0, is(errDown), 6 * ms, 8 * ms},
	} {
		in(t, loadbalance.PeakEWMA(), unejecting, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
			call := s.under(b)
			load := func(n int) {
				for range n {
					<-time.After(10 * ms)
					_ = call(t.Context())
				}
			}
			load(row.good)
			<-time.After(row.pause)
			s.becomes("a", row.fails)
			load(row.bad)
			if got := b.Nodes()[0].Latency().Round(ms); got < row.least || got > row.most {
				t.Errorf("%s: Latency() = %v, want %v to %v", row.name, got, row.least, row.most)
			}
		})
	}
}

// L-3
func TestFailingFastDrawsNoCallsWhereNoneIsEjected(t *testing.T) {
	for _, others := range []time.Duration{time.Millisecond, 20 * time.Millisecond} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), unejecting, []string{"a", "b", "c", "d"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				for _, address := range b.Addresses() {
					s.becomes(address, after(others, nil))
				}
				s.becomes("a", is(errDown))
				call := s.under(b)
				var all sync.WaitGroup
				for range 2000 {
					<-time.After(time.Millisecond)
					all.Go(func() { _ = call(context.Background()) })
				}
				all.Wait()
				if n := s.had("a"); n > 40 {
					t.Errorf("an endpoint that fails at once had %d of 2000 calls, want 40 at most", n)
				}
			})
		})
	}
}

// A caller that has waited longer than calls take knows that this one would
// have taken longer still; one that has not knows nothing.
//
// L-2
func TestWhoGivesUpTellsHowLongHeHasWaited(t *testing.T) {
	for _, row := range []struct {
		patience    time.Duration
		least, most time.Duration
	}{
		{5 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{500 * time.Millisecond, 70 * time.Millisecond, 90 * time.Millisecond},
		{3 * time.Second, 1700 * time.Millisecond, 2000 * time.Millisecond},
	} {
		in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, []string{"a"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
			call := s.under(b)
			s.becomes("a", after(10*time.Millisecond, nil))
			repeat(t.Context(), 100, call)
			s.becomes("a", forever)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(row.patience, cancel)
			_ = call(ctx)
			n := b.Nodes()[0]
			if got := n.Latency().Round(time.Millisecond); got < row.least || got > row.most || n.Failures() != 0 {
				t.Errorf("Latency(), Failures() after a call given up after %v = %v, %d; want %v to %v, 0", row.patience, got, n.Failures(), row.least, row.most)
			}
		})
	}
}
