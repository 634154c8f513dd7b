package loadbalance_test

import (
	"context"
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
