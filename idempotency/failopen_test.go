package idempotency

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// I-19, I-20: work that is done without protection is not broken off either.
func TestUnprotectedWorkGoesOnWhenTheCallerHasGone(t *testing.T) {
	for name, leaves := range map[string]time.Duration{"before": 0, "during the work": s} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{FailOpen: true}, always("Claim", fails))
				ctx, cancel := context.WithTimeout(t.Context(), leaves)
				defer cancel()
				var ended error
				record, _, err := p.do(ctx, func(ctx context.Context) Result {
					<-time.After(20 * s)
					ended = ctx.Err()
					return tea(ctx)
				})
				if record != "tea" || err != nil || ended != nil {
					t.Errorf("Do = %q, %v, and the work's context is %v, want the record and a context that goes on", record, err, ended)
				}
				wantWorks(t, 1, p)
			})
		})
	}
}

// I-19, I-20
func TestTheContextOfUnprotectedWorkEndsAfterTheTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, 7 * s: 7 * s} {
		synctest.Test(t, func(t *testing.T) {
			p := newProcess(t, GuardConfig{FailOpen: true, Timeout: timeout}, always("Claim", fails))
			_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
				took := lasts(func() {
					select {
					case <-ctx.Done():
					case <-time.After(time.Hour):
					}
				})
				if took != want || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					t.Errorf("Timeout %v: the work's context ended after %v: %v, want %v: %v", timeout, took, context.Cause(ctx), want, context.DeadlineExceeded)
				}
				return tea(ctx)
			})
			if err != nil {
				t.Errorf("Do = %v, want what the work came to", err)
			}
		})
	}
}
