package grpccall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// What a breaker makes of a call.
const (
	failure  = "failure"
	success  = "success"
	excluded = "excluded" // it does not count
)

// counted returns what a breaker makes of the second call. It is told by breakers
// that open once two of two calls have failed, or one of two: the first call is
// a failure, or a success.
func counted(t *testing.T, cfg grpccall.Config, call func(pb.OrdersClient, *server), beneath ...backstay.Middleware) string {
	t.Helper()
	opens := func(first codes.Code, rate float64) bool {
		b := breaker.New(breaker.Config{FailureRate: rate, MinCalls: 2})
		s := &server{get: failing(first)}
		c := start(t, s, backstay.New(append([]backstay.Middleware{b}, beneath...)...), cfg)
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != first {
			t.Fatalf("Get = %v, want %v", err, first)
		}
		call(c, s)
		return b.State() == breaker.Open
	}
	switch {
	case opens(codes.Unavailable, 1):
		return failure
	case opens(codes.Unavailable, 0.5):
		return success
	}
	return excluded
}

// G-24
func TestWhatABreakerMakesOfEachCode(t *testing.T) {
	want := map[codes.Code]string{
		codes.Unavailable: failure, codes.Internal: failure, codes.Unknown: failure, codes.DataLoss: failure, codes.DeadlineExceeded: failure,
		codes.ResourceExhausted: excluded,
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		for what, cfg := range map[string]grpccall.Config{"": {}, " that is tried again": {RetryOn: []codes.Code{code}}} {
			if code == codes.OK && cfg.RetryOn != nil {
				continue
			}
			got := counted(t, cfg, func(c pb.OrdersClient, s *server) {
				s.get = sick(code, nil)
				if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != code {
					t.Errorf("Get = %v, want %v", err, code)
				}
			})
			if w, ok := want[code]; ok && got != w || !ok && got != success {
				t.Errorf("%v%s is to a breaker: %s, want %s", code, what, got, w)
			}
		}
	}
}

// G-24
func TestWhatABreakerMakesOfOtherEnds(t *testing.T) {
	hang := func(ctx context.Context, _ int, _ *pb.GetRequest) (*pb.Order, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	canceled := func(c pb.OrdersClient, s *server) {
		ctx, cancel := context.WithCancel(limited(t))
		s.get = func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
			cancel()
			return hang(ctx, n, req)
		}
		if _, err := c.Get(ctx, &pb.GetRequest{}); status.Code(err) != codes.Canceled {
			t.Errorf("Get that was canceled = %v, want CANCELLED", err)
		}
	}
	slow := func(c pb.OrdersClient, s *server) {
		s.get = hang
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("Get that hangs = %v, want DEADLINE_EXCEEDED", err)
		}
	}
	once := func(c pb.OrdersClient, _ *server) { _, _ = c.Get(limited(t), &pb.GetRequest{}) }
	second := func(err error) backstay.Middleware {
		n := 0
		return under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			if n++; n%2 == 0 {
				return err
			}
			return next(ctx, call)
		})
	}
	rows := []struct {
		what    string
		call    func(pb.OrdersClient, *server)
		beneath []backstay.Middleware
		cfg     grpccall.Config
		want    string
	}{
		{"a call that its caller gives up", canceled, nil, grpccall.Config{}, excluded},
		{"the timeout of an attempt", slow, []backstay.Middleware{timeout.Attempt(50 * time.Millisecond)}, grpccall.Config{}, failure},
		{"a rejection beneath", once, []backstay.Middleware{second(&backstay.Error{Err: breaker.ErrOpen, NotSent: true, Class: backstay.Transient})}, grpccall.Config{}, excluded},
		{"a limit beneath", once, []backstay.Middleware{second(&backstay.Error{Err: breaker.ErrOpen, Class: backstay.Throttled})}, grpccall.Config{}, excluded},
		{"NOT_FOUND, by Classify", func(c pb.OrdersClient, s *server) {
			s.get = sick(codes.NotFound, nil)
			once(c, s)
		}, nil, grpccall.Config{Classify: func(*status.Status) backstay.Class { return backstay.Broken }}, failure},
	}
	for _, row := range rows {
		if got := counted(t, row.cfg, row.call, row.beneath...); got != row.want {
			t.Errorf("%s is to a breaker: %s, want %s", row.what, got, row.want)
		}
	}
}

// G-24: giving up is no answer, to whatever policy asks.
func TestAnAttemptThatIsGivenUpIsCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(limited(t))
	s := &server{get: func(ctx context.Context, _ int, _ *pb.GetRequest) (*pb.Order, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	var end error
	c := start(t, s, backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		end = next(ctx, call)
		return end
	})), grpccall.Config{})
	if _, err := c.Get(ctx, &pb.GetRequest{}); status.Code(err) != codes.Canceled || backstay.Classify(end) != backstay.Canceled {
		t.Errorf("Get that was given up = %v, and %v to the policy, want CANCELLED and %v", err, backstay.Classify(end), backstay.Canceled)
	}
}

// G-24: the losers of a hedge are left out: they are neither failures nor
// successes.
func TestALostHedgeIsNoFailure(t *testing.T) {
	b := breaker.New(breaker.Config{FailureRate: 0.3, MinCalls: 3})
	asked, lost := make(chan struct{}), make(chan struct{})
	s := &server{get: func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
		if n == 1 {
			close(asked)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return &pb.Order{Id: req.Id}, nil
	}}
	p := backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		loser, cancel := context.WithCancel(ctx)
		first, _ := call.Fork()
		second, _ := call.Fork()
		go func() {
			err := next(loser, first)
			first.Discard(err)
			close(lost)
		}()
		<-asked
		err := next(ctx, second)
		call.Adopt(second)
		cancel()
		return err
	}), b)
	c := start(t, s, p, grpccall.Config{})
	_, err := c.Get(limited(t), &pb.GetRequest{})
	<-lost
	if err != nil || len(s.attempts()) != 2 {
		t.Errorf("Get with a lost hedge = %v after %d attempts, want none after 2", err, len(s.attempts()))
	}
	s.get = sick(codes.Unavailable, nil)
	plain := dial(t, s.addr, backstay.New(b), grpccall.Config{})
	for i, want := range []breaker.State{breaker.Closed, breaker.Open} {
		if _, err := plain.Get(limited(t), &pb.GetRequest{}); b.State() != want {
			t.Errorf("Get after a lost hedge = %v, failure %d: a breaker that wants 3 calls is %v, want %v", err, i+1, b.State(), want)
		}
	}
}

// What the caller got is what the breaker has been told: the last failure, and
// not that it has opened in the meantime.
func TestAnOpenBreakerSendsNothing(t *testing.T) {
	b := breaker.New(breaker.Config{ConsecutiveFailures: 3})
	s := unwell()
	c := start(t, s, backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), b), grpccall.Config{})
	for i, want := range []int{3, 3, 3} {
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || len(s.attempts()) != want {
			t.Errorf("Get %d under a breaker that opens at the third failure = %v after %d attempts in all, want %d", i, err, len(s.attempts()), want)
		}
	}
}
