package grpccall_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
)

// A stuckConn is a connection that stops writing when it is told to, until it is
// closed.
type stuckConn struct {
	net.Conn
	stick   chan struct{} // closed: from now on
	sticks  chan struct{} // gets one when a write has begun that does not end
	close   sync.Once
	closing chan struct{}
}

func (c *stuckConn) Write(b []byte) (int, error) {
	if !closed(c.stick) {
		return c.Conn.Write(b)
	}
	select {
	case c.sticks <- struct{}{}:
	default:
	}
	<-c.closing
	return 0, net.ErrClosed
}

func (c *stuckConn) Close() error {
	c.close.Do(func() { close(c.closing) })
	return c.Conn.Close()
}

// To gRPC the Header of a stream that it has not written when the connection is
// lost is that of a success without messages.
//
// G-18
func TestAStreamThatWasNotWrittenIsTriedAgain(t *testing.T) {
	var dials int
	conn := &stuckConn{stick: make(chan struct{}), sticks: make(chan struct{}, 1), closing: make(chan struct{})}
	dialer := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if dials++; dials > 1 || err != nil { // gRPC makes one after the other
			return c, err
		}
		conn.Conn = c
		return conn, nil
	}
	opens := make(chan struct{}, 5)
	opened := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		defer func() { opens <- struct{}{} }()
		return next(ctx, desc, cc, method, opts...)
	}
	s := &server{}
	calls := newTally()
	cc := startConn(t, s, backstay.New(attempting(2), calls), grpccall.Config{}, grpc.WithContextDialer(dialer), grpc.WithChainStreamInterceptor(opened))
	c := pb.NewOrdersClient(cc)
	mustGet(t, c)
	<-calls.ended
	close(conn.stick)
	first, err := c.Watch(limited(t), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-conn.sticks // so that what comes next is not written
	second, err := c.Watch(limited(t), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	third, err := c.Import(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-opens
	}
	_ = conn.Close()
	for i, stream := range []grpc.ServerStreamingClient[pb.Order]{first, second} {
		if got, err := drain(stream); got != "0" || err != nil {
			t.Errorf("Watch %d = orders %q, %v, want 0 by a second attempt", i+1, got, err)
		}
	}
	if _, err := third.CloseAndRecv(); !says(err, "Unavailable") {
		t.Errorf("Import = %v, want UNAVAILABLE", err)
	}
}
