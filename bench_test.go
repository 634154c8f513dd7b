package backstay_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

func noop(ctx context.Context, n int) (int, error) { return n, nil }

func BenchmarkCall(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	run := func(name string, f func(context.Context, int) (int, error)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f(ctx, 1)
			}
		})
	}
	run("context.WithTimeout", func(ctx context.Context, n int) (int, error) {
		c, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return noop(c, n)
	})
	run("none", backstay.Wrap(nil, "op", noop))
	retries := retry.New(retry.Config{})
	limit := timeout.Call(time.Second)
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	run("retry", backstay.Wrap(backstay.New(retries), "op", noop))
	run("breaker", backstay.Wrap(backstay.New(breaker.New(breaker.Config{})), "op", noop))
	run("retry+breaker", backstay.Wrap(backstay.New(retries, breaker.New(breaker.Config{})), "op", noop))
	run("retry+breaker+timeout", backstay.Wrap(backstay.New(limit, retries, breaker.New(breaker.Config{})), "op", noop))
	run("reject", backstay.Wrap(backstay.New(open), "op", noop))
	run("context.WithTimeout,done", func(ctx context.Context, n int) (int, error) {
		c, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return done(c, n)
	})
	run("retry+breaker+timeout,done", backstay.Wrap(backstay.New(limit, retries, breaker.New(breaker.Config{})), "op", done))
}

func done(ctx context.Context, n int) (int, error) {
	_ = ctx.Done()
	return n, nil
}
