package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// starting is a service that fails its first call, and cannot cancel anything.
type starting struct {
	pb.UnimplementedOrdersServer
	calls int
}

func (s *starting) Get(_ context.Context, req *pb.GetRequest) (*pb.Order, error) {
	if s.calls++; s.calls == 1 {
		return nil, status.Error(codes.Unavailable, "starting")
	}
	return &pb.Order{Id: req.Id, Item: "tea"}, nil
}

func (s *starting) Place(_ context.Context, req *pb.PlaceRequest) (*pb.Order, error) {
	if s.calls++; s.calls == 1 {
		return nil, status.Error(codes.Unavailable, "starting")
	}
	return &pb.Order{Item: req.Item}, nil
}

func (s *starting) Cancel(context.Context, *pb.CancelRequest) (*pb.Order, error) {
	return nil, status.Error(codes.Unavailable, "no database")
}

// serveOrders serves a service on loopback until stop is called.
func serveOrders(service pb.OrdersServer) (target string, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	pb.RegisterOrdersServer(server, service)
	go func() { _ = server.Serve(listener) }()
	return "dns:///" + listener.Addr().String(), server.Stop
}

// A call of up to 2 s, in up to 3 attempts of 500 ms, each at the endpoint with
// the least load of those that are well.
func Example() {
	target, stop := serveOrders(&starting{})
	defer stop()
	creds := insecure.NewCredentials()

	policy := backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{}),
		loadbalance.NewBalancer(loadbalance.Config{}),
		breaker.NewGroup(breaker.Config{Name: "orders"}, breaker.ByEndpoint),
		timeout.Attempt(500*time.Millisecond),
	)
	conn, err := grpc.NewClient(target, // such as "dns:///orders.internal:443"
		append(grpccall.DialOptions(policy, grpccall.Config{}), grpc.WithTransportCredentials(creds))...)

	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	order, err := pb.NewOrdersClient(conn).Get(context.Background(), &pb.GetRequest{Id: "7"})
	fmt.Println(order.GetItem(), err)
	// Output: tea <nil>
}

// The error of a call is the last status of the server. What the policy did is
// in it for errors.As.
func Example_errors() {
	target, stop := serveOrders(&starting{})
	defer stop()
	policy := backstay.New(retry.New(retry.Config{}))
	conn, err := grpc.NewClient(target,
		append(grpccall.DialOptions(policy, grpccall.Config{}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	_, err = pb.NewOrdersClient(conn).Cancel(context.Background(), &pb.CancelRequest{Id: "7"})
	fmt.Println(err)
	if made, ok := errors.AsType[*retry.Error](err); ok {
		fmt.Println(made.Attempts, "attempts")
	}
	// Output:
	// rpc error: code = Unavailable desc = no database
	// 3 attempts
}

// A method that its definition says nothing of is tried again only where the
// caller knows that twice is once.
func ExampleIdempotent() {
	service := &starting{}
	target, stop := serveOrders(service)
	defer stop()
	conn, err := grpc.NewClient(target,
		append(grpccall.DialOptions(backstay.New(retry.New(retry.Config{})), grpccall.Config{}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	client := pb.NewOrdersClient(conn)

	for _, opts := range [][]grpc.CallOption{nil, {grpccall.Idempotent()}} {
		service.calls = 0
		_, err := client.Place(context.Background(), &pb.PlaceRequest{Item: "tea"}, opts...)
		fmt.Println(service.calls, status.Code(err))
	}
	// Output:
	// 1 Unavailable
	// 2 OK
}
