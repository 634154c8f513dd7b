package deadline

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLastingIsWhatStoppingLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		after := func(d time.Duration) time.Time { return now.Add(d) }
		stoppable := func(parent context.Context, d time.Duration) context.Context {
			s := NewStoppable(parent, after(d), errors.New("late"))
			t.Cleanup(s.Finish)
			return s
		}
		with := func(parent context.Context, d time.Duration) context.Context {
			c, cancel := context.WithDeadline(parent, after(d))
			t.Cleanup(cancel)
			return c
		}
		none := context.Background()
		for name, row := range map[string]struct {
			ctx  context.Context
			want time.Duration // 0 for none
		}{
			"none":                    {none, 0},
			"of the standard library": {with(none, 3*time.Second), 3 * time.Second},
			"stoppable":               {stoppable(none, time.Second), 0},
			"under a longer one":      {stoppable(with(none, 3*time.Second), time.Second), 3 * time.Second},
			"under a shorter one":     {stoppable(with(none, time.Second), 3*time.Second), time.Second},
			"above a shorter one":     {with(stoppable(none, 3*time.Second), time.Second), time.Second},
			"two":                     {stoppable(stoppable(with(none, 3*time.Second), 2*time.Second), time.Second), 3 * time.Second},
			"beneath a value":         {context.WithValue(stoppable(with(none, 3*time.Second), time.Second), key{}, 1), 3 * time.Second},
		} {
			at, ok := Lasting(row.ctx)
			if ok != (row.want != 0) || ok && !at.Equal(after(row.want)) {
				t.Errorf("Lasting(%s) = %v, %v, want %v", name, at.Sub(now), ok, row.want)
			}
		}
	})
}
