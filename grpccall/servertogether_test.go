package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// under returns a client of the bank whose calls are made under the policy.
func (b *bank) under(t *testing.T, p *backstay.Policy) testpb.TestServiceClient {
	t.Helper()
	opts := append(grpccall.DialOptions(p, grpccall.Config{}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(b.conn.Target(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return testpb.NewTestServiceClient(conn)
}

// I-9, I-10: an attempt that finds the one before it still at work comes back,
// with the same key, and gets the one answer.
func TestAClientComesBackForAnAnswerThatIsUnderWay(t *testing.T) {
	leak.Check(t)
	inProgress := make(chan struct{}, 100)
	b := openBank(t, idempotency.GuardConfig{Lease: 50 * time.Millisecond}, onceOnly(), func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		resp, err := next(ctx, req)
		if status.Code(err) == codes.Aborted {
			inProgress <- struct{}{}
		}
		return resp, err
	})
	b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-inProgress // of two attempts
		<-inProgress
		return &testpb.SimpleResponse{Username: "done"}, nil
	}
	client := b.under(t, backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		retry.New(retry.Config{MaxAttempts: 100}),
		timeout.Attempt(30*time.Millisecond),
	))
	resp, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
	if resp.GetUsername() != "done" || err != nil || b.runs() != 1 {
		t.Errorf("UnaryCall = %v, %v, and ran %d times, want done, nil, 1", resp, err, b.runs())
	}
}

// I-9, I-10: what the server has against a key is an error of package
// idempotency at the client.
func TestAClientIsToldWhatIsWrongWithItsKey(t *testing.T) {
	leak.Check(t)
	b := openBank(t, idempotency.GuardConfig{}, onceOnly())
	client := b.under(t, backstay.New(idempotency.Keys(idempotency.KeysConfig{}), retry.New(retry.Config{})))
	ctx := idempotency.WithKey(t.Context(), secretKey)
	for i, want := range []error{nil, idempotency.ErrMismatch} {
		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: int32(i)})
		if !errors.Is(grpccall.KeyError(status.Convert(err)), want) {
			t.Errorf("call %d = %v, want %v", i, err, want)
		}
		if i > 0 && status.Code(err) != codes.FailedPrecondition {
			t.Errorf("call %d = %v, want FAILED_PRECONDITION", i, fmt.Sprint(err))
		}
	}
	if b.runs() != 1 {
		t.Errorf("the work ran %d times, want 1", b.runs())
	}
}

// G-3: the server ends an attempt at the same deadline, and may be heard of
// before our own timer.
func TestAnAttemptIsOutOfTimeWhoeverSaysSoFirst(t *testing.T) {
	leak.Check(t)
	cfg := onceOnly()
	cfg.Optional = true
	b := openBank(t, idempotency.GuardConfig{}, cfg)
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client := b.under(t, backstay.New(timeout.Attempt(5*time.Millisecond)))
	for i := range 100 {
		_, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{})
		if _, ok := errors.AsType[*timeout.Error](err); !ok || backstay.Classify(err) != backstay.Transient {
			t.Fatalf("call %d = %v, which is %v, want a timeout, which is %v", i+1, err, backstay.Classify(err), backstay.Transient)
		}
	}
}
