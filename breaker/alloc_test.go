package breaker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
)

// B-19
func TestNoAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	tripped := breaker.New(breaker.Config{ConsecutiveFailures: 1, Cooldown: time.Hour})
	trip(t, tripped)
	group := breaker.NewGroup(breaker.Config{Window: time.Hour}, breaker.ByOp)
	limited, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for _, row := range []struct {
		name string
		b    backstay.Middleware
		ctx  context.Context
	}{
		{"closed", breaker.New(breaker.Config{Window: time.Hour}), t.Context()},
		{"closed, with a deadline", breaker.New(breaker.Config{Window: time.Hour}), limited},
		{"closed, of the last calls", breaker.New(breaker.Config{Last: 100}), t.Context()},
		{"closed, telling slow calls", breaker.New(breaker.Config{SlowAfter: time.Hour, Window: time.Hour}), t.Context()},
		{"a group's", group, t.Context()},
		{"forced open", open, t.Context()},
		{"open", tripped, t.Context()},
	} {
		do := backstay.Wrap(backstay.New(row.b), "op", func(context.Context, int) (int, error) { return 0, nil })
		if got := testing.AllocsPerRun(1000, func() { _, _ = do(row.ctx, 1) }); got != 0 {
			t.Errorf("a call under a breaker that is %s allocates %v times, want 0", row.name, got)
		}
	}
	if got := testing.AllocsPerRun(1000, func() { _, _ = tripped.Allow() }); got != 0 {
		t.Errorf("Allow() of an open breaker allocates %v times, want 0", got)
	}
	if _, err := tripped.Allow(); !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("Allow() = %v, want breaker.ErrOpen", err)
	}
}
