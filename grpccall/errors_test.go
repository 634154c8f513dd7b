package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// rejecting returns a middleware that turns every call away.
func rejecting(err error) backstay.Middleware {
	return under(func(context.Context, *backstay.Call, backstay.Func) error { return err })
}

// G-15
func TestWhatThePolicyEndsWithHasAStatus(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), -time.Second)
	defer cancelLate()
	full := errors.New("limit: full")
	open := breaker.New(breaker.Config{Name: "orders"})
	open.ForceOpen()
	rows := []struct {
		what string
		ctx  context.Context
		m    backstay.Middleware
		code codes.Code
		is   error
	}{
		{"open breaker", t.Context(), open, codes.Unavailable, breaker.ErrOpen},
		{"limiter", t.Context(), rejecting(&backstay.Error{Err: full, Class: backstay.Throttled, NotSent: true, Type: "rate_limited"}), codes.ResourceExhausted, full},
		{"limiter that does not say that nothing was sent", t.Context(), rejecting(&backstay.Error{Err: full, Class: backstay.Throttled}), codes.ResourceExhausted, full},
		{"rejection that may pass", t.Context(), rejecting(&backstay.Error{Err: full, Class: backstay.Transient, NotSent: true}), codes.Unavailable, full},
		{"rejection for good", t.Context(), rejecting(&backstay.Error{Err: full, Class: backstay.Permanent, NotSent: true}), codes.FailedPrecondition, full},
		{"malformed key", idempotency.WithKey(t.Context(), "a\nb"), idempotency.Keys(idempotency.KeysConfig{Always: true}), codes.InvalidArgument, idempotency.ErrBadKey},
		{"plain error", t.Context(), rejecting(full), codes.Unknown, full},
		{"status of a middleware", t.Context(), rejecting(status.Error(codes.PermissionDenied, "no")), codes.PermissionDenied, nil},
		{"canceled context", ended, rejecting(context.Canceled), codes.Canceled, context.Canceled},
		{"wrapped end of a context", ended, rejecting(fmt.Errorf("waiting: %w", context.Canceled)), codes.Canceled, context.Canceled},
		{"context beyond its deadline", late, rejecting(context.DeadlineExceeded), codes.DeadlineExceeded, context.DeadlineExceeded},
		{"timeout", t.Context(), rejecting(&timeout.Error{Scope: "call", Limit: time.Second}), codes.DeadlineExceeded, context.DeadlineExceeded},
	}
	for _, row := range rows {
		for around, stack := range map[string][]backstay.Middleware{
			"": {row.m}, " under retry": {retry.New(retry.Config{Backoff: retry.NoPause()}), row.m},
		} {
			if p, ok := row.m.(backstay.Part); ok && p.Traits().PerCall && around != "" {
				continue
			}
			s := &script{steps: []step{{}}}
			err := s.call(row.ctx, backstay.New(stack...), "")
			for how, err := range map[string]error{"": err, ", wrapped": fmt.Errorf("placing the order: %w", err)} {
				if st, ok := status.FromError(err); !ok || st.Code() != row.code || row.is != nil && !errors.Is(err, row.is) || len(s.at) != 0 {
					t.Errorf("%s%s%s: error %v with status %v, %t, want %v", row.what, around, how, err, st, ok, row.code)
				}
			}
		}
	}
}

// The status of an attempt before is not that of the call.
//
// G-15
func TestARejectionAfterAnAttemptHasItsStatus(t *testing.T) {
	open := breaker.New(breaker.Config{Name: "orders", ConsecutiveFailures: 2})
	twice := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Attempt == 1 {
			return next(ctx, call)
		}
		one, _ := call.Fork()
		other, _ := call.Fork()
		one.Discard(next(ctx, one))
		err := next(ctx, other) // which has the last word
		call.Adopt(other)
		return err
	})
	s := &script{steps: []step{{code: codes.Unavailable}, {code: codes.Unavailable}}}
	p := backstay.New(attempting(2), twice, open)
	err := s.call(t.Context(), p, "")
	if status.Code(err) != codes.Unavailable || !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("call whose breaker opened after attempts = %v, want UNAVAILABLE and ErrOpen", err)
	}
}

// G-15
func TestWithoutAnEndpointACallIsUnavailable(t *testing.T) {
	leak.Check(t)
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), loadbalance.NewBalancer(loadbalance.Config{}))
	c := dial(t, "fleet:///orders", p, grpccall.Config{}, grpc.WithResolvers(newResolver(resolver.State{})))
	_, err := c.Get(limited(t), &pb.GetRequest{})
	if status.Code(err) != codes.Unavailable || !backstay.NotSent(err) || backstay.TypeOf(err) != "no_endpoint" {
		t.Errorf("Get without an endpoint = %v, of type %s, want UNAVAILABLE, not sent, no_endpoint", err, backstay.TypeOf(err))
	}
}

// G-15: an ended context has no attempt made, with any policy.
func TestACallOfAnEndedContextHasItsStatus(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), -time.Second)
	defer cancelLate()
	leak.Check(t)
	s := serve(t, &server{})
	for what, p := range map[string]*backstay.Policy{"none": nil, "retry": again(), "timeouts": backstay.New(timeout.Call(within), timeout.Attempt(time.Second))} {
		c := dial(t, s.addr, p, grpccall.Config{})
		for ctx, want := range map[context.Context]codes.Code{canceled: codes.Canceled, late: codes.DeadlineExceeded} {
			_, err := c.Get(ctx, &pb.GetRequest{})
			if status.Code(err) != want || !errors.Is(err, ctx.Err()) || len(s.attempts()) != 0 {
				t.Errorf("Get with an ended context and the policy %s = %v after %d attempts, want %v and %v after none", what, err, len(s.attempts()), want, ctx.Err())
			}
		}
	}
}

// detailed is a status with everything that one can have.
func detailed(code codes.Code, text string) error {
	return failed(code, text,
		&errdetails.ErrorInfo{Reason: "OUT_OF_STOCK", Domain: "orders.example", Metadata: map[string]string{"item": "7"}},
		&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: "alice"}}})
}

// G-15, G-16
func TestTheLastStatusOfTheServerIsLeftAsItIs(t *testing.T) {
	wrap := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if err := next(ctx, call); err != nil {
			return fmt.Errorf("in a middleware: %w", err)
		}
		return nil
	})
	rows := []struct {
		what     string
		server   []codes.Code
		stack    []backstay.Middleware
		last     int // the attempt whose status it is
		attempts int // that the *retry.Error tells; 0 for none
	}{
		{"no policy", []codes.Code{codes.Unavailable}, nil, 1, 0},
		{"exhausted", []codes.Code{codes.Unavailable, codes.Unavailable, codes.Unavailable}, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()})}, 3, 3},
		{"another code at last", []codes.Code{codes.Unavailable, codes.FailedPrecondition}, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()})}, 2, 2},
		{"at once", []codes.Code{codes.NotFound}, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()})}, 1, 0},
		{"wrapped above retry", []codes.Code{codes.Unavailable, codes.Internal}, []backstay.Middleware{wrap, retry.New(retry.Config{Backoff: retry.NoPause()})}, 2, 2},
		{"wrapped beneath retry", []codes.Code{codes.Unavailable, codes.Internal}, []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()}), wrap}, 2, 2},
		{"turned away by a breaker that has opened", []codes.Code{codes.Unavailable}, []backstay.Middleware{
			retry.New(retry.Config{Backoff: retry.NoPause()}), breaker.New(breaker.Config{ConsecutiveFailures: 1})}, 1, 0},
		{"a timeout that did not fire", []codes.Code{codes.DeadlineExceeded}, []backstay.Middleware{timeout.Call(within), timeout.Attempt(within / 2)}, 1, 0},
	}
	for _, row := range rows {
		s := &server{get: func(_ context.Context, n int, _ *pb.GetRequest) (*pb.Order, error) {
			return nil, detailed(row.server[min(n, len(row.server))-1], fmt.Sprintf("attempt %d: %%s & ä", n))
		}}
		c := start(t, s, backstay.New(row.stack...), grpccall.Config{})
		_, err := c.Get(limited(t), &pb.GetRequest{})
		want := status.Convert(detailed(row.server[row.last-1], fmt.Sprintf("attempt %d: %%s & ä", row.last)))
		if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
			t.Errorf("%s: Get = %v, want %v", row.what, got.Proto(), want.Proto())
		}
		if got, _ := status.FromError(fmt.Errorf("placing the order: %w", err)); got.Code() != want.Code() || len(got.Details()) != 2 {
			t.Errorf("%s: Get, wrapped = %v, want its code and 2 details", row.what, got.Proto())
		}
		if err.Error() != want.Err().Error() {
			t.Errorf("%s: Get = %q, want %q", row.what, err, want.Err())
		}
		e, _ := errors.AsType[*retry.Error](err)
		if e == nil && row.attempts != 0 || e != nil && e.Attempts != row.attempts {
			t.Errorf("%s: Get = %v with the *retry.Error %v, want one that tells %d attempts", row.what, err, e, row.attempts)
		}
	}
}

// A call to which the policy adds nothing ends with gRPC's own error, which
// compares as without us.
func TestAnErrorToWhichNothingIsAddedIsThatOfGRPC(t *testing.T) {
	own := status.Error(codes.NotFound, "no such order")
	interceptor := grpccall.UnaryClientInterceptor(again(), grpccall.Config{})
	err := interceptor(t.Context(), get, nil, new(int), nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
		return own
	})
	if err != own {
		t.Errorf("call that fails with %v = %v, want the same error", own, err)
	}
}

// Interceptors beneath return errors of any kind.
func TestAnInterceptorMayReturnTheEndOfTheContextAsItIs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithTimeout(t.Context(), -time.Second)
	defer cancelLate()
	for ctx, want := range map[context.Context]codes.Code{ctx: codes.Canceled, late: codes.DeadlineExceeded} {
		interceptor := grpccall.UnaryClientInterceptor(again(), grpccall.Config{})
		err := interceptor(ctx, get, nil, new(int), nil, func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			return fmt.Errorf("waiting for a token: %w", ctx.Err())
		})
		if status.Code(err) != want || !errors.Is(err, ctx.Err()) {
			t.Errorf("call with an interceptor that waits = %v, want %v and %v", err, want, ctx.Err())
		}
	}
}

// A call under timeout.Call that ends in a pause tells of the time, and the
// failures are found in it.
func TestTheEndOfTheCallsTimeIsItsStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := step{code: codes.Unavailable, takes: 3 * time.Second}
		p := backstay.New(timeout.Call(5*time.Second), retry.New(retry.Config{Backoff: retry.Constant(time.Second)}))
		s := &script{steps: []step{slow}}
		began := time.Now()
		err := s.call(t.Context(), p, "")
		if status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second || len(s.at) != 2 {
			t.Errorf("call of 5s with attempts of 3s = %v after %v and %d attempts, want DEADLINE_EXCEEDED after 5s and 2", err, time.Since(began), len(s.at))
		}
	})
}

// A middleware that hands out neither a reply nor an error is told so, and not
// the caller with an empty reply.
func TestAPolicyWithoutAReplyIsAnError(t *testing.T) {
	s := &server{}
	c := start(t, s, backstay.New(rejecting(nil)), grpccall.Config{})
	if o, err := c.Get(limited(t), &pb.GetRequest{Id: "7"}); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "no reply") {
		t.Errorf("Get under a policy that does nothing = %v, %v, want INTERNAL that tells of no reply", o, err)
	}
}
