package grpccall_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// within bounds a test that would otherwise hang.
const within = 10 * time.Second

// A server is a real one on loopback, which does what the test says and knows
// what it was asked. A method without a function is answered with an empty
// message.
type server struct {
	pb.UnimplementedOrdersServer
	addr string
	grpc *grpc.Server

	get    func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error)
	place  func(ctx context.Context, n int, req *pb.PlaceRequest) (*pb.Order, error)
	cancel func(ctx context.Context, n int, req *pb.CancelRequest) (*pb.Order, error)
	watch  func(n int, req *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error
	upload func(n int, s grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error
	chat   func(n int, s grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error

	mu    sync.Mutex
	asked []asked
}

// asked is what a server knows of one attempt.
type asked struct {
	method string
	at     time.Time
	md     metadata.MD
	left   time.Duration // until its deadline; 0 where it has none
}

// serve starts s, which ends with the test.
func serve(t testing.TB, s *server, opts ...grpc.ServerOption) *server {
	t.Helper()
	return serveOn(t, s, listen(t), opts...)
}

// serveOn starts s on a listener.
func serveOn(t testing.TB, s *server, lis net.Listener, opts ...grpc.ServerOption) *server {
	s.addr = lis.Addr().String()
	s.grpc = grpc.NewServer(opts...)
	pb.RegisterOrdersServer(s.grpc, s)
	run(t, s.grpc, lis)
	return s
}

// run has a server serve a listener until the end of the test.
func run(t testing.TB, s *grpc.Server, lis net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(lis) })
	t.Cleanup(func() {
		s.Stop()
		wg.Wait()
	})
}

// listen returns a listener on loopback, which is open until the end of the test
// also where nobody keeps it.
func listen(t testing.TB) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	return lis
}

// note counts an attempt, from 1, by its method.
func (s *server) note(ctx context.Context) int {
	method, _ := grpc.Method(ctx)
	a := asked{method: method[strings.LastIndex(method, "/")+1:], at: time.Now()}
	a.md, _ = metadata.FromIncomingContext(ctx)
	if at, ok := ctx.Deadline(); ok {
		a.left = time.Until(at)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, a)
	n := 0
	for _, b := range s.asked {
		if b.method == a.method {
			n++
		}
	}
	return n
}

// attempts returns what the server was asked so far.
func (s *server) attempts() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked(nil), s.asked...)
}

// sent returns the values that each attempt had of a metadata key, joined.
func (s *server) sent(key string) []string {
	var all []string
	for _, a := range s.attempts() {
		all = append(all, strings.Join(a.md.Get(key), ","))
	}
	return all
}

func (s *server) Get(ctx context.Context, req *pb.GetRequest) (*pb.Order, error) {
	if n := s.note(ctx); s.get != nil {
		return s.get(ctx, n, req)
	}
	return &pb.Order{Id: req.Id}, nil
}

func (s *server) Place(ctx context.Context, req *pb.PlaceRequest) (*pb.Order, error) {
	if n := s.note(ctx); s.place != nil {
		return s.place(ctx, n, req)
	}
	return &pb.Order{Item: req.Item}, nil
}

func (s *server) Cancel(ctx context.Context, req *pb.CancelRequest) (*pb.Order, error) {
	if n := s.note(ctx); s.cancel != nil {
		return s.cancel(ctx, n, req)
	}
	return &pb.Order{Id: req.Id}, nil
}

func (s *server) Watch(req *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.Order]) error {
	if n := s.note(stream.Context()); s.watch != nil {
		return s.watch(n, req, stream)
	}
	return stream.Send(&pb.Order{Id: req.Id})
}

func (s *server) Import(stream grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error {
	if n := s.note(stream.Context()); s.upload != nil {
		return s.upload(n, stream)
	}
	return stream.SendAndClose(&pb.ImportResponse{})
}

func (s *server) Chat(stream grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
	if n := s.note(stream.Context()); s.chat != nil {
		return s.chat(n, stream)
	}
	return nil
}

// again is a policy that makes up to 3 attempts without pauses.
func again() *backstay.Policy { return backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()})) }

// An under is a middleware made of what it does to a call.
type under func(ctx context.Context, call *backstay.Call, next backstay.Func) error

func (u under) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error { return u(ctx, call, next) }
}

// failing returns the Get of a server whose first attempts end with the codes.
func failing(fail ...codes.Code) func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
	return func(_ context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
		if n <= len(fail) && fail[n-1] != codes.OK {
			return nil, status.Errorf(fail[n-1], "attempt %d", n)
		}
		return &pb.Order{Id: req.Id}, nil
	}
}

// dial returns a client of the target under p, which ends with the test.
func dial(t testing.TB, target string, p *backstay.Policy, cfg grpccall.Config, opts ...grpc.DialOption) pb.OrdersClient {
	t.Helper()
	return pb.NewOrdersClient(connect(t, target, append(grpccall.DialOptions(p, cfg), opts...)...))
}

// connect returns a channel without TLS that ends with the test, after which no
// goroutine may be left.
func connect(t testing.TB, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start returns a server and a client of it under p. No goroutine may be left at
// the end of the test.
func start(t testing.TB, s *server, p *backstay.Policy, cfg grpccall.Config, opts ...grpc.DialOption) pb.OrdersClient {
	t.Helper()
	leak.Check(t)
	serve(t, s)
	return dial(t, s.addr, p, cfg, opts...)
}

// limited returns a context that ends before a test that hangs is killed.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}
