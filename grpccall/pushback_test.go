package grpccall_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/retry"
)

// pushback returns the trailer of a server that sends these values.
func pushback(values ...string) metadata.MD {
	return metadata.MD{"grpc-retry-pushback-ms": values}
}

// G-6, G-7: the pauses of the backoff are 1s, 2s, 4s.
func TestAPushbackIsKeptToTheMillisecond(t *testing.T) {
	const s = time.Second
	bad := func(values ...string) step {
		st := step{code: codes.Unavailable}
		if len(values) > 0 {
			st.trailer = pushback(values...)
		}
		return st
	}
	throttled := step{code: codes.ResourceExhausted, trailer: pushback("700")}
	rows := []struct {
		what  string
		steps []step
		at    []time.Duration // of the attempts
	}{
		{"none", []step{bad()}, []time.Duration{0, s, 3 * s, 7 * s}},
		{"0", []step{bad("0")}, []time.Duration{0, 0, 0, 0}},
		{"one", []step{bad("1234")}, []time.Duration{0, 1234 * time.Millisecond, 2468 * time.Millisecond, 3702 * time.Millisecond}},
		{"one on RESOURCE_EXHAUSTED", []step{throttled, {}}, []time.Duration{0, 700 * time.Millisecond}},
		{"leading zeros", []step{bad("0100"), {}}, []time.Duration{0, 100 * time.Millisecond}},
		{"one after two pauses, which begin anew", []step{bad(), bad(), bad("10"), bad()}, []time.Duration{0, s, 3 * s, 3*s + 10*time.Millisecond}},
		{"one after a pause, and then pauses", []step{bad(), bad("10"), bad(), bad()}, []time.Duration{0, s, s + 10*time.Millisecond, 2*s + 10*time.Millisecond}},
		{"negative", []step{bad("-1")}, []time.Duration{0}},
		{"no number", []step{bad("xxx")}, []time.Duration{0}},
		{"empty", []step{bad("")}, []time.Duration{0}},
		{"a fraction", []step{bad("1.5")}, []time.Duration{0}},
		{"a unit", []step{bad("10ms")}, []time.Duration{0}},
		{"beyond an int64", []step{bad("9223372036854775808")}, []time.Duration{0}},
		{"beyond a time.Duration", []step{bad("18446744073710")}, []time.Duration{0}},
		{"beyond MaxRetryAfter", []step{bad("30001")}, []time.Duration{0}},
		{"several", []step{bad("100", "10")}, []time.Duration{0}},
		{"several that are one", []step{bad("10", "10")}, []time.Duration{0}},
		{"negative at last", []step{bad(), bad("-1")}, []time.Duration{0, s}},
		{"one on a code that is not tried again", []step{{code: codes.Internal, trailer: pushback("10")}}, []time.Duration{0}},
	}
	synctest.Test(t, func(t *testing.T) {
		p := backstay.New(retry.New(retry.Config{MaxAttempts: 4, Backoff: retry.Plain(s, time.Minute), NoBudget: true}))
		for _, row := range rows {
			c := &script{steps: row.steps}
			if err := c.call(t.Context(), p, ""); !slices.Equal(c.at, row.at) {
				t.Errorf("pushback, %s: %v after attempts at %v, want %v", row.what, err, c.at, row.at)
			}
		}
	})
}

// A pause that does not fit into the caller's time is not begun.
func TestAPushbackBeyondTheDeadlineEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := &script{steps: []step{{code: codes.Unavailable, trailer: pushback("1001")}}}
		began := time.Now()
		if err := s.call(ctx, again(), ""); status.Code(err) != codes.Unavailable || time.Since(began) != 0 || len(s.at) != 1 {
			t.Errorf("call of 1s with a pushback of 1001ms = %v after %v and %d attempts, want UNAVAILABLE at once after 1", err, time.Since(began), len(s.at))
		}
	})
}

// G-6: both kinds of stops count as throttle failures.
func TestAStopCostsTheBudgetARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, stop := range [][]string{{"-1"}, {"xxx"}, {"1", "2"}} {
			budget := retry.NewBudget(retry.BudgetConfig{PerSecond: 5, Ratio: -1})
			p := backstay.New(retry.New(retry.Config{Budget: budget}))
			s := &script{steps: []step{{code: codes.Unavailable, trailer: pushback(stop...)}}}
			if err := s.call(t.Context(), p, ""); len(s.at) != 1 || budget.Balance() != 4 {
				t.Errorf("pushback %q: %v after %d attempts with a balance of %v, want 1 and 4 of 5", stop, err, len(s.at), budget.Balance())
			}
		}
	})
}

// G-6, G-13: the same of a server, whose trailers the caller does not ask for.
func TestAPushbackOfAServerIsRead(t *testing.T) {
	rows := []struct {
		values []string
		want   int
	}{{nil, 3}, {[]string{"0"}, 3}, {[]string{"5"}, 3}, {[]string{"-1"}, 1}, {[]string{"xxx"}, 1}, {[]string{"100", "10"}, 1}}
	s := &server{}
	c := start(t, s, again(), grpccall.Config{})
	for _, row := range rows {
		s.get = sick(codes.Unavailable, pushback(row.values...))
		before := len(s.attempts())
		_, err := c.Get(limited(t), &pb.GetRequest{})
		if got := len(s.attempts()) - before; got != row.want || status.Code(err) != codes.Unavailable {
			t.Errorf("pushback %q of a server: Get = %v after %d attempts, want %d", row.values, err, got, row.want)
		}
	}
}
