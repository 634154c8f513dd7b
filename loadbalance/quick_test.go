package loadbalance_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// What answers at once because it does nothing, or does not answer in the time
// that callers give it, draws no calls.
//
// L-2, L-3
func TestDoingNothingDrawsNoCalls(t *testing.T) {
	for _, row := range []struct {
		name  string
		first act
		most  int // of 2000 calls, of which 400 are fair
	}{
		{"not found", is(&backstay.Error{Err: errDown, Class: backstay.Permanent}), 1200},
		{"panic", func(context.Context) error { panic("in the attempt") }, 100},
		{"no answer within the caller's deadline", forever, 100},
	} {
		t.Run(row.name, func(t *testing.T) {
			in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, []string{"a", "b", "c", "d", "e"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
				for _, a := range b.Addresses() {
					s.becomes(a, after(10*time.Millisecond, nil))
				}
				s.becomes("a", row.first)
				call := s.under(b)
				for range 2000 {
					func() {
						defer func() { _ = recover() }()
						ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
						defer cancel()
						_ = call(ctx)
					}()
				}
				if n := s.had("a"); n > row.most {
					t.Errorf("it had %d of 2000 calls, want %d at most", n, row.most)
				}
			})
		})
	}
}

// L-18
func TestSilentEndpointIsEjectedWhateverCallersAllow(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c", "d", "e"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		for _, a := range b.Addresses() {
			s.becomes(a, after(10*time.Millisecond, nil))
		}
		s.becomes("a", forever)
		call := s.under(b)
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_ = call(ctx)
			cancel()
		}
		if n := s.had("a"); n > 50 {
			t.Errorf("an endpoint that never answers had %d of 1000 calls of callers who wait for 300 ms, want 50 at most", n)
		}
	})
}
