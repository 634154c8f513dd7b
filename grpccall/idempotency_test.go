package grpccall_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

const key = "8e03978e-40d5-43e8-bc93-6894a57f9324"

// unwell makes all methods of s fail with UNAVAILABLE.
func unwell() *server {
	err := status.Error(codes.Unavailable, "sick")
	return &server{
		get:    func(context.Context, int, *pb.GetRequest) (*pb.Order, error) { return nil, err },
		place:  func(context.Context, int, *pb.PlaceRequest) (*pb.Order, error) { return nil, err },
		cancel: func(context.Context, int, *pb.CancelRequest) (*pb.Order, error) { return nil, err },
	}
}

// G-2
func TestOnlyIdempotentCallsAreTriedAgain(t *testing.T) {
	get := func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) error {
		_, err := c.Get(ctx, &pb.GetRequest{}, opts...)
		return err
	}
	place := func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) error {
		_, err := c.Place(ctx, &pb.PlaceRequest{}, opts...)
		return err
	}
	cancel := func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) error {
		_, err := c.Cancel(ctx, &pb.CancelRequest{}, opts...)
		return err
	}
	optioned := func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) error {
		return place(ctx, c, append(opts, grpccall.Idempotent())...)
	}
	keyed := func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) error {
		return place(metadata.AppendToOutgoingContext(ctx, "idempotency-key", key), c, opts...)
	}
	only := func(name string) grpccall.Config {
		return grpccall.Config{Idempotent: func(method string) bool { return method == name }}
	}
	rows := []struct {
		what string
		call func(context.Context, pb.OrdersClient, ...grpc.CallOption) error
		cfg  grpccall.Config
		want int
	}{
		{"a method without side effects", get, grpccall.Config{}, 3},
		{"an idempotent method", cancel, grpccall.Config{}, 3},
		{"a method without a level", place, grpccall.Config{}, 1},
		{"a method that the Config calls idempotent", place, only("/orders.v1.Orders/Place"), 3},
		{"a method beside one that the Config calls idempotent", place, only("/orders.v1.Orders/Import"), 1},
		{"a call with Idempotent", optioned, grpccall.Config{}, 3},
		{"a call with a key", keyed, grpccall.Config{}, 3},
	}
	for _, row := range rows {
		s := unwell()
		c := start(t, s, again(), row.cfg)
		if err := row.call(limited(t), c); len(s.attempts()) != row.want || status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v after %d attempts, want %d", row.what, err, len(s.attempts()), row.want)
		}
		if err := place(limited(t), c); row.cfg.Idempotent == nil && len(s.attempts()) != row.want+1 {
			t.Errorf("%s, and then Place: %v after %d attempts, want 1", row.what, err, len(s.attempts())-row.want)
		}
	}
}

func TestIdempotentIsAskedOnceForEachMethod(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	s := &server{}
	c := start(t, s, again(), grpccall.Config{Idempotent: func(method string) bool {
		mu.Lock()
		defer mu.Unlock()
		asked[method]++
		return false
	}})
	for range 3 {
		_, _ = c.Place(limited(t), &pb.PlaceRequest{})
	}
	if len(asked) != 1 || asked["/orders.v1.Orders/Place"] != 1 {
		t.Errorf("Idempotent was asked %v, want once for /orders.v1.Orders/Place", asked)
	}
}

// A tapped is a listener that tells the test its connections.
type tapped struct {
	net.Listener
	conns chan net.Conn
}

func (g tapped) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err == nil {
		g.conns <- conn
	}
	return conn, err
}

// G-2: the server may have done its work before the connection was lost.
func TestACallThatWasOnALostConnectionIsTriedAgainOnlyIfIdempotent(t *testing.T) {
	leak.Check(t)
	lis := listen(t)
	g := tapped{lis, make(chan net.Conn, 10)}
	lose := func(n int) {
		if n == 1 {
			_ = (<-g.conns).Close()
		}
	}
	s := &server{}
	s.get = func(_ context.Context, n int, _ *pb.GetRequest) (*pb.Order, error) { lose(n); return &pb.Order{}, nil }
	s.place = func(_ context.Context, n int, _ *pb.PlaceRequest) (*pb.Order, error) {
		lose(n)
		return &pb.Order{}, nil
	}
	serveOn(t, s, g)
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}))
	c := dial(t, lis.Addr().String(), p, grpccall.Config{}, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if _, err := c.Place(limited(t), &pb.PlaceRequest{}); status.Code(err) != codes.Unavailable || len(s.attempts()) != 1 {
		t.Errorf("Place on a connection that was lost = %v after %d attempts, want UNAVAILABLE after 1", err, len(s.attempts()))
	}
	if _, err := c.Get(limited(t), &pb.GetRequest{}); err != nil || len(s.attempts()) != 3 {
		t.Errorf("Get on a connection that was lost = %v after %d attempts, want none after 2", err, len(s.attempts())-1)
	}
}

// G-2
func TestACallThatNeverReachedAConnectionIsTriedAgain(t *testing.T) {
	leak.Check(t)
	refused := func(context.Context, string) (net.Conn, error) {
		return nil, errors.New("dial tcp: connect: connection refused")
	}
	rows := []struct {
		what   string
		target string
		opts   []grpc.DialOption
		reason string
	}{
		{"connection refused", "passthrough:///nowhere", []grpc.DialOption{grpc.WithContextDialer(refused)}, "connection_refused"},
		{"no addresses", "fleet:///orders", []grpc.DialOption{grpc.WithResolvers(newResolver(resolver.State{}))}, "UNAVAILABLE"},
	}
	for _, row := range rows {
		var reasons []string
		p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			err := next(ctx, call)
			reasons = append(reasons, backstay.TypeOf(err))
			if !backstay.NotSent(err) {
				t.Errorf("%s: NotSent(%v) = false, want true", row.what, err)
			}
			return err
		}))
		_, err := dial(t, row.target, p, grpccall.Config{}, row.opts...).Place(limited(t), &pb.PlaceRequest{})
		if want := []string{row.reason, row.reason, row.reason}; status.Code(err) != codes.Unavailable || !slices.Equal(reasons, want) {
			t.Errorf("%s: Place = %v after %q, want UNAVAILABLE after %q", row.what, err, reasons, want)
		}
	}
}

// A method that this program has no definition of may do anything.
func TestUnknownMethodsAreNotIdempotent(t *testing.T) {
	s := &script{steps: []step{{code: codes.Unavailable}}}
	if err := s.call(t.Context(), again(), "/nobody.Knows/This"); len(s.at) != 1 {
		t.Errorf("call of an unknown method = %v after %d attempts, want 1", err, len(s.at))
	}
}

// I-10: the key is the same on each attempt, and one that is in progress is
// waited for.
func TestACallInProgressIsTriedAgainWithTheSameKey(t *testing.T) {
	inProgress := &errdetails.ErrorInfo{Domain: "github.com/backstay-go/backstay", Reason: "IDEMPOTENCY_IN_PROGRESS"}
	rows := []struct {
		what    string
		details []detail
		keyed   bool
		want    int
		is      error // the end of a call that is not tried again, or nil
	}{
		{"ABORTED of our server", []detail{inProgress, comeBack(time.Millisecond)}, true, 3, nil},
		{"ABORTED of our server that does not say when", []detail{inProgress}, true, 3, nil},
		{"ABORTED of another server that says when to come back", []detail{comeBack(time.Millisecond)}, true, 3, nil},
		{"ABORTED that means something else", nil, true, 1, nil},
		{"ABORTED without a key", []detail{comeBack(time.Millisecond)}, false, 1, nil},
	}
	for _, row := range rows {
		s := &server{place: func(context.Context, int, *pb.PlaceRequest) (*pb.Order, error) {
			return nil, failed(codes.Aborted, "busy", row.details...)
		}}
		stack := []backstay.Middleware{retry.New(retry.Config{Backoff: retry.NoPause()})}
		if row.keyed {
			stack = append([]backstay.Middleware{idempotency.Keys(idempotency.KeysConfig{New: func() string { return key }})}, stack...)
		}
		c := start(t, s, backstay.New(stack...), grpccall.Config{})
		_, err := c.Place(limited(t), &pb.PlaceRequest{})
		sent := s.sent("idempotency-key")
		ours := slices.ContainsFunc(row.details, func(d detail) bool { return d == inProgress })
		if len(sent) != row.want || status.Code(err) != codes.Aborted || errors.Is(err, idempotency.ErrInProgress) != ours {
			t.Errorf("%s: Place = %v after %d attempts, want %d; ErrInProgress %t", row.what, err, len(sent), row.want, ours)
		}
		want := ""
		if row.keyed {
			want = key
		}
		if slices.ContainsFunc(sent, func(k string) bool { return k != want }) {
			t.Errorf("%s: the attempts had the keys %q, want %q", row.what, sent, want)
		}
	}
}

// A key of the caller's is the key of the call, for middleware too.
func TestTheKeyInTheMetadataIsThatOfTheCall(t *testing.T) {
	rows := []struct {
		what string
		ctx  func(context.Context) context.Context
		want string
	}{
		{"metadata", func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "idempotency-key", "mine")
		}, "mine"},
		{"WithKey", func(ctx context.Context) context.Context { return idempotency.WithKey(ctx, "mine") }, "mine"},
		{"none", func(ctx context.Context) context.Context { return ctx }, key},
	}
	for _, row := range rows {
		s := unwell()
		var seen []string
		p := backstay.New(
			idempotency.Keys(idempotency.KeysConfig{New: func() string { return key }}),
			retry.New(retry.Config{Backoff: retry.NoPause()}),
			under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				seen = append(seen, call.IdempotencyKey)
				return next(ctx, call)
			}))
		c := start(t, s, p, grpccall.Config{})
		_, _ = c.Place(row.ctx(limited(t)), &pb.PlaceRequest{})
		if want := []string{row.want, row.want, row.want}; !slices.Equal(seen, want) || !slices.Equal(s.sent("idempotency-key"), want) {
			t.Errorf("key by %s: middleware saw %q and the server %q, want %q", row.what, seen, s.sent("idempotency-key"), want)
		}
	}
}
