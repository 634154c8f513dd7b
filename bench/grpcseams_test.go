package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/internal/leak"
)

// A grpcSeam is a place where the libraries differ on a channel.
type grpcSeam struct {
	what string
	want string // of backstay; what the others do is told
	look func(t *testing.T, s channelStack) string
}

var grpcSeams = []grpcSeam{
	{"a Place, which is not idempotent, answered UNAVAILABLE: how often it arrives", "1", func(t *testing.T, s channelStack) string {
		return placed(t, s, fails(codes.Unavailable))
	}},
	{"a Place answered DEADLINE_EXCEEDED, in time: how often it arrives", "1", func(t *testing.T, s channelStack) string {
		return placed(t, s, fails(codes.DeadlineExceeded))
	}},
	{"a Get answered RESOURCE_EXHAUSTED: how often it arrives", "1", func(t *testing.T, s channelStack) string {
		return got(t, s, fails(codes.ResourceExhausted))
	}},
	{"a Get answered UNAVAILABLE by a server that wants no retry (pushback -1): how often it arrives", "1", func(t *testing.T, s channelStack) string {
		return got(t, s, pushesBack("-1"))
	}},
	{"a Get answered UNAVAILABLE by a server that wants 300 ms: when it comes again", "after 300 ms", secondAfterPushback},
	{"a Get on a channel whose service config has a retryPolicy of 4 attempts: how often it arrives", "4", underRetryPolicy},
	{"a Get that is always answered UNAVAILABLE: what the caller gets", "UNAVAILABLE: busy", func(t *testing.T, s channelStack) string {
		return told(getFrom(open(t, s, usual, &orders{answer: fails(codes.Unavailable)}))(t.Context()))
	}},
	{"a Get that takes longer than it may: what the caller gets", "DEADLINE_EXCEEDED", tooSlow},
	{"a Get, an attempt of which may take 500 ms: the deadline that the server is told", "within 500 ms", deadlineTold},
	{"after 40 Gets answered INTERNAL, the next: what the caller gets", "UNAVAILABLE, from no server", func(t *testing.T, s channelStack) string {
		return next(t, s, codes.Internal)
	}},
	{"after 40 Gets answered NOT_FOUND, the next: what the caller gets", "OK", func(t *testing.T, s channelStack) string {
		return next(t, s, codes.NotFound)
	}},
	{"after 40 callers of Get gave up, the next: what the caller gets", "OK", func(t *testing.T, s channelStack) string {
		return next(t, s, codes.Canceled)
	}},
	{"the trailer of a Get whose last attempts reach no server", "none", trailerAfterTheEnd},
	{"a stream 0 1 2 that is cut after 1, the first time: what is read", "0 1 UNAVAILABLE", func(t *testing.T, s channelStack) string {
		return watched(t, s, func(_ context.Context, n int, send func(int)) error {
			send(0)
			send(1)
			if n == 1 {
				return status.Error(codes.Unavailable, "cut")
			}
			send(2)
			return nil
		})
	}},
	{"a stream 0 1 2 that is answered UNAVAILABLE, the first time: what is read", "0 1 2", func(t *testing.T, s channelStack) string {
		return watched(t, s, func(_ context.Context, n int, send func(int)) error {
			if n == 1 {
				return status.Error(codes.Unavailable, "busy")
			}
			return count(send)
		})
	}},
	{"a stream 0 1 2 that does not begin, the first time: what is read", "0 1 2", func(t *testing.T, s channelStack) string {
		return watched(t, s, func(ctx context.Context, n int, send func(int)) error {
			if n == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return count(send)
		})
	}},
	{"an upload of 3 messages: how many arrive", "3", upload},
}

// TestGRPCSeams tells what each library does at the seams; go test -v shows it.
// It fails only if backstay does not keep its own promises.
func TestGRPCSeams(t *testing.T) {
	leak.Check(t)
	for _, seam := range grpcSeams {
		t.Run(seam.what, func(t *testing.T) {
			t.Parallel()
			got := make([]string, len(channelStacks))
			var wg sync.WaitGroup
			for i, s := range channelStacks {
				wg.Go(func() { got[i] = seam.look(t, s) })
			}
			wg.Wait()
			for i, s := range channelStacks {
				t.Logf("%-20s %s", s.library, got[i])
				if s.library == "backstay" && got[i] != seam.want {
					t.Errorf("%s: %s, want %s", seam.what, got[i], seam.want)
				}
			}
		})
	}
}

// open returns a channel of s to a server that does what o says.
func open(t *testing.T, s channelStack, l limits, o *orders, opts ...grpc.DialOption) *grpc.ClientConn {
	return connect(t, serveOrders(t, o), append(s.options(l), opts...)...)
}

// placed counts how often a Place arrives that is answered so.
func placed(t *testing.T, s channelStack, answer func(context.Context, int) error) string {
	o := &orders{answer: answer}
	_, _ = pb.NewOrdersClient(open(t, s, usual, o)).Place(t.Context(), &pb.PlaceRequest{Item: "pen"})
	return fmt.Sprint(o.arrived.Load())
}

// got counts how often a Get arrives that is answered so.
func got(t *testing.T, s channelStack, answer func(context.Context, int) error, opts ...grpc.DialOption) string {
	o := &orders{answer: answer}
	_ = getFrom(open(t, s, usual, o, opts...))(t.Context())
	return fmt.Sprint(o.arrived.Load())
}

func fails(code codes.Code) func(context.Context, int) error {
	return func(context.Context, int) error { return status.Error(code, "busy") }
}

// pushesBack answers UNAVAILABLE and says, in milliseconds, when to come back.
func pushesBack(ms string) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", ms))
		return status.Error(codes.Unavailable, "busy")
	}
}

func secondAfterPushback(t *testing.T, s channelStack) string {
	came := make(chan time.Time, attempts)
	_ = got(t, s, func(ctx context.Context, n int) error {
		came <- time.Now()
		return pushesBack("300")(ctx, n)
	})
	if len(came) < 2 {
		return "never"
	}
	if first, second := <-came, <-came; second.Sub(first) < 300*time.Millisecond {
		return "before that"
	}
	return "after 300 ms"
}

func underRetryPolicy(t *testing.T, s channelStack) string {
	return got(t, s, fails(codes.Unavailable), grpc.WithDefaultServiceConfig(retryPolicy(4, callLimit)))
}

// told puts the end of a call into words.
func told(err error) string {
	st := status.Convert(err)
	return fmt.Sprintf("%s: %.40s", nameOf(st.Code()), st.Message())
}

func nameOf(code codes.Code) string {
	switch code {
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	case codes.NotFound:
		return "NOT_FOUND"
	}
	return strings.ToUpper(code.String())
}

func tooSlow(t *testing.T, s channelStack) string {
	conn := open(t, s, limits{call: 500 * time.Millisecond, attempt: 400 * time.Millisecond}, &orders{answer: func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return nameOf(status.Code(getFrom(conn)(ctx)))
}

func deadlineTold(t *testing.T, s channelStack) string {
	told := make(chan string, attempts)
	err := getFrom(open(t, s, usual, &orders{answer: func(ctx context.Context, _ int) error {
		at, ok := ctx.Deadline()
		switch {
		case !ok:
			told <- "none"
		case time.Until(at) <= usual.attempt:
			told <- "within 500 ms"
		default:
			told <- "later"
		}
		return nil
	}}))(t.Context())
	if err != nil {
		return err.Error()
	}
	return <-told
}

// next makes 40 calls that end with a code, and tells what becomes of the next.
func next(t *testing.T, s channelStack, code codes.Code) string {
	o := &orders{answer: func(_ context.Context, n int) error {
		if code != codes.Canceled && n <= 2*minCalls {
			return status.Error(code, "busy")
		}
		return nil
	}}
	call := getFrom(open(t, s, usual, o))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if code == codes.Canceled {
		cancel()
	}
	for range 2 * minCalls {
		_ = call(ctx)
	}
	before := o.arrived.Load()
	err := call(t.Context())
	if o.arrived.Load() == before {
		return nameOf(status.Code(err)) + ", from no server"
	}
	return nameOf(status.Code(err))
}

// trailerAfterTheEnd has the server end with its first answer.
func trailerAfterTheEnd(t *testing.T, s channelStack) string {
	ending := make(chan func(), 1)
	addr, stop := stoppable(t, &orders{answer: func(ctx context.Context, _ int) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("from", "attempt 1"))
		(<-ending)()
		return status.Error(codes.Unavailable, "busy")
	}})
	ending <- stop
	var trailer metadata.MD
	_, err := pb.NewOrdersClient(connect(t, addr, s.options(usual)...)).Get(t.Context(), &pb.GetRequest{}, grpc.Trailer(&trailer))
	if err == nil {
		return "the call succeeded"
	}
	if from := trailer.Get("from"); len(from) > 0 {
		return fmt.Sprintf("%q", from)
	}
	return "none"
}

// watched reads a stream of numbers, with 2 s for it.
func watched(t *testing.T, s channelStack, stream func(ctx context.Context, n int, send func(int)) error) string {
	o := &orders{stream: func(n int, ss grpc.ServerStreamingServer[pb.Order]) error {
		return stream(ss.Context(), n, func(i int) { _ = ss.Send(&pb.Order{Quantity: int32(i)}) })
	}}
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	var read []string
	cs, err := pb.NewOrdersClient(open(t, s, usual, o)).Watch(ctx, &pb.WatchRequest{})
	for err == nil {
		var m *pb.Order
		if m, err = cs.Recv(); err == nil {
			read = append(read, fmt.Sprint(m.Quantity))
		}
	}
	if !errors.Is(err, io.EOF) {
		read = append(read, nameOf(status.Code(err)))
	}
	return strings.Join(read, " ")
}

func count(send func(int)) error {
	for i := range 3 {
		send(i)
	}
	return nil
}

func upload(t *testing.T, s channelStack) string {
	cs, err := pb.NewOrdersClient(open(t, s, usual, &orders{})).Import(t.Context())
	if err != nil {
		return nameOf(status.Code(err))
	}
	for range 3 {
		_ = cs.Send(&pb.PlaceRequest{})
	}
	resp, err := cs.CloseAndRecv()
	if err != nil {
		return nameOf(status.Code(err))
	}
	return fmt.Sprint(resp.Placed)
}

// TestHedgesShareNothing tells what attempts have in common that overlap: they
// race for it. backstay has no hedge yet, so the test has one.
func TestHedgesShareNothing(t *testing.T) {
	for _, row := range []struct {
		library     string
		interceptor grpc.UnaryClientInterceptor
	}{
		{"backstay", ours(backstay.MiddlewareFunc(twice))},
		{"failsafegrpc", failsafeUnary(hedgepolicy.NewWithDelay[any](time.Millisecond))},
	} {
		var mu sync.Mutex
		var replies, headers []any
		second := make(chan struct{})
		invoker := func(_ context.Context, _ string, _, reply any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
			mu.Lock()
			replies = append(replies, reply)
			for _, o := range opts {
				if h, ok := o.(grpc.HeaderCallOption); ok {
					headers = append(headers, h.HeaderAddr)
				}
			}
			if len(replies) == 2 {
				close(second)
			}
			mu.Unlock()
			<-second
			return nil
		}
		var header metadata.MD
		err := row.interceptor(t.Context(), getMethod, &pb.GetRequest{}, &pb.Order{}, nil, invoker, grpc.Header(&header))
		shared := fmt.Sprintf("the reply: %v, the header: %v", same(replies), same(headers))
		t.Logf("%-20s %s", row.library, shared)
		if row.library == "backstay" && (err != nil || same(replies) || same(headers)) {
			t.Errorf("two attempts returned %v and share %s, want nil and nothing", err, shared)
		}
	}
}

func same(both []any) bool { return len(both) == 2 && both[0] == both[1] }

// twice makes two attempts at once and takes the first that returns.
func twice(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		type end struct {
			*backstay.Call
			err error
		}
		ends := make(chan end, 2)
		for range 2 {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			go func() { ends <- end{f, next(ctx, f)} }()
		}
		won, lost := <-ends, <-ends
		call.Adopt(won.Call)
		lost.Discard(context.Canceled)
		return won.err
	}
}
