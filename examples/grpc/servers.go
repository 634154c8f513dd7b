package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A fleet is three servers of one shop.
type fleet struct {
	shop    *shop
	servers []*server
}

// A server is the shop behind a trouble of its own, which it counts.
type server struct {
	name, trouble string
	takes         time.Duration
	flaky         bool

	address string
	grpc    *grpc.Server

	asked, failed, slow atomic.Int64

	mu    sync.Mutex
	turns map[string]int // of each method
}

const (
	usual   = 5 * time.Millisecond
	tooLong = 20 * usual
)

func newFleet() *fleet {
	return &fleet{newShop(), []*server{
		{name: "ann", trouble: "is well", takes: usual},
		{name: "bob", trouble: "answers UNAVAILABLE to one call in four, every other time after the work", takes: usual, flaky: true},
		{name: "cleo", trouble: fmt.Sprintf("takes %v where the others take %v", tooLong, usual), takes: tooLong},
	}}
}

// start has the servers listen, each on a port of its own. They share the keys
// of the orders that were placed, as servers of several processes would through
// Redis or PostgreSQL.
func (f *fleet) start() error {
	once := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{}), grpccall.ServerConfig{
		Methods:  []string{ordersv1.Orders_Place_FullMethodName},
		Tenant:   grpccall.OneTenant,
		Optional: true, // two of the clients here know no keys
	})
	for _, s := range f.servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			f.stop()
			return fmt.Errorf("a server needs a port on 127.0.0.1: %w", err)
		}
		s.address = l.Addr().String()
		s.turns = map[string]int{}
		s.grpc = grpc.NewServer(
			grpc.ChainUnaryInterceptor(s.troubleUnary, once),
			grpc.ChainStreamInterceptor(s.troubleStream),
		)
		ordersv1.RegisterOrdersServer(s.grpc, f.shop)
		go s.grpc.Serve(l)
	}
	return nil
}

func (f *fleet) stop() {
	for _, s := range f.servers {
		if s.grpc != nil {
			s.grpc.Stop()
		}
	}
}

// at returns the name of the server with the port.
func (f *fleet) at(port string) string {
	for _, s := range f.servers {
		if strings.HasSuffix(s.address, ":"+port) {
			return s.name
		}
	}
	return ""
}

// troubleUnary stands around everything else that the server does, so that an
// answer it loses is one that everything else has given.
func (s *server) troubleUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	fate := s.draw(info.FullMethod)
	if fate == refused {
		return nil, s.fail("try another server")
	}
	resp, err := handle(ctx, req)
	if fate == lost {
		return nil, s.fail("the answer was lost")
	}
	return resp, err
}

// troubleStream fails a stream before its first message. One whose requests are
// a stream is spared, since grpccall leaves it to the application to make that
// again.
func (s *server) troubleStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := s.begin(stream.Context()); err != nil {
		return err
	}
	if !info.IsClientStream && s.draw(info.FullMethod) != answered {
		return s.fail("try another server")
	}
	return handle(srv, stream)
}

// begin counts a call, and takes the time that this server takes.
func (s *server) begin(ctx context.Context) error {
	s.asked.Add(1)
	if s.takes > usual {
		s.slow.Add(1)
	}
	return pause(ctx, s.takes)
}

func (s *server) fail(why string) error {
	s.failed.Add(1)
	return status.Error(codes.Unavailable, why)
}

// A fate is what becomes of a call.
type fate int

const (
	answered fate = iota
	refused       // before the work
	lost          // after it
)

// draw goes by turns and not by chance, so that every run shows the same.
func (s *server) draw(method string) fate {
	if !s.flaky {
		return answered
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns[method]++
	switch s.turns[method] % 8 {
	case 2:
		return lost
	case 6:
		return refused
	}
	return answered
}
