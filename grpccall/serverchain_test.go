package grpccall_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// I-10: a shop calls payments, which call a bank, each with keys of its own. The
// bank is slow and says so; payments return the error of the bank, as handlers do,
// and it is not about the shop's key.
func TestWhatAnotherServerSaysOfItsKeyIsNotAboutOnesOwn(t *testing.T) {
	over := make(chan struct{})
	bank := openBank(t, idempotency.GuardConfig{}, onceOnly())
	bank.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-over
		return &testpb.SimpleResponse{}, nil
	}
	t.Cleanup(func() { close(over) })
	again := retry.New(retry.Config{Backoff: retry.NoPause()})
	toBank := bank.under(t, backstay.New(idempotency.Keys(idempotency.KeysConfig{}), again, timeout.Attempt(100*time.Millisecond)))
	payments := openBank(t, idempotency.GuardConfig{}, onceOnly())
	payments.transfer = func(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return toBank.UnaryCall(ctx, r)
	}
	shop := payments.under(t, backstay.New(idempotency.Keys(idempotency.KeysConfig{}), again))
	_, err := shop.UnaryCall(limited(t), &testpb.SimpleRequest{})
	st := status.Convert(err)
	if bank.runs() != 1 || payments.runs() != 1 || st.Code() != codes.Aborted || len(st.Details()) != 0 {
		t.Errorf("the shop's call = %v with %v, payments ran %d times and the bank %d; want ABORTED without details, and once each", err, st.Details(), payments.runs(), bank.runs())
	}
}
