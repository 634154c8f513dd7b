package loadbalance_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// BenchmarkCall measures whole calls through a balancer, of a function that
// does nothing, beside a bare context.WithTimeout.
func BenchmarkCall(b *testing.B) {
	addresses := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
	b.Run("context.WithTimeout", func(b *testing.B) {
		for b.Loop() {
			_, cancel := context.WithTimeout(b.Context(), time.Second)
			cancel()
		}
	})
	fn := func(context.Context) (int, error) { return 0, nil }
	for _, row := range []struct {
		name   string
		policy *backstay.Policy
	}{
		{"nothing", backstay.New()},
		{"RoundRobin", backstay.New(loadbalance.New(loadbalance.RoundRobin(), addresses...))},
		{"LeastConnections", backstay.New(loadbalance.New(loadbalance.LeastConnections(), addresses...))},
		{"PeakEWMA", backstay.New(loadbalance.New(loadbalance.PeakEWMA(), addresses...))},
		{"retry,PeakEWMA,breaker,timeouts", backstay.New(
			timeout.Call(2*time.Second), retry.New(retry.Config{}), loadbalance.New(loadbalance.PeakEWMA(), addresses...),
			breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint), timeout.Attempt(time.Second))},
		{"retry,breaker,timeouts", backstay.New(
			timeout.Call(2*time.Second), retry.New(retry.Config{}),
			breaker.New(breaker.Config{}), timeout.Attempt(time.Second))},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			do := backstay.Wrap(row.policy, "get", func(ctx context.Context, _ int) (int, error) { return fn(ctx) })
			for b.Loop() {
				_, _ = do(b.Context(), 0)
			}
		})
	}
}

// BenchmarkDesk measures whole calls that pick at a desk and end the lease,
// without and with a look at which endpoints are connected. "nothing" in
// BenchmarkCall is the call alone.
func BenchmarkDesk(b *testing.B) {
	for _, n := range []int{3, 100} {
		addresses := addressesOf(n)
		for _, row := range []struct {
			name   string
			blocks func(string) bool
		}{{"PeakEWMA", nil}, {"PeakEWMA,blocks", func(address string) bool { return address == addresses[0] }}} {
			b.Run(fmt.Sprintf("%s/n=%d", row.name, n), func(b *testing.B) {
				b.ReportAllocs()
				d := loadbalance.New(loadbalance.PeakEWMA(), addresses...).Desk(row.blocks)
				for b.Loop() {
					_ = pickAndEnd(b.Context(), d)
				}
			})
		}
	}
}
