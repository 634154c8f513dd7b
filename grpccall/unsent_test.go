package grpccall_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
)

// An addressless connection is one over something that has no address, such as
// a pipe to a child process.
type addressless struct{ net.Conn }

func (addressless) RemoteAddr() net.Addr { return nil }

// G-2: what looks as if no server had seen the call, though one has. Place has no
// level and no key, and its server does the work and loses the answer.
func TestACallThatAServerMayHaveSeenIsNotMadeAgain(t *testing.T) {
	s := serve(t, &server{})
	s.place = func(context.Context, int, *pb.PlaceRequest) (*pb.Order, error) {
		return nil, status.Error(codes.Unavailable, "lost after the work")
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := lis.Addr().String()
	_ = lis.Close()
	standby := connect(t, s.addr)
	fallback := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if invoke(ctx, method, req, reply, cc, opts...) == nil {
			return nil
		}
		return standby.Invoke(ctx, method, req, reply)
	}
	reworded := under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if err := next(ctx, call); err != nil {
			return status.Errorf(status.Code(err), "orders: %v", err)
		}
		return nil
	})
	inner := grpccall.UnaryClientInterceptor(backstay.New(reworded), grpccall.Config{})
	for _, row := range []struct {
		name, target string
		option       grpc.DialOption
	}{
		{"a connection without an address", "passthrough:///x", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
			return addressless{conn}, err
		})},
		{"a fallback inside, beside our options", nobody, grpc.WithChainUnaryInterceptor(fallback)},
		{"a policy inside that changes the error", s.addr, grpc.WithChainUnaryInterceptor(inner)},
	} {
		before := len(s.attempts())
		_, err := dial(t, row.target, again(), grpccall.Config{}, row.option).Place(limited(t), &pb.PlaceRequest{})
		if n := len(s.attempts()) - before; n != 1 {
			t.Errorf("%s: Place reached the server %d times, want 1 (%v)", row.name, n, err)
		}
	}
}

// G-2: gRPC's own second attempt finds no connection, and the first was sent.
func TestACallOfWhichOnlyTheRepetitionWasRefusedIsNotMadeElsewhere(t *testing.T) {
	f := newFleet(t, 5, nil)
	var worked atomic.Int32
	for _, h := range f.hosts {
		h.place = func(ctx context.Context, _ int, _ *pb.PlaceRequest) (*pb.Order, error) {
			worked.Add(1)
			go h.grpc.Stop() // after the work
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	p, _ := picking(0)
	c := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{ServiceConfig: `{"methodConfig":[{"name":[{}],"retryPolicy":
		{"maxAttempts":2,"initialBackoff":"0.1s","maxBackoff":"0.1s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`})...))
	f.reach(t, c, f.hosts...)
	_, err := c.Place(limited(t), &pb.PlaceRequest{})
	if n := worked.Load(); n > 2 || err == nil {
		t.Errorf("Place = %v, and the work was done %d times, want an error and at most the 2 of the retryPolicy", err, n)
	}
}

// A noted message is one with something of the caller's beside it.
type noted struct {
	proto.Message
	note string
}

// G-17
func TestTheReplyMayBeATypeAroundAMessage(t *testing.T) {
	s := serve(t, &server{get: failing(codes.Unavailable)})
	conn := connect(t, s.addr, grpccall.DialOptions(again(), grpccall.Config{})...)
	w := &noted{Message: &pb.Order{}, note: "mine"}
	if err := conn.Invoke(limited(t), get, &pb.GetRequest{Id: "7"}, w); err != nil || w.Message.(*pb.Order).GetId() != "7" || w.note != "mine" {
		t.Errorf("Get into a type around a message = %v, %+v, want order 7", err, w)
	}
}

// A key of the caller's is sent as it is, so it must be one.
func TestKeysThatAreNoneAreRefused(t *testing.T) {
	c := start(t, &server{}, again(), grpccall.Config{})
	for _, keys := range []metadata.MD{{"idempotency-key": {""}}, {"idempotency-key": {"a", "b"}}} {
		if _, err := c.Place(metadata.NewOutgoingContext(limited(t), keys), &pb.PlaceRequest{}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("Place with %q = %v, want INVALID_ARGUMENT", keys, err)
		}
	}
}

// An answer is one whatever Classify calls it.
func TestAStatusThatIsClassifiedAsASuccessIsNotTriedAgain(t *testing.T) {
	s := &server{get: failing(codes.NotFound, codes.NotFound, codes.NotFound)}
	c := start(t, s, again(), grpccall.Config{Classify: func(*status.Status) backstay.Class { return backstay.Success }})
	if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.NotFound || len(s.attempts()) != 1 {
		t.Errorf("Get = %v after %d attempts, want NOT_FOUND after 1", err, len(s.attempts()))
	}
}
