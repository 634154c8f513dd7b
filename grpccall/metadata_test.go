package grpccall_test

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
)

// G-8
func TestAttemptsAreNumbered(t *testing.T) {
	rows := []struct {
		what string
		ctx  func(context.Context) context.Context
	}{
		{"nothing", func(ctx context.Context) context.Context { return ctx }},
		{"a number of the caller's", func(ctx context.Context) context.Context {
			return metadata.NewOutgoingContext(ctx, metadata.Pairs("grpc-previous-rpc-attempts", "7"))
		}},
		{"several, appended", func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "grpc-previous-rpc-attempts", "7", "Grpc-Previous-Rpc-Attempts", "8")
		}},
	}
	for _, row := range rows {
		s := &server{get: failing(codes.Unavailable, codes.Unavailable)}
		c := start(t, s, again(), grpccall.Config{})
		_, err := c.Get(row.ctx(limited(t)), &pb.GetRequest{})
		if got := s.sent("grpc-previous-rpc-attempts"); !slices.Equal(got, []string{"", "1", "2"}) {
			t.Errorf("%s: Get = %v with grpc-previous-rpc-attempts %q, want none, 1, 2", row.what, err, got)
		}
	}
}

// G-9: calls share a context, and its metadata with the caller.
func TestTheMetadataOfTheCallerIsLeftAlone(t *testing.T) {
	s := &server{
		get: func(ctx context.Context, _ int, req *pb.GetRequest) (*pb.Order, error) {
			md, _ := metadata.FromIncomingContext(ctx)
			if n := md.Get("grpc-previous-rpc-attempts"); len(n) == 0 || n[0] != "2" {
				return nil, status.Error(codes.Unavailable, "sick")
			}
			return &pb.Order{Id: req.Id}, nil
		},
	}
	var mu sync.Mutex
	calls := 0
	c := start(t, s, backstay.New(
		idempotency.Keys(idempotency.KeysConfig{Always: true}),
		retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}),
		under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			mu.Lock()
			calls++
			own := strconv.Itoa(calls)
			mu.Unlock()
			r, _ := backstay.Peek[*grpccall.Request](call)
			return next(r.SetHeader(ctx, "attempt-id", own), call)
		}),
	), grpccall.Config{})
	given := metadata.Pairs("tenant", "alice", "attempt-id", "none", "grpc-previous-rpc-attempts", "9")
	before := given.Copy()
	ctx := metadata.AppendToOutgoingContext(metadata.NewOutgoingContext(limited(t), given), "color", "blue")

	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := c.Get(ctx, &pb.GetRequest{Id: "7"}); err != nil {
				t.Errorf("Get = %v, want none", err)
			}
		})
	}
	wg.Wait()
	if !maps.EqualFunc(given, before, slices.Equal) {
		t.Errorf("the caller's metadata after 16 calls = %v, want %v", given, before)
	}
	keys, ids := map[string]int{}, map[string]int{}
	for _, a := range s.attempts() {
		if got := a.md.Get("tenant"); !slices.Equal(got, []string{"alice"}) || !slices.Equal(a.md.Get("color"), []string{"blue"}) {
			t.Errorf("an attempt had the metadata %v, want the caller's", a.md)
		}
		for _, k := range a.md.Get("idempotency-key") {
			keys[k]++
		}
		for _, id := range a.md.Get("attempt-id") {
			ids[id]++
		}
	}
	if len(s.attempts()) != 48 || len(keys) != 16 || len(ids) != 48 {
		t.Errorf("16 calls: %d attempts with %d keys and %d ids, want 48, 16 and 48", len(s.attempts()), len(keys), len(ids))
	}
}

// G-9: what is put into the copy takes the place of what was there.
func TestAKeyOfThePolicyReplacesThatOfTheCaller(t *testing.T) {
	s := unwell()
	c := start(t, s, backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.IdempotencyKey = "the policy's"
		return next(ctx, call)
	}), retry.New(retry.Config{Backoff: retry.NoPause()})), grpccall.Config{})
	_, err := c.Get(metadata.AppendToOutgoingContext(limited(t), "Idempotency-Key", "the caller's"), &pb.GetRequest{})
	if got := s.sent("idempotency-key"); !slices.Equal(got, []string{"the policy's", "the policy's", "the policy's"}) {
		t.Errorf("Get = %v; the attempts had the keys %q, want the policy's 3 times", err, got)
	}
}

// What middleware beneath retry adds is that attempt's alone.
func TestMetadataBeneathRetryIsOfOneAttempt(t *testing.T) {
	s := unwell()
	c := start(t, s, backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}),
		under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			return next(metadata.AppendToOutgoingContext(ctx, "seen", strconv.Itoa(call.Attempt)), call)
		})), grpccall.Config{})
	_, _ = c.Get(metadata.AppendToOutgoingContext(limited(t), "seen", "0"), &pb.GetRequest{})
	if got := s.sent("seen"); !slices.Equal(got, []string{"0,1", "0,2", "0,3"}) {
		t.Errorf("the attempts had the metadata %q, want 0,1 0,2 0,3", got)
	}
}
