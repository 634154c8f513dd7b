package grpccall_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// G-3
func TestTheContextTellsWhoseTimeIsUp(t *testing.T) {
	const s = time.Second
	sent := func(code codes.Code) step { return step{code: code} }
	hangs := step{takes: time.Hour}
	rows := []struct {
		what     string
		steps    []step
		caller   time.Duration // 0 for no deadline
		attempt  time.Duration // 0 for no timeout
		code     codes.Code
		attempts int
		ours     bool // the end of a context is found in the error
	}{
		{"DEADLINE_EXCEEDED of the server", []step{sent(codes.DeadlineExceeded)}, 0, 0, codes.DeadlineExceeded, 1, false},
		{"DEADLINE_EXCEEDED of the server, with time left", []step{sent(codes.DeadlineExceeded)}, 10 * s, s, codes.DeadlineExceeded, 1, false},
		{"CANCELLED of the server", []step{sent(codes.Canceled)}, 10 * s, s, codes.Canceled, 1, false},
		{"the attempt's time, twice", []step{hangs, hangs, {}}, 10 * s, s, codes.OK, 3, false},
		{"the attempt's time", []step{hangs}, 10 * s, s, codes.DeadlineExceeded, 3, true},
		{"the caller's time", []step{hangs}, s, 0, codes.DeadlineExceeded, 1, true},
		{"the caller's time in the second attempt", []step{hangs}, 3 * s, 2 * s, codes.DeadlineExceeded, 2, true},
		{"DEADLINE_EXCEEDED of the server as the time is up", []step{{code: codes.DeadlineExceeded, takes: s}, {}}, 10 * s, s, codes.OK, 2, false},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, row := range rows {
			ctx, cancel := t.Context(), func() {}
			if row.caller > 0 {
				ctx, cancel = context.WithTimeout(ctx, row.caller)
			}
			stack := []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()})}
			if row.attempt > 0 {
				stack = append(stack, timeout.Attempt(row.attempt))
			}
			c := &script{steps: row.steps}
			err := c.call(ctx, backstay.New(stack...), "")
			if status.Code(err) != row.code || len(c.at) != row.attempts || errors.Is(err, context.DeadlineExceeded) != row.ours || errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v after %d attempts, want %v after %d, with context.DeadlineExceeded in it: %t", row.what, err, len(c.at), row.code, row.attempts, row.ours)
			}
			cancel()
		}
	})
}

// A tardy context ends later than it says, as one does whose timer is late.
type tardy struct {
	context.Context
	at time.Time
}

func (c tardy) Deadline() (time.Time, bool) { return c.at, true }

// G-3: the server is heard of before our own timer, which is waited for unless it
// never comes.
func TestAnAttemptIsOutOfTimeThoughItsTimerIsLate(t *testing.T) {
	const s = time.Second
	rows := []struct {
		late     time.Duration
		attempts int
		code     codes.Code
		took     time.Duration
	}{
		{time.Millisecond, 2, codes.OK, s + time.Millisecond},
		{time.Hour, 1, codes.DeadlineExceeded, s + 100*time.Millisecond},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, row := range rows {
			attempt := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				ends, cancel := context.WithTimeout(ctx, s+row.late)
				defer cancel()
				return next(tardy{ends, time.Now().Add(s)}, call)
			})
			c := &script{steps: []step{{code: codes.DeadlineExceeded, takes: s}, {}}}
			began := time.Now()
			err := c.call(t.Context(), backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), attempt), "")
			if took := time.Since(began); status.Code(err) != row.code || len(c.at) != row.attempts || took != row.took {
				t.Errorf("DEADLINE_EXCEEDED %v before the end of the context: %v after %d attempts in %v, want %v after %d in %v", row.late, err, len(c.at), took, row.code, row.attempts, row.took)
			}
		}
	})
}

// G-5
func TestEachAttemptHasTheTimeThatIsLeft(t *testing.T) {
	const s = time.Second
	rows := []struct {
		what                  string
		caller, call, attempt time.Duration
		takes                 time.Duration // an attempt, until it fails
		left                  []time.Duration
	}{
		{"no limit", 0, 0, 0, s, []time.Duration{0, 0, 0}},
		{"the caller's", 10 * s, 0, 0, 3 * s, []time.Duration{10 * s, 7 * s, 4 * s}},
		{"the call's", 0, 10 * s, 0, 3 * s, []time.Duration{10 * s, 7 * s, 4 * s}},
		{"the call's beyond the caller's", 5 * s, 10 * s, 0, 2 * s, []time.Duration{5 * s, 3 * s, s}},
		{"the attempt's", 0, 0, 2 * s, s, []time.Duration{2 * s, 2 * s, 2 * s}},
		{"the attempt's until the call's is sooner", 0, 5 * s, 3 * s, 2 * s, []time.Duration{3 * s, 3 * s, s}},
		{"the attempt's beyond the caller's", s, 0, 2 * s, 0, []time.Duration{s, s, s}},
	}
	synctest.Test(t, func(t *testing.T) {
		for _, row := range rows {
			ctx, cancel := t.Context(), func() {}
			if row.caller > 0 {
				ctx, cancel = context.WithTimeout(ctx, row.caller)
			}
			var stack []backstay.Middleware
			if row.call > 0 {
				stack = append(stack, timeout.Call(row.call))
			}
			stack = append(stack, retry.New(retry.Config{Backoff: retry.NoPause()}))
			if row.attempt > 0 {
				stack = append(stack, timeout.Attempt(row.attempt))
			}
			c := &script{steps: []step{{code: codes.Unavailable, takes: row.takes}}}
			if err := c.call(ctx, backstay.New(stack...), ""); !slices.Equal(c.left, row.left) {
				t.Errorf("%s: %v; the attempts had %v left, want %v", row.what, err, c.left, row.left)
			}
			cancel()
		}
	})
}

// G-5: the same as the server is told it.
func TestTheServerIsToldTheTimeOfTheAttempt(t *testing.T) {
	s := unwell()
	p := backstay.New(timeout.Call(time.Minute), retry.New(retry.Config{Backoff: retry.NoPause()}), timeout.Attempt(20*time.Second))
	c := start(t, s, p, grpccall.Config{})
	_, _ = c.Get(limited(t), &pb.GetRequest{})
	_, _ = c.Get(context.Background(), &pb.GetRequest{})
	want := []time.Duration{within, within, within, 20 * time.Second, 20 * time.Second, 20 * time.Second}
	for i, a := range s.attempts() {
		if a.left <= want[i]/2 || a.left > want[i] {
			t.Errorf("attempt %d: the server had %v left, want %v at most, and not much less", i, a.left, want[i])
		}
	}
	if got := len(s.attempts()); got != len(want) {
		t.Errorf("2 calls: %d attempts, want %d", got, len(want))
	}
}

// G-5: the timeout of the service config is that of a call with all its attempts.
// gRPC would give it to each.
func TestTheServiceConfigGivesTheWholeCallItsTime(t *testing.T) {
	const limit = 5 * time.Second
	var deadlines []time.Time
	note := func(ctx context.Context) {
		at, _ := ctx.Deadline()
		deadlines = append(deadlines, at)
	}
	s := unwell()
	s.watch = orders(sending{0, codes.Unavailable})
	c := start(t, s, again(), grpccall.Config{ServiceConfig: `{"methodConfig": [{"name": [{}], "timeout": "5s"}]}`},
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			note(ctx)
			return invoker(ctx, method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			note(ctx)
			return streamer(ctx, desc, cc, method, opts...)
		}))
	_, _ = c.Get(limited(t), &pb.GetRequest{}) // before which the channel does not have its service config
	for what, call := range map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := c.Get(ctx, &pb.GetRequest{})
			return err
		},
		"Watch": func(ctx context.Context) error {
			_, err := watchAll(ctx, c)
			return err
		},
	} {
		deadlines = nil
		earliest := time.Now().Add(limit)
		err := call(limited(t))
		latest := time.Now().Add(limit)
		if len(deadlines) != 3 || deadlines[0] != deadlines[1] || deadlines[0] != deadlines[2] || deadlines[0].Before(earliest) || deadlines[0].After(latest) {
			t.Errorf("%s = %v; the attempts had the deadlines %v, want 3 times the same, %v after the call began", what, err, deadlines, limit)
		}
	}
}

// G-3, over a connection: an attempt that hangs is given up, on the server too,
// and the next one has its own time.
func TestAnAttemptThatHangsIsGivenUpAndMadeAgain(t *testing.T) {
	gone := make(chan struct{}, 1)
	s := &server{get: func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
		if n == 1 {
			<-ctx.Done()
			gone <- struct{}{}
			return nil, ctx.Err()
		}
		return &pb.Order{Id: req.Id}, nil
	}}
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), timeout.Attempt(100*time.Millisecond))
	c := start(t, s, p, grpccall.Config{})
	o, err := c.Get(limited(t), &pb.GetRequest{Id: "7"})
	if err != nil || o.Id != "7" || len(s.attempts()) != 2 {
		t.Errorf("Get whose first attempt hangs = %v, %v after %d attempts, want 7 after 2", o, err, len(s.attempts()))
	}
	<-gone
}

// An unsafe call that found no room on its connection until the attempt's time
// was up was never sent, so it is made again.
func TestAnAttemptThatTimedOutBeforeItWasSentIsMadeAgain(t *testing.T) {
	leak.Check(t)
	held, release := make(chan struct{}), make(chan struct{})
	s := serve(t, &server{get: func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
		close(held)
		<-release
		return &pb.Order{}, nil
	}}, grpc.MaxConcurrentStreams(1))
	tries := 0
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Unsafe {
			if tries++; tries == 2 {
				close(release)
			}
		}
		return next(ctx, call)
	}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if !call.Unsafe || tries > 1 {
			return next(ctx, call)
		}
		return timeout.Attempt(50*time.Millisecond).Wrap(next)(ctx, call)
	}))
	c := dial(t, s.addr, p, grpccall.Config{})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Get(limited(t), &pb.GetRequest{})
		ended <- err
	}()
	<-held
	if _, err := c.Place(limited(t), &pb.PlaceRequest{}); err != nil || tries != 2 {
		t.Errorf("Place that found no room at first = %v after %d attempts, want none after 2", err, tries)
	}
	if err := <-ended; err != nil {
		t.Errorf("Get = %v, want none", err)
	}
}
