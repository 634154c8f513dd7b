package grpccall_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// The methods that stream, by who does.
const (
	watch  = "/orders.v1.Orders/Watch"
	upload = "/orders.v1.Orders/Import"
	chat   = "/orders.v1.Orders/Chat"
)

// descOf returns what generated code says of the method.
func descOf(method string) *grpc.StreamDesc {
	return &grpc.StreamDesc{ServerStreams: method != upload, ClientStreams: method != watch}
}

// startConn is start for those who make streams by hand.
func startConn(t testing.TB, s *server, p *backstay.Policy, cfg grpccall.Config, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	leak.Check(t)
	serve(t, s)
	return connect(t, s.addr, append(grpccall.DialOptions(p, cfg), opts...)...)
}

// retrying up to n attempts, without pauses.
func attempting(n int) backstay.Middleware {
	return retry.New(retry.Config{MaxAttempts: n, NoBudget: true, Backoff: retry.NoPause()})
}

// orders returns the Watch of a server whose attempts send as many orders as
// counts says, numbered from 0, and then end with the code.
func orders(of ...sending) func(int, *pb.WatchRequest, grpc.ServerStreamingServer[pb.Order]) error {
	return func(n int, req *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
		one := of[min(n, len(of))-1]
		for i := range one.count {
			if err := s.Send(&pb.Order{Id: req.Id, Quantity: int32(i)}); err != nil {
				return err
			}
		}
		return failed(one.code, fmt.Sprintf("attempt %d", n))
	}
}

// A sending is what one attempt of a Watch does.
type sending struct {
	count int
	code  codes.Code
}

// drain receives until the stream ends, and returns the numbers of the orders as
// text and the end.
func drain(s grpc.ServerStreamingClient[pb.Order]) (string, error) {
	var got []string
	for {
		o, err := s.Recv()
		if err != nil {
			return strings.Join(got, " "), unlessEOF(err)
		}
		got = append(got, fmt.Sprint(o.Quantity))
	}
}

func unlessEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// watchAll makes a call to Watch and drains it.
func watchAll(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) (string, error) {
	s, err := c.Watch(ctx, &pb.WatchRequest{Id: "7"}, opts...)
	if err != nil {
		return "", err
	}
	return drain(s)
}

// A tally is a middleware that knows which calls are under way, and how attempts
// and calls have ended.
type tally struct {
	mu      sync.Mutex
	open    int
	answers []error // of the attempts, as the policy sees them
	ends    []error // of the streams, as OnDone has them
	ended   chan struct{}
}

func newTally() *tally { return &tally{ended: make(chan struct{}, 1<<16)} }

func (c *tally) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		c.mu.Lock()
		c.open++
		c.mu.Unlock()
		call.OnDone(func(err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.open--
			c.ends = append(c.ends, err)
			c.ended <- struct{}{}
		})
		err := next(ctx, call)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers = append(c.answers, err)
		return err
	}
}

// inFlight returns how many calls have not ended.
func (c *tally) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// end waits for the next call to end, and returns the error it did with.
func (c *tally) end(t testing.TB) error {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(within):
		t.Fatal("the call is in flight still, want it ended")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends[len(c.ends)-1]
}

// attempts returns how many there were.
func (c *tally) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers)
}

// A fake is a gRPC stream for tests of time, which sockets would make real, and of
// what other interceptors may do. What it does not say is done at once.
type fake struct {
	opens   time.Duration // until it is one
	takes   time.Duration // from then until headers
	headers bool
	trailer metadata.MD
	send    func(ctx context.Context, m any) error
	recv    func(ctx context.Context, n int, m any) error // the nth, from 1
	end     error                                         // of one without headers
	deaf    bool                                          // does not tell our options anything

	ctx    context.Context
	opts   []grpc.CallOption
	mu     sync.Mutex
	over   bool
	sent   []any
	closed int
	read   int
}

// like returns a new one that does what f does.
func (f *fake) like() *fake {
	return &fake{takes: f.takes, headers: f.headers, trailer: f.trailer, send: f.send, recv: f.recv, end: f.end, deaf: f.deaf}
}

// open makes f a stream of ctx.
func (f *fake) open(ctx context.Context, opts []grpc.CallOption) grpc.ClientStream {
	f.ctx, f.opts = ctx, opts
	if !f.deaf {
		context.AfterFunc(ctx, func() { f.finish(status.FromContextError(ctx.Err()).Err()) })
	}
	return f
}

// finish tells the options of the end, once, as gRPC does.
func (f *fake) finish(err error) {
	f.mu.Lock()
	before := f.over
	f.over = true
	if !before && !f.deaf {
		for _, o := range f.opts {
			switch o := o.(type) {
			case grpc.TrailerCallOption:
				*o.TrailerAddr = f.trailer
			case grpc.PeerCallOption:
				o.PeerAddr.Addr = &net.TCPAddr{}
			}
		}
	}
	f.mu.Unlock()
	if before || f.deaf {
		return
	}
	for _, o := range f.opts {
		if o, ok := o.(grpc.OnFinishCallOption); ok {
			o.OnFinish(unlessEOF(err))
		}
	}
}

func (f *fake) Header() (metadata.MD, error) {
	if err := wait(f.ctx, f.takes); err != nil {
		f.finish(err)
		return nil, nil
	}
	if !f.headers {
		f.finish(f.end)
		return nil, nil
	}
	return metadata.MD{"fake": nil}, nil
}

func (f *fake) Trailer() metadata.MD     { return f.trailer }
func (f *fake) Context() context.Context { return f.ctx }

func (f *fake) CloseSend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fake) SendMsg(m any) error {
	f.mu.Lock()
	f.sent = append(f.sent, m)
	f.mu.Unlock()
	if f.send == nil {
		return nil
	}
	err := f.send(f.ctx, m)
	if err != nil && err != io.EOF {
		f.finish(err)
	}
	return err
}

func (f *fake) RecvMsg(m any) error {
	f.read++
	err := io.EOF
	if f.recv != nil {
		err = f.recv(f.ctx, f.read, m)
	} else if !f.headers && f.end != nil {
		err = f.end
	}
	if err != nil {
		f.finish(err)
	}
	return err
}

// A stage makes the streams of fakes under a policy, one for each attempt.
type stage struct {
	fakes     []*fake
	intercept grpc.StreamClientInterceptor

	mu   sync.Mutex
	at   []time.Time
	used int
}

func onStage(p *backstay.Policy, cfg grpccall.Config, fakes ...*fake) *stage {
	cfg.Idempotent = func(string) bool { return true }
	return &stage{fakes: fakes, intercept: grpccall.StreamClientInterceptor(p, cfg)}
}

func (g *stage) stream(ctx context.Context, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return g.intercept(ctx, descOf(method), nil, method, g.next, opts...)
}

// next is the streamer.
func (g *stage) next(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	g.mu.Lock()
	g.at = append(g.at, time.Now())
	g.used++
	f := g.fakes[min(g.used, len(g.fakes))-1]
	g.mu.Unlock()
	if err := wait(ctx, f.opens); err != nil {
		return nil, err
	}
	return f.open(ctx, opts), nil
}

// watch is a whole call to Watch: it returns how many messages came, and the end.
func (g *stage) watch(ctx context.Context, opts ...grpc.CallOption) (int, error) {
	s, err := g.stream(ctx, watch, opts...)
	if err != nil {
		return 0, err
	}
	if err := s.SendMsg(&pb.WatchRequest{}); err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if err := s.RecvMsg(&pb.Order{}); err != nil {
			return n, unlessEOF(err)
		}
	}
}

// sends returns the recv of a fake that has n messages, some time apart.
func sends(n int, apart time.Duration) func(context.Context, int, any) error {
	return func(ctx context.Context, i int, _ any) error {
		if err := wait(ctx, apart); err != nil {
			return err
		}
		if i > n {
			return io.EOF
		}
		return nil
	}
}

// nobody returns an address at which nobody listens.
func nobody(t testing.TB) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}
