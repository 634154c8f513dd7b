package stopped_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/stopped"
)

// timedOut is an error like those of package net.
type timedOut bool

func (t timedOut) Error() string { return "i/o timeout" }
func (t timedOut) Timeout() bool { return bool(t) }

func TestSays(t *testing.T) {
	for _, row := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("connection refused"), false},
		{context.Canceled, true},
		{context.DeadlineExceeded, true},
		{os.ErrDeadlineExceeded, true},
		{fmt.Errorf("get: %w", context.DeadlineExceeded), true},
		{errors.Join(errors.New("closing"), context.Canceled), true},
		{timedOut(true), true},
		{timedOut(false), false},
		{&net.OpError{Op: "read", Err: timedOut(true)}, true},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, false},
		{&backstay.Error{Class: backstay.Transient, Err: errors.New("503")}, false},
	} {
		if got := stopped.Says(row.err); got != row.want {
			t.Errorf("Says(%v) = %v, want %v", row.err, got, row.want)
		}
	}
}

// limit is the cause of a context like that of a timeout.Call.
type limit time.Duration

func (l limit) Error() string          { return "limit" }
func (l limit) Allowed() time.Duration { return time.Duration(l) }

func TestEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			name  string
			cause error // of the context's end; nil for none of its own
			want  time.Duration
		}{
			{"a deadline of the caller", nil, time.Second},
			{"a limit of the policy", limit(100 * time.Millisecond), 50 * time.Millisecond},
			{"a limit whose half is long", limit(time.Minute), time.Second},
			{"a cause without a limit", limit(0), time.Second},
			{"another cause", errors.New("shutting down"), time.Second},
		} {
			ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(time.Millisecond), row.cause)
			<-ctx.Done()
			if got := stopped.Enough(ctx, time.Second); got != row.want {
				t.Errorf("%s: Enough(ctx, 1s) = %v, want %v", row.name, got, row.want)
			}
			cancel()
		}
		if got := stopped.Enough(t.Context(), time.Second); got != time.Second {
			t.Errorf("Enough(a context that goes on, 1s) = %v, want 1s", got)
		}
	})
}
