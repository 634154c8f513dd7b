package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// G-1, G-18: what each end of the first attempt leads to.
func TestStreamsAreTriedAgainUntilHeaders(t *testing.T) {
	for _, r := range []struct {
		first    sending
		got      string
		code     codes.Code
		attempts int
	}{
		{sending{0, codes.Unavailable}, "0 1 2", codes.OK, 2},
		{sending{1, codes.Unavailable}, "0", codes.Unavailable, 1},
		{sending{2, codes.Unavailable}, "0 1", codes.Unavailable, 1},
		{sending{0, codes.Internal}, "", codes.Internal, 1},
		{sending{0, codes.Aborted}, "", codes.Aborted, 1},
		{sending{0, codes.ResourceExhausted}, "", codes.ResourceExhausted, 1},
		{sending{0, codes.DataLoss}, "0 1 2", codes.OK, 2}, // in RetryOn
		{sending{0, codes.OK}, "", codes.OK, 1},
		{sending{3, codes.OK}, "0 1 2", codes.OK, 1},
	} {
		s := &server{watch: orders(r.first, sending{3, codes.OK})}
		c := start(t, s, again(), grpccall.Config{RetryOn: []codes.Code{codes.DataLoss}})
		got, err := watchAll(limited(t), c)
		if n := len(s.attempts()); got != r.got || status.Code(err) != r.code || n != r.attempts {
			t.Errorf("Watch after %v = %q, %v in %d attempts, want %q, %v in %d", r.first, got, err, n, r.got, r.code, r.attempts)
		}
	}
}

// G-18: the buffer holds 256 KiB unless the Config says otherwise.
func TestWhatTheBufferDoesNotHoldIsSentOnce(t *testing.T) {
	for _, r := range []struct{ buffer, bytes, attempts int }{
		{0, 256<<10 - 100, 2},
		{0, 256<<10 + 100, 1},
		{1000, 900, 2},
		{1000, 1100, 1},
	} {
		s := &server{watch: orders(sending{0, codes.Unavailable}, sending{1, codes.OK})}
		c := start(t, s, again(), grpccall.Config{BufferSize: r.buffer})
		stream, err := c.Watch(limited(t), &pb.WatchRequest{Id: strings.Repeat("x", r.bytes)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = drain(stream)
		if n := len(s.attempts()); n != r.attempts || (err == nil) != (r.attempts == 2) {
			t.Errorf("a message of %d bytes with a buffer of %d: %v in %d attempts, want %d", r.bytes, r.buffer, err, n, r.attempts)
		}
	}
}

// A caller who asks for the stream before he has said what to send gets the
// attempt that he asked for.
//
// G-18
func TestAStreamThatIsUsedBeforeItsMessageIsSentOnce(t *testing.T) {
	for name, use := range map[string]func(grpc.ClientStream){
		"Context":   func(s grpc.ClientStream) { s.Context() },
		"Header":    func(s grpc.ClientStream) { go func() { _, _ = s.Header() }() },
		"CloseSend": func(s grpc.ClientStream) { _ = s.CloseSend() },
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{watch: orders(sending{0, codes.Unavailable}, sending{1, codes.OK})}
			conn := startConn(t, s, again(), grpccall.Config{})
			stream, err := conn.NewStream(limited(t), descOf(watch), watch)
			if err != nil {
				t.Fatal(err)
			}
			use(stream)
			if name == "Header" {
				stream.Context() // so that the other goroutine is not the first to be late
			}
			sendErr := stream.SendMsg(&pb.WatchRequest{})
			err = stream.RecvMsg(&pb.Order{})
			want, attempts := codes.Unavailable, 1
			if name == "CloseSend" { // gRPC sends no message after it
				want, attempts = codes.Internal, 0
			}
			if n := len(s.attempts()); status.Code(err) != want || n != attempts {
				t.Errorf("RecvMsg() after %s first = %v in %d attempts, SendMsg() = %v, want %v in %d", name, err, n, sendErr, want, attempts)
			}
		})
	}
}

// G-19: the message as it was when it was sent, and that it is all, for what stands
// between us and gRPC too.
func TestEachAttemptIsSentTheMessageAndItsEnd(t *testing.T) {
	fakes := []*fake{{end: unavailable()}, {end: unavailable()}, {headers: true}}
	g := onStage(backstay.New(attempting(3)), grpccall.Config{}, fakes...)
	s, err := g.stream(t.Context(), watch)
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.WatchRequest{Id: "7"}
	if err := s.SendMsg(m); err != nil {
		t.Fatal(err)
	}
	m.Id = "8" // of the next call
	if err := errors.Join(s.CloseSend(), s.CloseSend(), unlessEOF(s.RecvMsg(&pb.Order{}))); err != nil {
		t.Fatal(err)
	}
	for i, f := range fakes {
		if len(f.sent) != 1 || f.sent[0].(*pb.WatchRequest).Id != "7" || f.closed != 1 {
			t.Errorf("attempt %d was sent %v and %d ends, want the message and one", i+1, f.sent, f.closed)
		}
	}
}

// An envelope is a message around one of protobuf's, for a codec that knows it.
type envelope struct {
	*pb.WatchRequest
	stamp string
}

func TestAMessageThatCannotBeCopiedIsSentAsItIs(t *testing.T) {
	fakes := []*fake{{end: unavailable()}, {headers: true}}
	g := onStage(backstay.New(attempting(2)), grpccall.Config{}, fakes...)
	s, err := g.stream(t.Context(), watch)
	if err != nil {
		t.Fatal(err)
	}
	m := &envelope{&pb.WatchRequest{}, "stamp"}
	if err := errors.Join(s.SendMsg(m), unlessEOF(s.RecvMsg(&pb.Order{}))); err != nil {
		t.Fatal(err)
	}
	for i, f := range fakes {
		if len(f.sent) != 1 || f.sent[0] != m {
			t.Errorf("attempt %d was sent %v, want the envelope", i+1, f.sent)
		}
	}
}

func unavailable() error { return status.Error(codes.Unavailable, "fake") }

// G-20
func TestAnAbandonedAttemptIsCancelled(t *testing.T) {
	s := &server{watch: orders(sending{0, codes.Unavailable}, sending{0, codes.Unavailable}, sending{2, codes.OK})}
	var mu sync.Mutex
	var contexts []context.Context
	spy := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		mu.Lock()
		contexts = append(contexts, ctx)
		mu.Unlock()
		return next(ctx, desc, cc, method, opts...)
	}
	c := start(t, s, again(), grpccall.Config{}, grpc.WithChainStreamInterceptor(spy))
	stream, err := c.Watch(limited(t), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, ctx := range contexts[:2] {
		if ctx.Err() == nil {
			t.Errorf("the context of attempt %d is alive, want it cancelled", i+1)
		}
	}
	if contexts[2].Err() != nil {
		t.Errorf("the context of the stream has ended: %v", contexts[2].Err())
	}
	if _, err := drain(stream); err != nil || contexts[2].Err() == nil {
		t.Errorf("after the end, %v, the context of the stream is alive, want it cancelled", err)
	}
}

// G-20: what the client streams is sent once, and all else in the policy holds.
func TestClientStreamsPassThrough(t *testing.T) {
	s := &server{}
	s.chat = func(n int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		for {
			m, err := st.Recv()
			switch {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			case m.Text == "fail":
				return status.Error(codes.Unavailable, "as told")
			}
			if err := st.Send(m); err != nil {
				return err
			}
		}
	}
	s.upload = func(n int, st grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error {
		for k := int32(0); ; k++ {
			m, err := st.Recv()
			switch {
			case err == io.EOF:
				return st.SendAndClose(&pb.ImportResponse{Placed: k})
			case err != nil:
				return err
			case m.Item == "fail":
				return status.Error(codes.Unavailable, "as told")
			case m.Item == "forget":
				return nil
			}
		}
	}
	calls := newTally()
	c := start(t, s, backstay.New(attempting(3), calls), grpccall.Config{Idempotent: func(string) bool { return true }})
	for _, r := range []struct {
		items []string
		want  int32
		code  codes.Code
	}{
		{nil, 0, codes.OK},
		{[]string{"a", "b", "c", "d"}, 4, codes.OK},
		{[]string{"a", "fail"}, 0, codes.Unavailable},
		{[]string{"a", "forget"}, 0, codes.Internal}, // an end without a message
	} {
		before := calls.attempts()
		up, err := c.Import(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range r.items {
			if err := up.Send(&pb.PlaceRequest{Item: item}); err != nil && err != io.EOF {
				t.Errorf("Send(%s) = %v, want nil", item, err)
			}
		}
		got, err := up.CloseAndRecv()
		if status.Code(err) != r.code || got.GetPlaced() != r.want || calls.attempts()-before != 1 {
			t.Errorf("Import(%v) = %v, %v in %d attempts, want %d, %v in one", r.items, got, err, calls.attempts()-before, r.want, r.code)
		}
		if failed := calls.answers[before] != nil; failed != (r.code != codes.OK) {
			t.Errorf("Import(%v): the policy was told %v, want %v", r.items, calls.answers[before], r.code)
		}
	}
	for _, r := range []struct {
		texts []string
		want  int
		code  codes.Code
	}{{nil, 0, codes.OK}, {[]string{"a", "b", "c"}, 3, codes.OK}, {[]string{"a", "fail"}, 1, codes.Unavailable}, {[]string{"fail"}, 0, codes.Unavailable}} {
		before := calls.attempts()
		ch, err := c.Chat(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, text := range r.texts {
			if err := ch.Send(&pb.ChatMessage{Text: text}); err != nil {
				t.Errorf("Send(%s) = %v, want nil", text, err)
			}
			if m, err := ch.Recv(); err == nil && m.Text == text {
				n++
			}
		}
		_ = ch.CloseSend()
		if _, err := ch.Recv(); status.Code(unlessEOF(err)) != r.code || n != r.want || calls.attempts()-before != 1 {
			t.Errorf("Chat(%v) = %d answers, %v in %d attempts, want %d, %v in one", r.texts, n, err, calls.attempts()-before, r.want, r.code)
		}
	}
}

// G-2, G-20: until it has a connection, nothing has been sent.
func TestAClientStreamIsOpenedAgainWhereThereIsNoConnection(t *testing.T) {
	fakes := []*fake{{headers: true}}
	p := backstay.New(attempting(3))
	g := onStage(p, grpccall.Config{}, fakes...)
	refused := 0
	stream, err := g.intercept(t.Context(), descOf(chat), nil, chat, func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		if refused++; refused < 3 {
			return nil, unavailable()
		}
		return g.next(ctx, desc, cc, method, opts...)
	})
	if err != nil || refused != 3 {
		t.Fatalf("Chat() = %v after %d attempts, want a stream after 3", err, refused)
	}
	if err := errors.Join(stream.SendMsg("a"), stream.SendMsg("b"), stream.CloseSend(), unlessEOF(stream.RecvMsg(nil))); err != nil || fmt.Sprint(fakes[0].sent) != "[a b]" || fakes[0].closed != 1 {
		t.Errorf("the stream was sent %v and %d ends: %v, want a, b and one", fakes[0].sent, fakes[0].closed, err)
	}
}

// G-5, G-21: the time for the first answer does not go to the server, that for
// the call does, and the caller's.
func TestGRPCTimeoutOfAStream(t *testing.T) {
	for _, r := range []struct {
		name     string
		caller   time.Duration
		stack    []backstay.Middleware
		from, to time.Duration
	}{
		{"none", 0, nil, 0, 0},
		{"an attempt's", 0, []backstay.Middleware{timeout.Attempt(5 * time.Second)}, 0, 0},
		{"a call's", 0, []backstay.Middleware{timeout.Call(time.Minute)}, 50 * time.Second, time.Minute},
		{"a call's and an attempt's", 0, []backstay.Middleware{timeout.Call(time.Minute), timeout.Attempt(5 * time.Second)}, 50 * time.Second, time.Minute},
		{"the caller's and an attempt's", 30 * time.Second, []backstay.Middleware{timeout.Attempt(5 * time.Second)}, 20 * time.Second, 30 * time.Second},
		{"the caller's and a call's", 30 * time.Second, []backstay.Middleware{timeout.Call(time.Minute)}, 20 * time.Second, 30 * time.Second},
		{"a whole attempt's", 0, []backstay.Middleware{timeout.Call(time.Minute), timeout.WholeAttempt(30 * time.Second)}, 20 * time.Second, 30 * time.Second},
	} {
		s := &server{}
		c := start(t, s, backstay.New(r.stack...), grpccall.Config{})
		ctx := t.Context()
		if r.caller > 0 {
			limited, cancel := context.WithTimeout(ctx, r.caller)
			defer cancel()
			ctx = limited
		}
		if _, err := watchAll(ctx, c); err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		if left := s.attempts()[0].left; left < r.from || left > r.to {
			t.Errorf("with a deadline of %s the server has %v, want from %v to %v", r.name, left, r.from, r.to)
		}
	}
}

// G-3: CANCELLED and DEADLINE_EXCEEDED of a server are its answers.
func TestTheServersWordOfAnEndIsAStatus(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded} {
		for _, retried := range []bool{false, true} {
			s := &server{watch: orders(sending{0, code}, sending{1, codes.OK})}
			cfg, want, attempts := grpccall.Config{}, code, 1
			if retried {
				cfg.RetryOn, want, attempts = []codes.Code{code}, codes.OK, 2
			}
			calls := newTally()
			c := start(t, s, backstay.New(timeout.Call(within), attempting(3), timeout.Attempt(within/2), calls), cfg)
			_, err := watchAll(limited(t), c)
			if n := len(s.attempts()); status.Code(err) != want || n != attempts {
				t.Errorf("Watch() = %v in %d attempts, want %v in %d", err, n, want, attempts)
			}
			if _, ok := errors.AsType[*timeout.Error](calls.answers[0]); ok || backstay.TypeOf(calls.answers[0]) == "timeout" {
				t.Errorf("the policy was told %v, want no timeout of ours", calls.answers[0])
			}
		}
	}
}

// G-12, G-13: the caller's options show the last attempt, once.
func TestTheOptionsOfAStreamShowItsLastAttempt(t *testing.T) {
	for _, r := range []struct {
		name     string
		attempts []sending
		attempt  string // that is shown
		code     codes.Code
	}{
		{"the first", []sending{{2, codes.OK}}, "1", codes.OK},
		{"the third", []sending{{0, codes.Unavailable}, {0, codes.Unavailable}, {2, codes.OK}}, "3", codes.OK},
		{"a failure after headers", []sending{{0, codes.Unavailable}, {2, codes.Unavailable}}, "2", codes.Unavailable},
		{"all failed", []sending{{0, codes.Unavailable}}, "3", codes.Unavailable},
		{"one that is not tried again", []sending{{0, codes.NotFound}}, "1", codes.NotFound},
	} {
		s := &server{}
		s.watch = func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
			md := metadata.Pairs("attempt", fmt.Sprint(n), "grpc-retry-pushback-ms", "0")
			if st.SetTrailer(md); r.attempts[min(n, len(r.attempts))-1].count > 0 {
				_ = st.SetHeader(md) // which sends headers, whatever follows
			}
			return orders(r.attempts...)(n, req, st)
		}
		c := start(t, s, again(), grpccall.Config{})
		o := stale()
		_, err := watchAll(limited(t), c, o.options()...)
		if status.Code(err) != r.code {
			t.Errorf("%s: Watch() = %v, want %v", r.name, err, r.code)
		}
		if got := o.trailer.Get("attempt"); !slices.Equal(got, []string{r.attempt}) {
			t.Errorf("%s: the trailer is of attempt %q, want %s", r.name, got, r.attempt)
		}
		headers := []string{r.attempt}
		if strings.HasPrefix(r.name, "all") || strings.HasPrefix(r.name, "one") {
			headers = nil // they came with the trailers, as those
		}
		if got := o.header.Get("attempt"); !slices.Equal(got, headers) {
			t.Errorf("%s: the header is of attempt %q, want %q", r.name, got, headers)
		}
		if got := fmt.Sprint(o.peer.Addr); got != s.addr {
			t.Errorf("%s: the peer is %s, want %s", r.name, got, s.addr)
		}
		if len(o.finished) != 1 || status.Code(o.finished[0]) != r.code {
			t.Errorf("%s: OnFinish was told %v, want %v once", r.name, o.finished, r.code)
		}
	}
}

// G-12, G-13
func TestTheOptionsOfAStreamThatReachedNobodyAreCleared(t *testing.T) {
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	for name, p := range map[string]*backstay.Policy{"an open breaker": backstay.New(open), "no connection": backstay.New(attempting(2))} {
		leak.Check(t)
		c := dial(t, "127.0.0.1:1", p, grpccall.Config{})
		for _, call := range []func(...grpc.CallOption) error{
			func(o ...grpc.CallOption) error { _, err := watchAll(limited(t), c, o...); return err },
			func(o ...grpc.CallOption) error { _, err := c.Chat(limited(t), o...); return err },
		} {
			o := stale()
			err := call(o.options()...)
			if status.Code(err) != codes.Unavailable {
				t.Errorf("with %s the call = %v, want Unavailable", name, err)
			}
			if o.header != nil || o.trailer != nil || o.peer.Addr != nil || len(o.finished) != 1 || o.finished[0] != err {
				t.Errorf("with %s the options show %v, %v, %v, %v, want nothing and %v once", name, o.header, o.trailer, o.peer.Addr, o.finished, err)
			}
		}
	}
}

// G-12: what is not ours passes through.
func TestForeignOptionsOfAStream(t *testing.T) {
	s := &server{watch: orders(sending{0, codes.Unavailable}, sending{1, codes.OK})}
	c := start(t, s, again(), grpccall.Config{})
	if _, err := watchAll(limited(t), c, grpc.MaxCallRecvMsgSize(1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Watch() with MaxCallRecvMsgSize(1) = %v, want ResourceExhausted", err)
	}
	if _, err := c.Watch(limited(t), &pb.WatchRequest{Id: "long"}, grpc.MaxCallSendMsgSize(1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("Watch() with MaxCallSendMsgSize(1) = %v, want ResourceExhausted", err)
	}
}

// G-16
func TestAnExhaustedStreamEndsWithTheLastStatus(t *testing.T) {
	s := &server{}
	s.watch = func(n int, _ *pb.WatchRequest, _ grpc.ServerStreamingServer[pb.Order]) error {
		return failed(codes.Unavailable, fmt.Sprintf("attempt %d", n), comeBack(0))
	}
	c := start(t, s, backstay.New(attempting(3)), grpccall.Config{})
	stream, err := c.Watch(limited(t), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the end stays the end
		_, err = stream.Recv()
		st := status.Convert(err)
		if st.Code() != codes.Unavailable || st.Message() != "attempt 3" || len(st.Details()) != 1 {
			t.Errorf("Recv() = %v with details %v, want the status of attempt 3", err, st.Details())
		}
		if e, ok := errors.AsType[*retry.Error](err); !ok || e.Attempts != 3 {
			t.Errorf("errors.As(%v) has no *retry.Error of 3 attempts", err)
		}
	}
	if ctx := stream.Context(); ctx.Err() == nil {
		t.Error("the context of a stream that has failed is alive, want it ended")
	}
}

// gRPC's TestNoRetry: without a retry the policy adds nothing to a failure.
//
// G-16
func TestWithoutRetryTheFailureIsGRPCsOwn(t *testing.T) {
	s := &server{watch: orders(sending{0, codes.Unavailable})}
	s.chat = func(int, grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		return status.Error(codes.Unavailable, "attempt 1")
	}
	c := start(t, s, nil, grpccall.Config{})
	_, watchErr := watchAll(limited(t), c)
	ch, err := c.Chat(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	_, chatErr := ch.Recv()
	for _, err := range []error{watchErr, chatErr} {
		if want := "rpc error: code = Unavailable desc = attempt 1"; err == nil || err.Error() != want {
			t.Errorf("the stream ended with %v, want %s", err, want)
		}
	}
	if n := len(s.attempts()); n != 2 {
		t.Errorf("%d attempts of 2 calls, want 2", n)
	}
}

// gRPC's TestMaxCallAttempts.
//
// G-7
func TestMaxAttemptsOfAStream(t *testing.T) {
	for _, most := range []int{2, 3, 7} {
		s := &server{}
		s.watch = func(_ int, _ *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
			st.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "0")) // which asks for more
			return status.Error(codes.Unavailable, "always")
		}
		c := start(t, s, backstay.New(attempting(most)), grpccall.Config{})
		if _, err := watchAll(limited(t), c); status.Code(err) != codes.Unavailable || len(s.attempts()) != most {
			t.Errorf("Watch() with MaxAttempts %d = %v in %d attempts", most, err, len(s.attempts()))
		}
	}
}

// gRPC's TestRetryThrottling, with the budget of a retry.
//
// G-6: a pushback that forbids counts too.
func TestStreamsKeepTheBudget(t *testing.T) {
	s := &server{}
	s.watch = func(_ int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		if req.Id == "never" {
			st.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "-1"))
		}
		return status.Error(codes.Unavailable, "always")
	}
	budget := retry.NewBudget(retry.BudgetConfig{Ratio: .5, PerSecond: -1, Horizon: time.Hour})
	p := backstay.New(retry.New(retry.Config{Budget: budget, MaxAttempts: 9, Backoff: retry.NoPause()}))
	c := start(t, s, p, grpccall.Config{})
	for i, r := range []struct {
		id       string
		attempts int
	}{{"", 1}, {"", 2}, {"", 1}, {"", 2}, {"", 1}, {"never", 1}, {"", 1}, {"", 2}} {
		before := len(s.attempts())
		stream, err := c.Watch(limited(t), &pb.WatchRequest{Id: r.id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := drain(stream); status.Code(err) != codes.Unavailable || len(s.attempts())-before != r.attempts {
			t.Errorf("call %d = %v in %d attempts, want %d", i, err, len(s.attempts())-before, r.attempts)
		}
	}
}

// gRPC's TestRetryTransparentWhenCommitted: a retry waits for room on the only
// connection, which another stream has, and its caller goes.
func TestACallerGoesWhileItsRetryWaitsForRoom(t *testing.T) {
	leak.Check(t)
	second := make(chan struct{})
	s := &server{}
	s.watch = func(n int, _ *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		if n == 1 {
			<-second
			return status.Error(codes.Unavailable, "first")
		}
		<-st.Context().Done()
		return st.Context().Err()
	}
	serve(t, s, grpc.MaxConcurrentStreams(1))
	failed := make(chan struct{}, 9)
	seen := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			err := next(ctx, call)
			failed <- struct{}{}
			return err
		}
	})
	c := dial(t, s.addr, backstay.New(attempting(9), seen), grpccall.Config{})
	ctx, cancel := context.WithCancel(limited(t))
	first, err := c.Watch(ctx, &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	other, cancelOther := context.WithCancel(limited(t))
	defer cancelOther()
	go func() { _, _ = watchAll(other, c) }()
	close(second)
	<-failed // the retry is made, or about to be
	cancel()
	if _, err := first.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("Recv() = %v, want Canceled", err)
	}
	_, _ = first.Header()
	_ = first.CloseSend()
	_ = first.Trailer()
	if _, err := first.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("Recv() once more = %v, want Canceled", err)
	}
}

// G-22
func TestWaitForReadyOfAStream(t *testing.T) {
	leak.Check(t)
	s := &server{watch: orders(sending{0, codes.Unavailable}, sending{2, codes.OK})}
	addr := nobody(t)
	quick := grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, MaxDelay: 5 * time.Millisecond}})
	conn := connect(t, addr, append(grpccall.DialOptions(again(), grpccall.Config{}), quick)...)
	c := pb.NewOrdersClient(conn)
	if _, err := watchAll(limited(t), c); status.Code(err) != codes.Unavailable {
		t.Fatalf("Watch() without a server = %v, want Unavailable", err)
	}
	var began atomic.Bool
	type end struct {
		got string
		err error
	}
	done := make(chan end)
	ctx := limited(t)
	go func() {
		began.Store(true)
		got, err := watchAll(ctx, c, grpc.WaitForReady(true))
		done <- end{got, err}
	}()
	eventually(t, "the call begins, and the channel fails", func() bool { return began.Load() && conn.GetState() == connectivity.TransientFailure })
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	serveOn(t, s, lis)
	if e := <-done; e.got != "0 1" || e.err != nil {
		t.Errorf("Watch() that waits = %q, %v, want 0 1", e.got, e.err)
	}
}
