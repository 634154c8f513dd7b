package backstay_test

import (
	"context"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// What a call costs where nothing goes wrong, and where a breaker turns it away.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("calls are not reused under the race detector")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	again, limit := retry.New(retry.Config{}), timeout.Call(time.Second)
	closed, open := breaker.New(breaker.Config{}), breaker.New(breaker.Config{})
	open.ForceOpen()
	twice := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		for range 2 {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			_ = next(ctx, f)
			call.Adopt(f)
		}
		return nil
	})
	rows := []struct {
		name  string
		stack []backstay.Middleware
		want  float64
	}{
		{"none", nil, 0},
		{"retry", []backstay.Middleware{again}, 0},
		{"breaker", []backstay.Middleware{closed}, 0},
		{"retry+breaker", []backstay.Middleware{again, closed}, 0},
		{"retry+breaker+timeout", []backstay.Middleware{limit, again, closed}, 1},
		{"reject", []backstay.Middleware{open}, 0},
		{"forks that are adopted", []backstay.Middleware{twice}, 0},
	}
	one := func(ctx context.Context) (int, error) { return noop(ctx, 1) }
	for _, r := range rows {
		p := backstay.New(r.stack...)
		wrapped := backstay.Wrap(p, "op", noop)
		bound := backstay.Bind(p, backstay.Op[int, int]{Do: func(ctx context.Context, _ *backstay.Call, n int) (int, error) { return n, nil }})
		for how, f := range map[string]func(){
			"Do":   func() { _, _ = backstay.Do(ctx, p, "op", one) },
			"Wrap": func() { _, _ = wrapped(ctx, 1) },
			"Bind": func() { _, _ = bound(ctx, 1) },
		} {
			if got := testing.AllocsPerRun(1000, f); got != r.want {
				t.Errorf("%s under %s allocates %v times, want %v", how, r.name, got, r.want)
			}
		}
	}
}
