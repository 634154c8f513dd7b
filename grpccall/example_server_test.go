package grpccall_test

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
)

// A ledger is a service with one account.
type ledger struct {
	testpb.UnimplementedTestServiceServer
	balance int32
}

func (l *ledger) UnaryCall(_ context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	l.balance -= r.GetResponseSize()
	return &testpb.SimpleResponse{Username: fmt.Sprint("balance ", l.balance)}, nil
}

// A client that has not got the answer calls again with the same key. The
// account is charged once.
func ExampleUnaryServerInterceptor() {
	account := func(ctx context.Context) string { // as an interceptor above has found out
		return strings.Join(metadata.ValueFromIncomingContext(ctx, "account"), "")
	}

	guard := idempotency.NewGuard(idempotency.GuardConfig{})
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(
		grpccall.UnaryServerInterceptor(guard, grpccall.ServerConfig{
			Methods: []string{"/grpc.testing.TestService/UnaryCall"},
			Tenant:  account,
		}),
	))
	testpb.RegisterTestServiceServer(server, &ledger{balance: 500})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	client := testpb.NewTestServiceClient(conn)

	ctx := metadata.AppendToOutgoingContext(context.Background(), "account", "alice", "idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324")
	for range 2 {
		var header metadata.MD
		resp, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: 100}, grpc.Header(&header))
		fmt.Println(resp.GetUsername(), err, header.Get("idempotent-replayed"))
	}
	// Output:
	// balance 400 <nil> []
	// balance 400 <nil> [true]
}
