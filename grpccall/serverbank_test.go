package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
)

const unaryCall = "/grpc.testing.TestService/UnaryCall"

// secretKey is in no text.
const secretKey = "SECRET-MARKER"

// A bank is a service on loopback that does the work of each key once.
type bank struct {
	testpb.UnimplementedTestServiceServer
	conn     *grpc.ClientConn
	client   testpb.TestServiceClient
	transfer func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error)

	mu   sync.Mutex
	told []string // what events and statuses said
	ran  int      // how often transfer was called
}

func (b *bank) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	b.mu.Lock()
	b.ran++
	b.mu.Unlock()
	return b.transfer(ctx, r)
}

func (b *bank) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func (b *bank) runs() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ran
}

func (b *bank) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, text)
}

func (b *bank) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.told, "\n")
}

// onEvent is that of a guard.
func (b *bank) onEvent(_ context.Context, e idempotency.Event) {
	b.say(fmt.Sprintf("%+v", e))
	if refused, ok := errors.AsType[*idempotency.Error](e.Err); ok {
		b.say(fmt.Sprintf("%+v", *refused))
	}
}

// onceOnly is the config of a server whose callers are one.
func onceOnly(names ...string) grpccall.ServerConfig {
	return grpccall.ServerConfig{Methods: []string{unaryCall}, Tenant: grpccall.OneTenant, Headers: names}
}

// openBank returns a bank under a guard. What stands above the guard comes last.
func openBank(t testing.TB, guard idempotency.GuardConfig, cfg grpccall.ServerConfig, above ...grpc.UnaryServerInterceptor) *bank {
	t.Helper()
	b := &bank{}
	b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return &testpb.SimpleResponse{Username: fmt.Sprint("transfer ", b.runs())}, nil
	}
	guard.OnEvent = b.onEvent
	interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(guard), cfg)
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(append(above, interceptor)...))
	testpb.RegisterTestServiceServer(server, b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	b.conn, b.client = conn, testpb.NewTestServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
	return b
}

// An answered call is all that its caller has got.
type answered struct {
	resp            *testpb.SimpleResponse
	st              *status.Status
	header, trailer metadata.MD
}

func (a answered) replayed() bool {
	return strings.Join(a.header["idempotent-replayed"], ",") == "true"
}

// same reports whether both have the same message or status, to the last bit.
func (a answered) same(b answered) bool {
	return proto.Equal(a.resp, b.resp) && proto.Equal(a.st.Proto(), b.st.Proto())
}

// call calls UnaryCall with the key.
func (b *bank) call(t testing.TB, key string) answered {
	t.Helper()
	return b.send(t.Context(), &testpb.SimpleRequest{}, "idempotency-key", key)
}

// send calls UnaryCall with the metadata.
func (b *bank) send(ctx context.Context, r *testpb.SimpleRequest, md ...string) (a answered) {
	resp, err := b.client.UnaryCall(metadata.AppendToOutgoingContext(ctx, md...), r, grpc.Header(&a.header), grpc.Trailer(&a.trailer))
	a.st = status.Convert(err)
	if err == nil {
		a.resp = resp
	}
	b.say(a.st.Proto().String())
	return a
}

// wantRefused checks that the call was refused with the error, in all its forms.
func wantRefused(t testing.TB, what string, a answered, code codes.Code, is error) *idempotency.Error {
	t.Helper()
	err := grpccall.KeyError(a.st)
	e, ok := errors.AsType[*idempotency.Error](err)
	if a.st.Code() != code || !errors.Is(err, is) || !ok {
		t.Errorf("%s = %v, %v, want %v, %v", what, a.st, err, code, is)
		return &idempotency.Error{}
	}
	return e
}

// A shop is a Store whose operations do something first, and fail if that does.
type shop struct {
	idempotency.Store
	before func(operation string) error
}

func newShop(before func(operation string) error) *shop {
	return &shop{idempotency.NewMemory(idempotency.MemoryConfig{}), before}
}

func (s *shop) Claim(ctx context.Context, c idempotency.Claim) (idempotency.Answer, error) {
	if err := s.before("Claim"); err != nil {
		return idempotency.Answer{}, err
	}
	return s.Store.Claim(ctx, c)
}

func (s *shop) Complete(ctx context.Context, c idempotency.Claim, record []byte) error {
	if err := s.before("Complete"); err != nil {
		return err
	}
	return s.Store.Complete(ctx, c, record)
}

// A vault is a Transactor whose transactions change nothing. It counts those
// that commit, which fails with err if that is not nil.
type vault struct {
	idempotency.Store
	err     error
	commits atomic.Int32
}

func newVault(err error) *vault {
	return &vault{Store: idempotency.NewMemory(idempotency.MemoryConfig{}), err: err}
}

func (v *vault) Begin(ctx context.Context, c idempotency.Claim) (context.Context, idempotency.Tx) {
	return ctx, &vaultTx{v, c}
}

type vaultTx struct {
	v *vault
	c idempotency.Claim
}

func (tx *vaultTx) Complete(ctx context.Context, record []byte) error {
	if tx.v.err != nil {
		return tx.v.err
	}
	tx.v.commits.Add(1)
	return tx.v.Store.Complete(ctx, tx.c, record)
}

func (tx *vaultTx) Rollback() error { return nil }

var errStoreDown = fmt.Errorf("the store is down: %w", io.ErrUnexpectedEOF)
