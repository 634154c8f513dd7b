package backstay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

type intFunc = func(context.Context, int) (int, error)

// noop is the function of the benchmarks; done is one that wants to know when
// to stop, which starts the timer.
func noop(_ context.Context, n int) (int, error) { return n, nil }

func done(ctx context.Context, n int) (int, error) {
	_ = ctx.Done()
	return n, nil
}

// withTimeout is what the costs are compared with: the smallest thing that
// anybody does to make a call survive.
func withTimeout(fn intFunc) intFunc {
	return func(ctx context.Context, n int) (int, error) {
		c, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return fn(c, n)
	}
}

// A cost is a call to measure, and the most it may cost, as a share of another.
type cost struct {
	name string
	call intFunc
	most float64
	of   string
}

func costs() []cost {
	wrap := func(fn intFunc, stack ...backstay.Middleware) intFunc {
		return backstay.Wrap(backstay.New(stack...), "op", fn)
	}
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	closed := func() backstay.Middleware { return breaker.New(breaker.Config{}) }
	again := func() backstay.Middleware { return retry.New(retry.Config{}) }
	limit := timeout.Call(time.Second)
	const unit, unitDone = "context.WithTimeout", "context.WithTimeout,done"
	return []cost{
		{unit, withTimeout(noop), 1, unit},
		{"retry", wrap(noop, again()), 0.095, unit},
		{"breaker", wrap(noop, closed()), 0.13, unit},
		{"retry+breaker", wrap(noop, again(), closed()), 0.16, unit},
		{"retry+breaker+timeout", wrap(noop, limit, again(), closed()), 0.5, unit},
		{"reject", wrap(noop, open), 0.085, unit},
		{unitDone, withTimeout(done), 1, unitDone},
		{"retry+breaker+timeout,done", wrap(done, limit, again(), closed()), 1.5, unitDone},
	}
}

// BenchmarkCall measures what a policy adds to a call in which nothing happens.
// Its unit is context.WithTimeout.
func BenchmarkCall(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range costs() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.call(ctx, 1)
			}
		})
	}
}

// BenchmarkCallParallel shows whether calls that succeed wait for one another:
// with a context for each goroutine nothing but the policy is shared.
func BenchmarkCallParallel(b *testing.B) {
	for _, c := range costs() {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				for pb.Next() {
					_, _ = c.call(ctx, 1)
				}
			})
		})
	}
}

// TestOverhead holds the costs to their bounds. The bounds are generous: they
// are there for the day on which a lock or an allocation slips in.
func TestOverhead(t *testing.T) {
	if race.Enabled || testing.CoverMode() != "" || testing.Short() {
		t.Skip("only the plain build is measured")
	}
	all := costs()
	var worst string
	for range 50 { // a busy machine may spoil many
		best := measure(all)
		worst = ""
		for _, c := range all {
			if share := best[c.name] / best[c.of]; share > c.most {
				worst = fmt.Sprintf("%s costs %.3f of %s, want at most %.3f", c.name, share, c.of, c.most)
			}
		}
		if worst == "" {
			return
		}
	}
	t.Errorf("in each of many runs something costs too much, in the last %s", worst)
}

// measure returns the least time that each call took, in turns, so that what
// slows the machine down slows all.
func measure(all []cost) map[string]float64 {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	best := map[string]float64{}
	for range 20 {
		for _, c := range all {
			const calls = 2000
			began := time.Now()
			for range calls {
				_, _ = c.call(ctx, 1)
			}
			took := float64(time.Since(began)) / calls
			if least, ok := best[c.name]; !ok || took < least {
				best[c.name] = took
			}
		}
	}
	return best
}
