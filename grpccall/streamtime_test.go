package grpccall_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

const second = time.Second

// G-3, G-21: what each limit does to a stream whose headers and messages take
// their time.
func TestLimitsOfAStream(t *testing.T) {
	slow := &fake{takes: time.Hour, headers: true}
	after := func(d time.Duration, n int, apart time.Duration) *fake {
		return &fake{takes: d, headers: true, recv: sends(n, apart)}
	}
	for _, r := range []struct {
		name     string
		stack    []backstay.Middleware
		fakes    []*fake
		messages int
		code     codes.Code
		took     time.Duration
		attempts int
	}{
		{"an attempt in time", stack(timeout.Attempt(second)), []*fake{after(second/2, 3, time.Minute)}, 3, codes.OK, second/2 + 4*time.Minute, 1},
		{"an attempt too late", stack(timeout.Attempt(second)), []*fake{slow}, 0, codes.DeadlineExceeded, second, 1},
		{"a second attempt in time", stack(attempting(2), timeout.Attempt(second)), []*fake{slow, after(0, 1, time.Minute)}, 1, codes.OK, second + 2*time.Minute, 2},
		{"both attempts too late", stack(attempting(2), timeout.Attempt(second)), []*fake{slow}, 0, codes.DeadlineExceeded, 2 * second, 2},
		{"a call with its messages", stack(timeout.Call(time.Minute)), []*fake{after(second, 9, 25*second)}, 2, codes.DeadlineExceeded, time.Minute, 1},
		{"a whole attempt", stack(attempting(2), timeout.WholeAttempt(time.Minute)), []*fake{after(second, 9, 25*second)}, 2, codes.DeadlineExceeded, time.Minute, 1},
		{"a call that has no time left", stack(timeout.Call(1500*time.Millisecond), attempting(3), timeout.Attempt(second)), []*fake{slow}, 0, codes.DeadlineExceeded, 1500 * time.Millisecond, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			fakes := make([]*fake, len(r.fakes))
			for i, f := range r.fakes {
				fakes[i] = f.like()
			}
			calls := newTally()
			g := onStage(backstay.New(append(stack(calls), r.stack...)...), grpccall.Config{}, fakes...)
			began := time.Now()
			n, err := g.watch(t.Context())
			took := time.Since(began)
			if n != r.messages || status.Code(err) != r.code || took != r.took || len(g.at) != r.attempts {
				t.Errorf("%s: %d messages, %v after %v in %d attempts, want %d, %v after %v in %d", r.name, n, err, took, len(g.at), r.messages, r.code, r.took, r.attempts)
			}
			synctest.Wait()
			if calls.inFlight() != 0 {
				t.Errorf("%s: the call is in flight after its end", r.name)
			}
			for i, f := range fakes {
				if f.ctx != nil && f.ctx.Err() == nil {
					t.Errorf("%s: the context of attempt %d is alive, want it ended", r.name, i+1)
				}
			}
		})
	}
}

func stack(of ...backstay.Middleware) []backstay.Middleware { return of }

// G-6: to the moment, and the pauses begin anew after it.
func TestPushbackOfAStream(t *testing.T) {
	pushed := func(ms string) *fake {
		return &fake{end: unavailable(), trailer: metadata.Pairs("grpc-retry-pushback-ms", ms)}
	}
	synctest.Test(t, func(t *testing.T) {
		p := backstay.New(retry.New(retry.Config{MaxAttempts: 9, NoBudget: true, Backoff: retry.Plain(second, 9*second)}))
		g := onStage(p, grpccall.Config{},
			&fake{end: unavailable()}, &fake{end: unavailable()}, pushed("7777"), &fake{end: unavailable()}, pushed("0"), &fake{headers: true})
		began := time.Now()
		if _, err := g.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{0, 1000, 3000, 10777, 11777, 11777} {
			if got := g.at[i].Sub(began); got != want*time.Millisecond {
				t.Errorf("attempt %d began after %v, want %v", i+1, got, want*time.Millisecond)
			}
		}
	})
}

// G-18: a caller who goes during a pause, and one whose deadline comes.
func TestACallerGoesBetweenTwoAttempts(t *testing.T) {
	for _, r := range []struct {
		name   string
		leave  func(context.Context) (context.Context, context.CancelFunc)
		code   codes.Code
		within time.Duration
	}{
		{"cancel", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(5*second, cancel)
			return ctx, cancel
		}, codes.Canceled, 5 * second},
		// There is no time for the pause, so the failure is told at once.
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 5*second)
		}, codes.Unavailable, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := backstay.New(retry.New(retry.Config{NoBudget: true, Backoff: retry.Constant(time.Minute)}))
			f := &fake{end: unavailable()}
			g := onStage(p, grpccall.Config{}, f)
			ctx, cancel := r.leave(t.Context())
			defer cancel()
			began := time.Now()
			_, err := g.watch(ctx)
			if took := time.Since(began); status.Code(err) != r.code || took != r.within || g.used != 1 || f.ctx.Err() == nil {
				t.Errorf("%s: Watch() = %v after %v in %d attempts, want %v after %v in 1", r.name, err, took, g.used, r.code, r.within)
			}
		})
	}
}

// G-18: in a pause there is no attempt to give out, so Context waits for the next,
// and fixes it.
func TestContextInAPauseIsThatOfTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := backstay.New(retry.New(retry.Config{NoBudget: true, Backoff: retry.Constant(time.Minute)}))
		fakes := []*fake{{end: unavailable()}, {takes: second, end: unavailable()}, {headers: true}}
		g := onStage(p, grpccall.Config{}, fakes...)
		s, err := g.stream(t.Context(), watch)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&pb.WatchRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		ctx := s.Context()
		if took := time.Since(began); took != time.Minute || ctx != fakes[1].ctx || ctx.Err() != nil {
			t.Errorf("Context() in a pause = that of the second attempt: %v, after %v, want it after 1m", ctx == fakes[1].ctx, took)
		}
		if err := s.RecvMsg(&pb.Order{}); status.Code(err) != codes.Unavailable || g.used != 2 {
			t.Errorf("RecvMsg() = %v in %d attempts, want Unavailable in 2", err, g.used)
		}
		if ctx.Err() == nil {
			t.Error("the context is alive after the end, want it ended")
		}
	})
}

// G-18: what has headers may not count all the same. Then there is no attempt to
// give out either, and where the caller already has it, the call ends with it.
func TestAnAttemptThatIsGivenUpThoughItHasHeaders(t *testing.T) {
	reject := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if err := next(ctx, call); err != nil || call.Attempt > 1 {
			return err
		}
		return &backstay.Error{Class: backstay.Transient, Err: errors.New("not wanted")}
	})
	late := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		err := next(ctx, call)
		<-time.After(2 * second)
		return err
	})
	for _, row := range []struct {
		name  string
		under []backstay.Middleware
		early bool // the caller asks for the context before the attempt has headers
		used  int
		want  string
	}{
		{"rejected", []backstay.Middleware{reject}, false, 2, ""},
		{"rejected, and the caller's", []backstay.Middleware{reject}, true, 1, "given up the attempt whose stream the caller uses"},
		{"out of time, and the caller's", []backstay.Middleware{timeout.Attempt(second), late}, true, 1, "DeadlineExceeded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := retry.New(retry.Config{NoBudget: true, Backoff: retry.Constant(time.Minute)})
				fakes := []*fake{{takes: second / 2, headers: true}, {headers: true, recv: sends(1, 0)}, {headers: true}}
				g := onStage(backstay.New(append([]backstay.Middleware{r}, row.under...)...), grpccall.Config{}, fakes...)
				s, err := g.stream(t.Context(), watch)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.SendMsg(&pb.WatchRequest{}); err != nil {
					t.Fatal(err)
				}
				if !row.early {
					<-time.After(10 * second) // it is the pause
				}
				ctx := s.Context()
				if ctx.Err() != nil || ctx != fakes[row.used-1].ctx {
					t.Errorf("Context() = that of attempt %d: %v, %v; want it, alive", row.used, ctx == fakes[row.used-1].ctx, ctx.Err())
				}
				err = s.RecvMsg(&pb.Order{})
				if row.want == "" && err != nil || row.want != "" && !says(err, row.want) || g.used != row.used {
					t.Errorf("RecvMsg() = %v in %d attempts, want %q in %d", err, g.used, row.want, row.used)
				}
			})
		})
	}
}

// G-18, G-20: of attempts that overlap, the one that the caller has something of is
// his, though another may be faster.
func TestACallerHasOneOfOverlappingAttempts(t *testing.T) {
	for _, method := range []string{watch, chat} {
		synctest.Test(t, func(t *testing.T) {
			slow := &fake{takes: 9 * second, headers: true, recv: sends(1, 0)}
			fast := &fake{opens: second, takes: second, headers: true, recv: sends(1, 0)}
			g := onStage(backstay.New(backstay.MiddlewareFunc(twice)), grpccall.Config{}, slow, fast)
			s, err := g.stream(t.Context(), method)
			if err != nil {
				t.Fatal(err)
			}
			m := &pb.WatchRequest{}
			if err := s.SendMsg(m); err != nil {
				t.Fatal(err)
			}
			ctx := s.Context()
			began := time.Now()
			if err := s.RecvMsg(&pb.Order{}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != 9*second || ctx != slow.ctx || s.Context() != slow.ctx || len(slow.sent) != 1 || slow.read != 1 {
				t.Errorf("%s: the message came after %v, from the first attempt: %v, want it after 9s", method, took, slow.read == 1)
			}
			synctest.Wait()
			if fast.ctx != nil && fast.ctx.Err() == nil || method == chat && len(fast.sent) > 0 {
				t.Errorf("%s: the other attempt lives, and was sent %v, want it cancelled", method, fast.sent)
			}
			if err := s.RecvMsg(&pb.Order{}); err != io.EOF {
				t.Errorf("%s: RecvMsg() = %v, want EOF", method, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // who asks while both are open
		fast, slow := &fake{takes: 5 * second, headers: true}, &fake{opens: second, takes: 9 * second, headers: true, recv: sends(3, 0)}
		g := onStage(backstay.New(backstay.MiddlewareFunc(twice)), grpccall.Config{}, fast, slow)
		s, err := g.stream(t.Context(), watch)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&pb.WatchRequest{}); err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * second)
		ctx := s.Context()
		if err := s.RecvMsg(&pb.Order{}); err != nil || ctx != slow.ctx || slow.read != 1 || s.Context() != ctx {
			t.Errorf("RecvMsg() = %v of the attempt whose Context was taken: %v, want it so", err, ctx == slow.ctx && slow.read == 1)
		}
		if fast.ctx.Err() == nil {
			t.Error("the other attempt lives, want it cancelled")
		}
	})
	synctest.Test(t, func(t *testing.T) { // who has asked for nothing has the first that answers
		slow, fast := &fake{takes: 9 * second, headers: true}, &fake{opens: second, takes: second, headers: true, recv: sends(3, 0)}
		g := onStage(backstay.New(backstay.MiddlewareFunc(twice)), grpccall.Config{}, slow, fast)
		began := time.Now()
		if n, err := g.watch(t.Context()); n != 3 || err != nil || time.Since(began) != 2*second {
			t.Errorf("Watch() = %d messages, %v after %v, want 3 after 2s", n, err, time.Since(began))
		}
		synctest.Wait()
		if slow.ctx.Err() == nil {
			t.Error("the slow attempt lives, want it cancelled")
		}
	})
}

// A caller who leaves the stream before there are headers, and only cancels.
func TestAnAbandonedStreamLeavesNothing(t *testing.T) {
	for _, method := range []string{watch, upload, chat} {
		for _, f := range []*fake{{takes: time.Hour}, {headers: true, recv: sends(9, second)}, {takes: time.Hour, deaf: true}, {headers: true, deaf: true}} {
			synctest.Test(t, func(t *testing.T) {
				calls := newTally()
				g := onStage(backstay.New(calls, attempting(3)), grpccall.Config{}, f.like())
				ctx, cancel := context.WithCancel(t.Context())
				s, err := g.stream(ctx, method)
				if err != nil {
					t.Fatal(err)
				}
				_ = s.SendMsg(&pb.WatchRequest{})
				synctest.Wait()
				if calls.inFlight() != 1 {
					t.Errorf("%s: %d calls in flight, want 1", method, calls.inFlight())
				}
				cancel()
				synctest.Wait()
				if calls.inFlight() != 0 {
					t.Errorf("%s, headers %v, deaf %v: %d calls in flight after cancel, want 0", method, f.headers, f.deaf, calls.inFlight())
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // nor one that is not used at all
		g := onStage(backstay.New(attempting(3)), grpccall.Config{}, &fake{})
		if _, err := g.stream(t.Context(), watch); err != nil || g.used != 0 {
			t.Errorf("Watch() without a message made %d attempts, %v, want none", g.used, err)
		}
	})
}

// G-5, G-21: what interceptors and gRPC see as the deadline.
func TestTheDeadlineOfAStreamsAttempt(t *testing.T) {
	for _, r := range []struct {
		caller time.Duration
		stack  []backstay.Middleware
		want   time.Duration
	}{
		{0, stack(timeout.Attempt(second)), 0},
		{0, stack(timeout.Call(9*second), timeout.Attempt(second)), 9 * second},
		{5 * second, stack(timeout.Call(9*second), timeout.Attempt(second)), 5 * second},
		{5 * second, stack(timeout.Attempt(second)), 5 * second},
		{5 * second, stack(timeout.WholeAttempt(2 * second)), 2 * second},
		{5 * second, stack(timeout.Attempt(3*second), timeout.WholeAttempt(2*second)), 2 * second},
		{5 * second, stack(timeout.WholeAttempt(3*second), timeout.Attempt(2*second)), 3 * second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			if r.caller > 0 {
				sooner, cancel := context.WithTimeout(ctx, r.caller)
				defer cancel()
				ctx = sooner
			}
			f := &fake{headers: true}
			g := onStage(backstay.New(r.stack...), grpccall.Config{}, f)
			began := time.Now()
			if _, err := g.watch(ctx); err != nil {
				t.Fatal(err)
			}
			at, ok := f.ctx.Deadline()
			if ok != (r.want > 0) || ok && at.Sub(began) != r.want {
				t.Errorf("caller %v, %v: the deadline is in %v, %v, want %v", r.caller, backstay.New(r.stack...), at.Sub(began), ok, r.want)
			}
		})
	}
}

// The failure of a message that cannot be sent is the caller's, at once.
func TestAMessageThatCannotBeSent(t *testing.T) {
	bad := status.Error(codes.Internal, "grpc: error while marshaling")
	for _, method := range []string{watch, chat} {
		synctest.Test(t, func(t *testing.T) {
			calls := newTally()
			f := &fake{headers: true, takes: second, send: func(context.Context, any) error { return bad }, recv: func(context.Context, int, any) error { return bad }}
			g := onStage(backstay.New(calls, attempting(3)), grpccall.Config{}, f)
			var finished []error
			s, err := g.stream(t.Context(), method, grpc.OnFinish(func(err error) { finished = append(finished, err) }))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SendMsg("nonsense"); !errors.Is(err, bad) {
				t.Errorf("%s: SendMsg() = %v, want %v", method, err, bad)
			}
			if err := s.RecvMsg(nil); status.Code(err) != codes.Internal || g.used != 1 {
				t.Errorf("%s: RecvMsg() = %v in %d attempts, want Internal in 1", method, err, g.used)
			}
			if len(finished) != 1 || status.Code(finished[0]) != codes.Internal || calls.inFlight() != 0 {
				t.Errorf("%s: OnFinish was told %v, %d calls in flight, want Internal once, and 0", method, finished, calls.inFlight())
			}
		})
	}
}
