package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/timeout"
)

// endless sends one order and then waits for the end of its client, or the test.
func endless(until <-chan struct{}) func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error {
	return func(_ int, _ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
		if err := s.Send(&pb.Order{}); err != nil {
			return err
		}
		select {
		case <-until:
			return status.Error(codes.Aborted, "as told")
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

// A call is in flight until its stream has ended, however that comes about.
func TestACallEndsWithItsStream(t *testing.T) {
	type setting struct {
		server *server
		conn   *grpc.ClientConn
		stream grpc.ClientStream
		cancel context.CancelFunc
		until  chan struct{}
	}
	recv := func(s *setting) error { return s.stream.RecvMsg(&pb.Order{}) }
	for _, r := range []struct {
		name string
		end  func(s *setting) error // what the caller sees, or nil if he does not look
		want codes.Code             // of OnDone
	}{
		{"the server", func(s *setting) error { close(s.until); return recv(s) }, codes.Aborted},
		{"the caller's context, read", func(s *setting) error { s.cancel(); return recv(s) }, codes.Canceled},
		{"the caller's context, not read", func(s *setting) error { s.cancel(); return nil }, codes.Canceled},
		{"Close of the channel, read", func(s *setting) error { _ = s.conn.Close(); return recv(s) }, codes.Canceled},
		{"Close of the channel, not read", func(s *setting) error { _ = s.conn.Close(); return nil }, codes.Canceled},
		{"the server's death", func(s *setting) error { s.server.grpc.Stop(); return recv(s) }, codes.Unavailable},
		{"a message that cannot be decoded", func(s *setting) error { return s.stream.RecvMsg("no message") }, codes.Internal},
	} {
		t.Run(r.name, func(t *testing.T) {
			s := setting{until: make(chan struct{})}
			s.server = &server{watch: func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
				_ = st.Send(&pb.Order{})
				return endless(s.until)(n, req, st)
			}}
			calls := newTally()
			s.conn = startConn(t, s.server, backstay.New(calls, attempting(2)), grpccall.Config{})
			ctx, cancel := context.WithCancel(limited(t))
			defer cancel()
			s.cancel = cancel
			o := stale()
			finished := make(chan error, 2)
			stream, err := s.conn.NewStream(ctx, descOf(watch), watch, append(o.options()[:3], grpc.OnFinish(func(err error) { finished <- err }))...)
			if err != nil {
				t.Fatal(err)
			}
			s.stream = stream
			if err := errors.Join(stream.SendMsg(&pb.WatchRequest{}), recv(&s)); err != nil {
				t.Fatal(err)
			}
			if n := calls.inFlight(); n != 1 {
				t.Errorf("%d calls in flight while the stream lasts, want 1", n)
			}
			if r.name != "a message that cannot be decoded" {
				if err := recv(&s); err != nil { // the second of two that the server sends
					t.Fatal(err)
				}
			}
			if err := r.end(&s); err != nil && status.Code(err) != r.want {
				t.Errorf("RecvMsg() = %v, want %v", err, r.want)
			}
			if err := calls.end(t); status.Code(err) != r.want {
				t.Errorf("OnDone was told %v, want %v", err, r.want)
			}
			if err := <-finished; status.Code(err) != r.want {
				t.Errorf("OnFinish was told %v, want %v", err, r.want)
			}
			if n := calls.inFlight(); n != 0 || len(finished) != 0 {
				t.Errorf("%d calls in flight, and OnFinish called %d times more, want 0", n, len(finished))
			}
		})
	}
}

// The end is told before the caller has it, so that what he then looks at is
// there.
func TestTheEndIsToldBeforeItIsReceived(t *testing.T) {
	for _, r := range []sending{{0, codes.OK}, {0, codes.NotFound}, {3, codes.OK}, {3, codes.NotFound}} {
		s := &server{watch: orders(r)}
		calls := newTally()
		c := start(t, s, backstay.New(calls), grpccall.Config{})
		for range 20 {
			o := stale()
			_, err := watchAll(limited(t), c, o.options()...)
			if len(o.finished) != 1 || unlessEOF(err) != nil && o.finished[0] == nil || calls.inFlight() != 0 {
				t.Fatalf("after %v, %d calls are in flight, and OnFinish was told %v, want 0 and %v", r, calls.inFlight(), o.finished, err)
			}
		}
	}
}

// OnFinish may ask the stream what it knows, as it may with gRPC alone.
func TestOnFinishMayAskTheStream(t *testing.T) {
	for _, r := range []sending{{0, codes.OK}, {0, codes.NotFound}, {3, codes.OK}} {
		s := &server{watch: orders(r)}
		c := start(t, s, again(), grpccall.Config{})
		var stream atomic.Value
		ready := make(chan struct{})
		asked := make(chan context.Context, 2)
		opened, err := c.Watch(limited(t), &pb.WatchRequest{}, grpc.OnFinish(func(error) {
			<-ready
			s := stream.Load().(grpc.ClientStream)
			_, _ = s.Header()
			_ = s.Trailer()
			asked <- s.Context()
		}))
		if err != nil {
			t.Fatal(err)
		}
		stream.Store(opened)
		close(ready)
		if _, err := drain(opened); status.Code(err) != r.code {
			t.Errorf("the stream ended with %v, want %v", err, r.code)
		}
		if ctx := <-asked; ctx == nil {
			t.Error("Context() in OnFinish = nil, want the stream's")
		}
	}
}

func TestACallTimeoutEndsTheStream(t *testing.T) {
	s := &server{watch: endless(nil)}
	calls := newTally()
	c := start(t, s, backstay.New(calls, timeout.Call(100*time.Millisecond), attempting(3)), grpccall.Config{})
	finished := make(chan error, 2)
	got, err := watchAll(t.Context(), c, grpc.OnFinish(func(err error) { finished <- err }))
	if got != "0" {
		t.Errorf("Watch() = %q, want 0", got)
	}
	for who, err := range map[string]error{"Watch() =": err, "OnFinish was told": <-finished} {
		var limit *timeout.Error
		if status.Code(err) != codes.DeadlineExceeded || !errors.As(err, &limit) || limit.Scope != "call" {
			t.Errorf("%s %v, want DeadlineExceeded, which is a timeout.Error", who, err)
		}
	}
	if err := calls.end(t); backstay.TypeOf(err) != "timeout" {
		t.Errorf("OnDone was told %v, a %s, want a timeout", err, backstay.TypeOf(err))
	}
	if n := len(s.attempts()); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

// What a breaker learns of a stream is whether there were headers.
func TestABreakerRecordsAStreamAtItsHeaders(t *testing.T) {
	for _, r := range []struct {
		end  sending
		want breaker.State
	}{
		{sending{0, codes.Unavailable}, breaker.Open},
		{sending{1, codes.Unavailable}, breaker.Closed},
		{sending{0, codes.NotFound}, breaker.Closed},
		{sending{0, codes.OK}, breaker.Closed},
	} {
		s := &server{watch: orders(r.end)}
		b := breaker.New(breaker.Config{ConsecutiveFailures: 3})
		c := start(t, s, backstay.New(b), grpccall.Config{})
		for range 3 {
			_, _ = watchAll(limited(t), c)
		}
		if got := b.State(); got != r.want {
			t.Errorf("after 3 streams of %v the breaker is %v, want %v", r.end, got, r.want)
		}
	}
}

// G-18: a server that dies, at each moment.
func TestAServerThatIsKilled(t *testing.T) {
	for _, r := range []struct {
		name string
		sent int // messages before it dies
		got  string
	}{{"before headers", 0, "0 1"}, {"after headers", 1, "0"}} {
		t.Run(r.name, func(t *testing.T) {
			leak.Check(t)
			dying, there := make(chan struct{}), make(chan struct{})
			bad := &server{}
			bad.watch = func(n int, _ *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
				for i := range r.sent {
					_ = st.Send(&pb.Order{Quantity: int32(i)})
				}
				close(there)
				<-dying
				return nil
			}
			serve(t, bad)
			good := serve(t, &server{watch: orders(sending{2, codes.OK})})
			f := newResolver(resolver.State{Addresses: []resolver.Address{{Addr: bad.addr}, {Addr: good.addr}}})
			conn := connect(t, f.Scheme()+":///orders", append(grpccall.DialOptions(again(), grpccall.Config{}), grpc.WithResolvers(f))...)
			ctx := limited(t)
			stream, err := pb.NewOrdersClient(conn).Watch(ctx, &pb.WatchRequest{})
			if err != nil {
				t.Fatal(err)
			}
			<-there
			got := ""
			for i := range r.sent {
				if o, err := stream.Recv(); err != nil || o.Quantity != int32(i) {
					t.Fatalf("Recv() = %v, %v, want order %d", o, err, i)
				}
				got += fmt.Sprint(i)
			}
			go bad.grpc.Stop()
			defer close(dying) // for which Stop waits
			rest, err := drain(stream)
			if got += rest; got != r.got || (err == nil) != (r.sent == 0) {
				t.Errorf("Watch() of a server killed %s = %q, %v, want %q", r.name, got, err, r.got)
			}
		})
	}
}

// G-3, G-21: a server that hangs costs an attempt's time, before headers only.
func TestAServerThatHangs(t *testing.T) {
	s := &server{}
	s.watch = func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		if n == 1 {
			<-st.Context().Done()
			return st.Context().Err()
		}
		_ = st.Send(&pb.Order{})
		<-time.After(150 * time.Millisecond) // longer than an attempt may be silent
		return st.Send(&pb.Order{Quantity: 1})
	}
	calls := newTally()
	c := start(t, s, backstay.New(attempting(2), calls, timeout.Attempt(100*time.Millisecond)), grpccall.Config{})
	got, err := watchAll(limited(t), c)
	if got != "0 1" || err != nil || len(s.attempts()) != 2 {
		t.Errorf("Watch() = %q, %v in %d attempts, want 0 1 in 2", got, err, len(s.attempts()))
	}
	if e, ok := errors.AsType[*timeout.Error](calls.answers[0]); !ok || e.Scope != "attempt" {
		t.Errorf("the policy was told %v of the first attempt, want an attempt's timeout", calls.answers[0])
	}
}

// cancel while blocked: in each method that waits, at each moment.
func TestACallerWhoCancelsWhileHeWaits(t *testing.T) {
	big := &pb.ChatMessage{Text: string(make([]byte, 1<<20))}
	for _, r := range []struct {
		name, method string
		wait         func(s grpc.ClientStream) error
	}{
		{"RecvMsg before headers", watch, func(s grpc.ClientStream) error {
			_ = s.SendMsg(&pb.WatchRequest{})
			return s.RecvMsg(&pb.Order{})
		}},
		{"Header", watch, func(s grpc.ClientStream) error {
			_ = s.SendMsg(&pb.WatchRequest{})
			_, _ = s.Header()
			return s.RecvMsg(&pb.Order{})
		}},
		{"RecvMsg of both", chat, func(s grpc.ClientStream) error { return s.RecvMsg(&pb.ChatMessage{}) }},
		{"Header of both", chat, func(s grpc.ClientStream) error {
			_, _ = s.Header()
			return s.RecvMsg(&pb.ChatMessage{})
		}},
		{"SendMsg without room", chat, func(s grpc.ClientStream) error {
			for s.SendMsg(big) == nil {
			}
			return s.RecvMsg(&pb.ChatMessage{})
		}},
		{"SendMsg of one without room", watch, func(s grpc.ClientStream) error {
			_ = s.SendMsg(&pb.WatchRequest{Id: big.Text})
			return s.RecvMsg(&pb.Order{})
		}},
	} {
		t.Run(r.name, func(t *testing.T) {
			there := make(chan struct{}, 9)
			s := &server{}
			s.watch = func(_ int, _ *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
				there <- struct{}{}
				<-st.Context().Done()
				return st.Context().Err()
			}
			s.chat = func(_ int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
				there <- struct{}{}
				<-st.Context().Done()
				return st.Context().Err()
			}
			calls := newTally()
			conn := startConn(t, s, backstay.New(calls, attempting(3)), grpccall.Config{})
			ctx, cancel := context.WithCancel(limited(t))
			defer cancel()
			go func() {
				<-there
				cancel()
			}()
			stream, err := conn.NewStream(ctx, descOf(r.method), r.method)
			if err == nil {
				err = r.wait(stream)
			}
			if status.Code(err) != codes.Canceled || len(s.attempts()) != 1 {
				t.Errorf("the call = %v in %d attempts, want Canceled in 1", err, len(s.attempts()))
			}
			calls.end(t)
		})
	}
}

// A middleware that panics, or ends its goroutine, does so where the caller is.
func TestAPolicyThatPanics(t *testing.T) {
	boom := errors.New("boom")
	for _, r := range []struct {
		name string
		m    backstay.MiddlewareFunc
		want any // what is recovered; nil for an error in its place
	}{
		{"before the attempt", func(next backstay.Func) backstay.Func {
			return func(context.Context, *backstay.Call) error { panic(boom) }
		}, boom},
		{"after headers", func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error { _ = next(ctx, call); panic(boom) }
		}, boom},
		{"Goexit before the attempt", func(next backstay.Func) backstay.Func {
			return func(context.Context, *backstay.Call) error { runtime.Goexit(); return nil }
		}, nil},
		{"Goexit after headers", func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				_ = next(ctx, call)
				runtime.Goexit()
				return nil
			}
		}, nil},
	} {
		for _, method := range []string{watch, chat} {
			t.Run(r.name+method, func(t *testing.T) {
				s := &server{watch: orders(sending{2, codes.OK})}
				s.chat = func(_ int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
					return st.Send(&pb.ChatMessage{})
				}
				calls := newTally()
				conn := startConn(t, s, backstay.New(calls, r.m), grpccall.Config{})
				o := stale()
				var stream grpc.ClientStream
				var err error
				recovered := panicIn(func() {
					if stream, err = conn.NewStream(limited(t), descOf(method), method, o.options()...); err != nil {
						return
					}
					if method == watch {
						if err = stream.SendMsg(&pb.WatchRequest{}); err != nil {
							return
						}
					}
					err = stream.RecvMsg(&pb.Order{})
				})
				if recovered != r.want || r.want == nil && status.Code(err) != codes.Internal {
					t.Errorf("the call panicked with %v and ended with %v, want %v, or Internal", recovered, err, r.want)
				}
				if stream != nil { // a cleanup that follows does not panic again
					_ = stream.CloseSend()
					if err := stream.RecvMsg(&pb.Order{}); status.Code(err) != codes.Internal {
						t.Errorf("RecvMsg() after the panic = %v, want Internal", err)
					}
				}
				if err := calls.end(t); err == nil {
					t.Error("OnDone was told nil, want an error")
				}
				if len(o.finished) != 1 || status.Code(o.finished[0]) != codes.Internal {
					t.Errorf("OnFinish was told %v, want Internal once", o.finished)
				}
			})
		}
	}
}

// twice makes two attempts at a time, and takes the first that answers.
func twice(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		type end struct {
			fork *backstay.Call
			err  error
			i    int
		}
		ends := make(chan end, 2)
		var stops [2]context.CancelFunc
		for i := range 2 {
			fork, err := call.Fork()
			if err != nil {
				return err
			}
			inner, stop := context.WithCancel(ctx)
			stops[i] = stop
			go func() { ends <- end{fork, next(inner, fork), i} }()
		}
		first := <-ends
		if first.err != nil {
			first.fork.Discard(first.err)
			stops[first.i]()
			first = <-ends
		} else {
			stops[1-first.i]()
			go func() { (<-ends).fork.Discard(context.Canceled) }()
		}
		call.Adopt(first.fork)
		call.OnDone(func(error) { stops[first.i]() })
		return first.err
	}
}

// G-18, G-20: of attempts that overlap the caller has one.
func TestAttemptsOfAStreamMayOverlap(t *testing.T) {
	s := &server{}
	s.watch = func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		if n%2 == 1 {
			<-st.Context().Done()
			return st.Context().Err()
		}
		return orders(sending{3, codes.OK})(n, req, st)
	}
	s.chat = func(_ int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		for {
			m, err := st.Recv()
			if err != nil {
				return unlessEOF(err)
			}
			if err := st.Send(m); err != nil {
				return err
			}
		}
	}
	c := start(t, s, backstay.New(backstay.MiddlewareFunc(twice)), grpccall.Config{Idempotent: func(string) bool { return true }})
	for range 20 {
		if got, err := watchAll(limited(t), c); got != "0 1 2" || err != nil {
			t.Fatalf("Watch() = %q, %v, want 0 1 2", got, err)
		}
		ch, err := c.Chat(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "b"} {
			if err := ch.Send(&pb.ChatMessage{Text: text}); err != nil {
				t.Fatal(err)
			}
			if m, err := ch.Recv(); err != nil || m.Text != text {
				t.Fatalf("Recv() = %v, %v, want %s", m, err, text)
			}
		}
		_ = ch.CloseSend()
		if _, err := ch.Recv(); err != io.EOF {
			t.Fatalf("Recv() = %v, want EOF", err)
		}
	}
}

// A retry that knows nothing of us, and does not ask whether it may, gets the
// failure of the one attempt again.
func TestANaiveRetryOfAClientStream(t *testing.T) {
	naive := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) (err error) {
			for range 3 {
				if err = next(ctx, call); err == nil {
					return nil
				}
			}
			return err
		}
	})
	s := &server{}
	s.chat = func(int, grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		return status.Error(codes.Unavailable, "once")
	}
	c := start(t, s, backstay.New(naive), grpccall.Config{})
	ch, err := c.Chat(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.Recv(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "once" || len(s.attempts()) != 1 {
		t.Errorf("Recv() = %v in %d attempts, want Unavailable in 1", err, len(s.attempts()))
	}
}

// A middleware may have a stream of its own, in place of a failure.
func TestAMiddlewaresStream(t *testing.T) {
	for _, method := range []string{watch, chat} {
		own := &fake{headers: true, deaf: true, recv: sends(2, 0), trailer: metadata.Pairs("own", "yes")}
		own.ctx = t.Context()
		instead := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				if err := next(ctx, call); err == nil {
					return nil
				}
				backstay.SetResult[grpc.ClientStream](call, own)
				return nil
			}
		})
		s := &server{watch: orders(sending{0, codes.Unavailable})}
		s.chat = func(int, grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
			return status.Error(codes.Unavailable, "sick")
		}
		calls := newTally()
		conn := startConn(t, s, backstay.New(calls, instead), grpccall.Config{})
		o := stale()
		stream, err := conn.NewStream(limited(t), descOf(method), method, o.options()...)
		if err != nil {
			t.Fatal(err)
		}
		if method == watch {
			_ = stream.SendMsg(&pb.WatchRequest{})
		}
		n := 0
		for ; err == nil; n++ {
			err = stream.RecvMsg(&pb.Order{})
		}
		if n != 3 || err != io.EOF || stream.Trailer().Get("own") == nil || stream.Context() != own.ctx {
			t.Errorf("%s: %d messages, then %v, want the 2 of the middleware", method, n-1, err)
		}
		if len(o.finished) != 1 || o.finished[0] != nil || o.peer.Addr != nil {
			t.Errorf("%s: OnFinish was told %v, peer %v, want nil once, and no peer", method, o.finished, o.peer.Addr)
		}
		calls.end(t)
	}
}

// A wrapped stream is what an interceptor of others makes of one.
type wrapped struct{ grpc.ClientStream }

func (w *wrapped) Header() (metadata.MD, error) { return w.ClientStream.Header() }

// What stands between us and gRPC may keep our options from it: the stream works,
// and its call ends, with the caller's context at the latest.
func TestAnInterceptorThatDropsOptions(t *testing.T) {
	drops := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := next(ctx, desc, cc, method)
		return &wrapped{s}, err
	})
	until := make(chan struct{})
	close(until)
	for _, r := range []struct {
		name string
		do   func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error
		read bool
		want codes.Code
	}{
		{"read to its end", orders(sending{2, codes.OK}), true, codes.OK},
		{"read to its failure", orders(sending{2, codes.Unavailable}), true, codes.Unavailable},
		{"failed at once", orders(sending{0, codes.Unavailable}), true, codes.Unavailable},
		{"left, and cancelled", endless(nil), false, codes.Canceled},
	} {
		s := &server{watch: r.do}
		calls := newTally()
		c := start(t, s, backstay.New(calls, attempting(3)), grpccall.Config{}, drops)
		ctx, cancel := context.WithCancel(limited(t))
		stream, err := c.Watch(ctx, &pb.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if r.read {
			_, err = drain(stream)
		} else {
			_, err = stream.Recv()
			cancel()
		}
		if r.read && status.Code(err) != r.want {
			t.Errorf("a stream that is %s ended with %v, want %v", r.name, err, r.want)
		}
		if err := calls.end(t); status.Code(err) != r.want {
			t.Errorf("a stream that is %s: OnDone was told %v, want %v", r.name, err, r.want)
		}
		cancel()
	}
}

// An interceptor may also refuse a stream for its headers.
func TestAnInterceptorThatRefusesHeaders(t *testing.T) {
	refuses := grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := next(ctx, desc, cc, method, opts...)
		return refusing{s}, err
	})
	s := &server{watch: endless(nil)}
	calls := newTally()
	c := start(t, s, backstay.New(calls, attempting(3)), grpccall.Config{}, refuses)
	for range 20 {
		o := stale()
		if _, err := watchAll(limited(t), c, o.options()...); status.Code(err) != codes.Unavailable || len(o.finished) != 1 {
			t.Fatalf("Watch() = %v, OnFinish was told %v, want Unavailable", err, o.finished)
		}
		calls.end(t)
	}
	if n := len(s.attempts()); n != 60 {
		t.Errorf("20 calls made %d attempts, want 60", n)
	}
}

type refusing struct{ grpc.ClientStream }

func (r refusing) Header() (metadata.MD, error) {
	if _, err := r.ClientStream.Header(); err != nil {
		return nil, err
	}
	return nil, status.Error(codes.Unavailable, "refused")
}

// gRPC allows one goroutine that sends beside one that receives, and any for the
// rest.
func TestAStreamIsUsedByManyGoroutines(t *testing.T) {
	s := &server{}
	s.chat = func(_ int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		for {
			m, err := st.Recv()
			if err != nil {
				return unlessEOF(err)
			}
			if err := st.Send(m); err != nil {
				return err
			}
		}
	}
	s.watch = func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		return orders(sending{0, codes.Unavailable}, sending{100, codes.OK})(min(2, 1+n%3), req, st)
	}
	conn := startConn(t, s, backstay.New(timeout.Call(within), attempting(5), timeout.Attempt(within/2)), grpccall.Config{})
	for _, method := range []string{chat, watch} {
		for range 10 {
			stream, err := conn.NewStream(limited(t), descOf(method), method)
			if err != nil {
				t.Fatal(err)
			}
			if method == watch {
				if err := stream.SendMsg(&pb.WatchRequest{}); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { _, _ = stream.Header() })
				wg.Go(func() { _ = stream.Trailer() })
				if method == chat {
					wg.Go(func() { stream.Context() })
				}
			}
			wg.Go(func() {
				for i := 0; method == chat && i < 100; i++ {
					_ = stream.SendMsg(&pb.ChatMessage{Text: fmt.Sprint(i)})
				}
				_ = stream.CloseSend()
			})
			got := 0
			for ; ; got++ {
				m := &pb.ChatMessage{}
				into := any(m)
				if method == watch {
					into = &pb.Order{}
				}
				if err = stream.RecvMsg(into); err != nil {
					break
				}
				if method == chat && m.Text != fmt.Sprint(got) {
					t.Fatalf("message %d = %q", got, m.Text)
				}
			}
			wg.Wait()
			if got != 100 || err != io.EOF {
				t.Errorf("%s: %d messages, then %v, want 100", method, got, err)
			}
		}
	}
}
