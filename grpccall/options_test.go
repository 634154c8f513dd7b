package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// told is what the call options of a caller were told.
type told struct {
	header, trailer metadata.MD
	peer            peer.Peer
	finished        []error
}

// stale returns what an earlier call has left.
func stale() *told {
	return &told{
		header: metadata.Pairs("attempt", "stale"), trailer: metadata.Pairs("attempt", "stale"),
		peer: peer.Peer{Addr: &net.TCPAddr{}},
	}
}

func (o *told) options() []grpc.CallOption {
	return []grpc.CallOption{
		grpc.Header(&o.header), grpc.Trailer(&o.trailer), grpc.Peer(&o.peer),
		grpc.OnFinish(func(err error) { o.finished = append(o.finished, err) }),
	}
}

// numbered returns the Get of a server whose attempts send their number as
// header and trailer; the first ones end with the codes.
func numbered(fail ...codes.Code) func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
	get := failing(fail...)
	return func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
		md := metadata.Pairs("attempt", strconv.Itoa(n))
		_, _ = grpc.SetHeader(ctx, md), grpc.SetTrailer(ctx, md)
		return get(ctx, n, req)
	}
}

// G-12
func TestOptionsAreToldOfTheFinalAttempt(t *testing.T) {
	const bad = codes.Unavailable
	rows := []struct {
		what   string
		server []codes.Code
		final  string
	}{
		{"a success at once", nil, "1"},
		{"a success at last", []codes.Code{bad, bad}, "3"},
		{"a failure", []codes.Code{bad, bad, bad}, "3"},
		{"a failure at once", []codes.Code{codes.Internal}, "1"},
	}
	for _, row := range rows {
		s := &server{get: numbered(row.server...)}
		c := start(t, s, again(), grpccall.Config{})
		o := stale()
		_, err := c.Get(limited(t), &pb.GetRequest{}, o.options()...)
		if got := fmt.Sprint(o.trailer["attempt"]); got != "["+row.final+"]" {
			t.Errorf("%s: the trailer is that of attempt %s, want %s", row.what, got, row.final)
		}
		if got := fmt.Sprint(o.header["attempt"]); got != "["+row.final+"]" {
			t.Errorf("%s: the header is that of attempt %s, want %s", row.what, got, row.final)
		}
		if o.peer.Addr == nil || o.peer.Addr.String() != s.addr {
			t.Errorf("%s: the peer is %v, want %s", row.what, o.peer.Addr, s.addr)
		}
		if len(o.finished) != 1 || o.finished[0] != err {
			t.Errorf("%s: OnFinish was called with %v, want once with %v", row.what, o.finished, err)
		}
	}
}

// G-12, G-13
func TestOptionsAreClearedWhereNothingReachedAServer(t *testing.T) {
	leak.Check(t)
	open := breaker.New(breaker.Config{})
	open.ForceOpen()
	refusing := grpccall.Config{ServiceRetry: grpccall.RefuseServiceRetry, ServiceConfig: fourAttempts}
	rows := []struct {
		what string
		p    *backstay.Policy
		cfg  grpccall.Config
		opts []grpc.DialOption
	}{
		{"an open breaker", backstay.New(open), grpccall.Config{}, nil},
		{"no connection", again(), grpccall.Config{}, []grpc.DialOption{grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return nil, errors.New("refused")
		})}},
		{"a refused service config", again(), refusing, nil},
	}
	for _, row := range rows {
		conn := connect(t, "passthrough:///nowhere", append(grpccall.DialOptions(row.p, row.cfg), row.opts...)...)
		settled(t, conn, row.cfg.ServiceConfig)
		o := stale()
		_, err := pb.NewOrdersClient(conn).Get(limited(t), &pb.GetRequest{}, o.options()...)
		if err == nil || len(o.header) != 0 || len(o.trailer) != 0 || o.peer.Addr != nil || len(o.finished) != 1 || o.finished[0] != err {
			t.Errorf("%s: Get = %v with header %v, trailer %v, peer %v and OnFinish(%v), want nothing, and OnFinish with the error",
				row.what, err, o.header, o.trailer, o.peer.Addr, o.finished)
		}
	}
}

// G-12: each of several options is told.
func TestOptionsMayComeMoreThanOnce(t *testing.T) {
	s := &server{get: numbered(codes.Unavailable)}
	c := start(t, s, again(), grpccall.Config{}, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<20)))
	a, b := stale(), stale()
	if _, err := c.Get(limited(t), &pb.GetRequest{}, append(a.options(), b.options()...)...); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*told{a, b} {
		if !slices.Equal(o.trailer["attempt"], []string{"2"}) || !slices.Equal(o.header["attempt"], []string{"2"}) || len(o.finished) != 1 {
			t.Errorf("of options given twice: header %v, trailer %v, OnFinish %v, want those of attempt 2, once", o.header, o.trailer, o.finished)
		}
	}
}

// A strange is a call option that nobody here knows.
type strange struct {
	grpc.EmptyCallOption
	name string
}

// G-12, G-13: an interceptor beneath sees on each attempt the options of others
// in their order, and ours in place of those that point to the caller's variables.
func TestForeignOptionsPassThrough(t *testing.T) {
	s := &server{get: failing(codes.Unavailable)}
	var header, trailer metadata.MD
	var at peer.Peer
	var seen [][]string
	look := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		var names []string
		for _, o := range opts {
			switch o := o.(type) {
			case strange:
				names = append(names, o.name)
			case grpc.MaxSendMsgSizeCallOption:
				names = append(names, fmt.Sprint(o.MaxSendMsgSize))
			case grpc.TrailerCallOption:
				names = append(names, fmt.Sprintf("trailer, the caller's: %t", o.TrailerAddr == &trailer))
			case grpc.PeerCallOption:
				names = append(names, fmt.Sprintf("peer, the caller's: %t", o.PeerAddr == &at))
			}
		}
		seen = append(seen, names)
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	c := start(t, s, again(), grpccall.Config{}, grpc.WithChainUnaryInterceptor(look))
	_, err := c.Get(limited(t), &pb.GetRequest{}, strange{name: "first"}, grpc.Header(&header), grpc.Trailer(&trailer), grpccall.Idempotent(),
		grpc.MaxCallSendMsgSize(1000), grpc.Peer(&at), strange{name: "last"})
	want := []string{"first", "1000", "last", "trailer, the caller's: false", "peer, the caller's: false"}
	if err != nil || len(seen) != 2 || !slices.Equal(seen[0], want) || !slices.Equal(seen[1], want) {
		t.Errorf("Get = %v; the interceptor beneath saw %q, want %q twice", err, seen, want)
	}
}

// G-14
func TestOptionsDoNothingWithoutTheInterceptor(t *testing.T) {
	leak.Check(t)
	s := serve(t, unwell())
	c := pb.NewOrdersClient(connect(t, s.addr))
	if _, err := c.Place(limited(t), &pb.PlaceRequest{}, grpccall.Idempotent()); status.Code(err) != codes.Unavailable || len(s.attempts()) != 1 {
		t.Errorf("Place with Idempotent on a bare channel = %v after %d attempts, want UNAVAILABLE after 1", err, len(s.attempts()))
	}
	s.place = nil
	st, err := c.Chat(limited(t), grpccall.Idempotent())
	if err == nil {
		_, err = st.Recv()
	}
	if _, placed := c.Place(limited(t), &pb.PlaceRequest{}, grpccall.Idempotent()); placed != nil {
		t.Errorf("Place with Idempotent on a bare channel = %v, want none", placed)
	}
	if fmt.Sprint(err) != "EOF" {
		t.Errorf("Chat with Idempotent on a bare channel = %v, want EOF", err)
	}
}

// G-22
func TestCallsThatWaitForReadyWait(t *testing.T) {
	leak.Check(t)
	s := serve(t, &server{})
	const failures = 5
	rows := []struct {
		what string
		cfg  grpccall.Config
		opts []grpc.CallOption
		wait bool
	}{
		{"by default", grpccall.Config{}, nil, false},
		{"with WaitForReady(false)", grpccall.Config{}, []grpc.CallOption{grpc.WaitForReady(false)}, false},
		{"with WaitForReady(true)", grpccall.Config{}, []grpc.CallOption{grpc.WaitForReady(true)}, true},
		{"by the service config", grpccall.Config{ServiceConfig: `{"methodConfig":[{"name":[{}],"waitForReady":true}]}`}, nil, true},
	}
	for _, row := range rows {
		var dialed atomic.Int32
		flaky := func(ctx context.Context, addr string) (net.Conn, error) {
			if dialed.Add(1) <= failures {
				return nil, errors.New("refused")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
		quick := backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond}
		c := dial(t, s.addr, nil, row.cfg, grpc.WithContextDialer(flaky), grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick}))
		_, err := c.Place(limited(t), &pb.PlaceRequest{}, row.opts...)
		if waited := err == nil; waited != row.wait || !row.wait && status.Code(err) != codes.Unavailable {
			t.Errorf("Place %s while nobody listens = %v, want it to wait: %t", row.what, err, row.wait)
		}
	}
}

// counting are credentials that are good for one attempt.
type counting struct{ asked *atomic.Int32 }

func (c counting) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"token": fmt.Sprint(c.asked.Add(1))}, nil
}

func (c counting) RequireTransportSecurity() bool { return false }

// G-23
func TestCredentialsAreAskedForEachAttempt(t *testing.T) {
	want := []string{"1", "2", "3"}
	for where, opts := range map[string]func(counting) ([]grpc.DialOption, []grpc.CallOption){
		"channel": func(c counting) ([]grpc.DialOption, []grpc.CallOption) {
			return []grpc.DialOption{grpc.WithPerRPCCredentials(c)}, nil
		},
		"call": func(c counting) ([]grpc.DialOption, []grpc.CallOption) {
			return nil, []grpc.CallOption{grpc.PerRPCCredentials(c)}
		},
	} {
		s := unwell()
		ofChannel, ofCall := opts(counting{new(atomic.Int32)})
		c := start(t, s, backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()})), grpccall.Config{}, ofChannel...)
		_, err := c.Get(limited(t), &pb.GetRequest{}, ofCall...)
		if got := s.sent("token"); !slices.Equal(got, want) {
			t.Errorf("Get with credentials of the %s = %v; the attempts had the tokens %q, want %q", where, err, got, want)
		}
	}
}
