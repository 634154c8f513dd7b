package loadbalance_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay/loadbalance"
)

// L-2
func TestPeakEWMATriesWhatItDoesNotKnow(t *testing.T) {
	for _, row := range []struct {
		name  string
		first act // of the endpoint that is known already
	}{
		{"beside one that is slow", after(100*time.Millisecond, nil)},
		{"beside one that fails", after(time.Millisecond, errDown)},
		{"beside one that is as fast", after(5*time.Millisecond, nil)},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{SlowStart: never}, []string{"first", "well"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				s.becomes("first", row.first)
				s.becomes("well", after(5*time.Millisecond, nil))
				call := s.under(b)
				repeat(t.Context(), 2, call)
				if err := b.Update(loadbalance.Endpoints("first", "well", "new")...); err != nil {
					t.Fatal(err)
				}
				s.becomes("new", after(5*time.Millisecond, nil))
				repeat(t.Context(), 3, call)
				if n := s.had("new"); n == 0 {
					t.Errorf("of the 3 calls after an endpoint came it had none: %v", s.count())
				}
			})
		})
	}
}

// after returns err after d.
func after(d time.Duration, err error) act {
	return func(context.Context) error {
		<-time.After(d)
		return err
	}
}
