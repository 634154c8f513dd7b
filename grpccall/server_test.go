package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
)

// I-10, I-16
func TestTheWorkOfAKeyIsDoneOnceAndItsMessageRepeated(t *testing.T) {
	leak.Check(t)
	store := idempotency.NewMemory(idempotency.MemoryConfig{})
	b := openBank(t, idempotency.GuardConfig{Store: store}, onceOnly())
	b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		r := &testpb.SimpleResponse{Username: fmt.Sprint(b.runs()), Payload: &testpb.Payload{Body: []byte{0, '\n', 255}}}
		r.ProtoReflect().SetUnknown([]byte{0xfa, 0x3f, 1, 'x'}) // field 1023
		return r, nil
	}
	first, again, other := b.call(t, "k"), b.call(t, "k"), b.call(t, "l")
	if first.resp.GetUsername() != "1" || len(first.resp.ProtoReflect().GetUnknown()) != 4 || first.replayed() {
		t.Errorf("the first call = %v, %v, want the answer of the handler", first.resp, first.header)
	}
	if !again.same(first) || !again.replayed() {
		t.Errorf("the call again = %v, %v, want %v, replayed", again.resp, again.header, first.resp)
	}
	if other.resp.GetUsername() != "2" || other.replayed() {
		t.Errorf("a call with another key = %v, %v, want an answer of its own", other.resp, other.header)
	}

	elsewhere := openBank(t, idempotency.GuardConfig{Store: store}, onceOnly())
	if got := elsewhere.call(t, "k"); !got.same(first) || elsewhere.runs() != 0 {
		t.Errorf("the call of another process over the store = %v, and it ran %d times, want %v, 0", got.resp, elsewhere.runs(), first.resp)
	}
}

// I-10, I-16
func TestAStatusIsRepeatedWithItsDetails(t *testing.T) {
	detailed, err := status.New(codes.FailedPrecondition, "50% of it, \xff and ü").WithDetails(
		&errdetails.ErrorInfo{Reason: "POOR", Domain: "bank", Metadata: map[string]string{"a": "1", "b": "2", "c": "3"}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
	)
	if err != nil {
		t.Fatal(err)
	}
	valid := detailed.Proto()
	valid.Message = "50% of it, and ü"
	for name, failed := range map[string]error{
		"details":          status.FromProto(valid).Err(),
		"no UTF-8":         status.Error(codes.NotFound, "\xff\xfe%\n"),
		"no text":          status.Error(codes.OutOfRange, ""),
		"a code of no one": status.Error(77, "?"),
		"wrapped":          fmt.Errorf("the transfer: %w", status.FromProto(valid).Err()),
		"no status":        errors.New("no money"),
		"a context's":      fmt.Errorf("the ledger: %w", context.DeadlineExceeded),
	} {
		t.Run(name, func(t *testing.T) {
			b := openBank(t, idempotency.GuardConfig{}, onceOnly())
			b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { return nil, failed }
			plain := openBank(t, idempotency.GuardConfig{}, grpccall.ServerConfig{Methods: []string{unaryCall}, Tenant: grpccall.OneTenant, Optional: true})
			plain.transfer = b.transfer
			want := plain.send(t.Context(), &testpb.SimpleRequest{})
			first, again := b.call(t, "k"), b.call(t, "k")
			if !first.same(want) || first.replayed() {
				t.Errorf("the first call = %v, %v, want %v", first.st, first.header, want.st)
			}
			if !again.same(want) || !again.replayed() || b.runs() != 1 {
				t.Errorf("the call again = %v, %v, and ran %d times, want %v, replayed, 1", again.st, again.header, b.runs(), want.st)
			}
		})
	}
}

// I-10, I-18, I-20
func TestEachStateOfAKeyHasItsStatus(t *testing.T) {
	leak.Check(t)
	var down bool
	store := newShop(func(operation string) error {
		if down {
			return errStoreDown
		}
		return nil
	})
	cfg := onceOnly()
	cfg.Tenant = func(ctx context.Context) string {
		return strings.Join(metadata.ValueFromIncomingContext(ctx, "account"), "")
	}
	cfg.MaxRequest, cfg.MaxAnswer = 32, 32
	b := openBank(t, idempotency.GuardConfig{Store: store}, cfg, recovering)
	working, finish := make(chan struct{}), make(chan struct{})
	b.transfer = func(_ context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		switch r.GetResponseSize() {
		case 1:
			close(working)
			<-finish
		case 2:
			panic("the handler panics")
		case 3:
			return &testpb.SimpleResponse{Username: strings.Repeat("x", 33)}, nil
		}
		return &testpb.SimpleResponse{}, nil
	}
	send := func(size int32, md ...string) answered {
		return b.send(t.Context(), &testpb.SimpleRequest{ResponseSize: size}, append(md, "account", "alice")...)
	}

	for what, md := range map[string][]string{
		"no key":                 {},
		"an empty key":           {"idempotency-key", ""},
		"a key of spaces":        {"idempotency-key", "  "},
		"two keys":               {"idempotency-key", secretKey, "idempotency-key", secretKey},
		"a key that is too long": {"idempotency-key", secretKey + strings.Repeat("k", 1025-len(secretKey))},
	} {
		wantRefused(t, what, send(0, md...), codes.InvalidArgument, idempotency.ErrMissing)
	}
	nobodys := b.send(t.Context(), &testpb.SimpleRequest{}, "idempotency-key", secretKey)
	wantRefused(t, "a key of nobody's", nobodys, codes.PermissionDenied, idempotency.ErrNoTenant)
	long := b.send(t.Context(), &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 33)}}, "idempotency-key", secretKey, "account", "alice")
	wantRefused(t, "a message that is too long", long, codes.ResourceExhausted, idempotency.ErrTooLarge)
	if b.runs() != 0 {
		t.Errorf("what was refused ran %d times, want 0", b.runs())
	}

	done := make(chan answered)
	go func() { done <- send(1, "idempotency-key", secretKey+"1") }()
	<-working
	e := wantRefused(t, "in progress", send(1, "idempotency-key", secretKey+"1"), codes.Aborted, idempotency.ErrInProgress)
	if d := e.Details(); d.Class != backstay.Pending || d.RetryAfter != time.Second || e.Status != 0 {
		t.Errorf("in progress = %+v, status %d, want Pending after 1s, 0", d, e.Status)
	}
	wantRefused(t, "another request in progress", send(0, "idempotency-key", secretKey+"1"), codes.FailedPrecondition, idempotency.ErrMismatch)
	close(finish)
	if got := <-done; got.st.Code() != codes.OK {
		t.Errorf("the first call = %v, want OK", got.st)
	}
	wantRefused(t, "another request", send(0, "idempotency-key", secretKey+"1"), codes.FailedPrecondition, idempotency.ErrMismatch)

	if got := send(2, "idempotency-key", secretKey+"2"); got.st.Code() != codes.Internal || got.st.Message() != "the handler panics" {
		t.Errorf("a panic = %v, want that of the interceptor above", got.st)
	}
	wantRefused(t, "after a panic", send(2, "idempotency-key", secretKey+"2"), codes.FailedPrecondition, idempotency.ErrOutcomeUnknown)

	if got := send(3, "idempotency-key", secretKey+"3"); len(got.resp.GetUsername()) != 33 {
		t.Errorf("a long answer = %v, %v, want the answer", got.resp, got.st)
	}
	wantRefused(t, "after a long answer", send(3, "idempotency-key", secretKey+"3"), codes.FailedPrecondition, idempotency.ErrNotKept)

	down = true
	e = wantRefused(t, "without a store", send(0, "idempotency-key", secretKey+"4"), codes.Unavailable, idempotency.ErrUnavailable)
	if d := e.Details(); d.Class != backstay.Transient || d.RetryAfter != time.Second {
		t.Errorf("without a store = %+v, want Transient after 1s", d)
	}
	if b.runs() != 3 {
		t.Errorf("the work ran %d times, want 3", b.runs())
	}
	if said := b.said(); strings.Contains(said, secretKey) || strings.Contains(said, "alice") {
		t.Errorf("events and statuses say %s, want nothing of the key or its tenant", said)
	}
}

// recovering answers a panic with INTERNAL.
func recovering(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = status.Error(codes.Internal, fmt.Sprint(r))
		}
	}()
	return next(ctx, req)
}

// A status that is about something else has the same codes.
func TestOtherStatusesAreNotAboutKeys(t *testing.T) {
	for _, st := range []*status.Status{
		nil,
		status.New(codes.OK, ""),
		status.New(codes.Aborted, "idempotency: earlier attempt in progress"),
		withDetails(t, codes.Aborted, &errdetails.ErrorInfo{Domain: "bank", Reason: "IDEMPOTENCY_IN_PROGRESS"}),
		withDetails(t, codes.Aborted, &errdetails.ErrorInfo{Domain: "github.com/backstay-go/backstay", Reason: "OTHER"}),
	} {
		if err := grpccall.KeyError(st); err != nil {
			t.Errorf("KeyError(%v) = %v, want nil", st, err)
		}
	}
}

func withDetails(t *testing.T, code codes.Code, info *errdetails.ErrorInfo) *status.Status {
	t.Helper()
	st, err := status.New(code, "").WithDetails(info)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// I-15: of the codes that a handler answers with, these free the key.
func TestWhichCodesAreKept(t *testing.T) {
	released := []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.Aborted, codes.ResourceExhausted, codes.Unavailable}
	undone := append([]codes.Code{codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.Internal, codes.DataLoss, codes.Unimplemented}, released...)
	own := func(c codes.Code) bool { return c == codes.NotFound }
	for _, row := range []struct {
		name    string
		store   idempotency.Store
		expiry  idempotency.OnLeaseExpiry
		release func(codes.Code) bool
		want    []codes.Code
	}{
		{"by default", nil, 0, nil, released},
		{"with Reexecute alone", nil, idempotency.Reexecute, nil, released},
		{"with a Transactor", newVault(nil), 0, nil, undone},
		{"with a Transactor and Fail", newVault(nil), idempotency.Fail, nil, released},
		{"with Release", newVault(nil), 0, own, []codes.Code{codes.NotFound}},
	} {
		cfg := onceOnly()
		cfg.Release = row.release
		b := openBank(t, idempotency.GuardConfig{Store: row.store, OnLeaseExpiry: row.expiry}, cfg)
		var code codes.Code
		b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return &testpb.SimpleResponse{}, status.Error(code, "")
		}
		for code = codes.OK; code <= codes.Unauthenticated+1; code++ {
			before := b.runs()
			first, again := b.call(t, fmt.Sprint(code)), b.call(t, fmt.Sprint(code))
			want := 1
			if slices.Contains(row.want, code) {
				want = 2
			}
			if first.st.Code() != code || !again.same(first) || again.replayed() != (want == 1) || b.runs()-before != want {
				t.Errorf("%s: %v twice = %v, %v, and ran %d times, want %d", row.name, code, first.st, again.st, b.runs()-before, want)
			}
		}
	}
}

// I-14: what a handler has refused is not committed, and is repeated.
func TestTheTransactionOfAnErrorIsRolledBack(t *testing.T) {
	store := newVault(nil)
	b := openBank(t, idempotency.GuardConfig{Store: store}, onceOnly())
	for code, want := range map[codes.Code]int32{codes.OK: 1, codes.NotFound: 0, codes.Unavailable: 0} {
		store.commits.Store(0)
		b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			return &testpb.SimpleResponse{}, status.Error(code, "")
		}
		b.call(t, code.String())
		if got := store.commits.Load(); got != want {
			t.Errorf("a call that is %v committed %d times, want %d", code, got, want)
		}
	}
}

// I-12
func TestOfTwentyAtTheSameTimeOneDoesTheWork(t *testing.T) {
	leak.Check(t)
	const callers = 20
	b := openBank(t, idempotency.GuardConfig{}, onceOnly())
	finish := make(chan struct{})
	b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		<-finish
		return &testpb.SimpleResponse{Username: fmt.Sprint(b.runs())}, nil
	}
	got := make(chan answered, callers)
	for range callers {
		go func() { got <- b.call(t, "k") }()
	}
	for range callers - 1 {
		wantRefused(t, "one of the others", <-got, codes.Aborted, idempotency.ErrInProgress)
	}
	close(finish)
	first, again := <-got, b.call(t, "k")
	if first.resp.GetUsername() != "1" || first.replayed() || !again.same(first) || b.runs() != 1 {
		t.Errorf("the first = %v, and again %v, and it ran %d times, want 1, 1, once", first, again, b.runs())
	}
}

// I-12: callers who come back when they are told to all get the one answer.
func TestAStormWithOneKeyHasOneEffectAndOneAnswer(t *testing.T) {
	leak.Check(t)
	b := openBank(t, idempotency.GuardConfig{}, onceOnly())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for {
				a := b.call(t, "k")
				if errors.Is(grpccall.KeyError(a.st), idempotency.ErrInProgress) {
					continue
				}
				if a.resp.GetUsername() != "transfer 1" {
					t.Errorf("UnaryCall = %v, %v, want transfer 1", a.resp, a.st)
				}
				return
			}
		})
	}
	all.Wait()
	if b.runs() != 1 {
		t.Errorf("the work ran %d times, want 1", b.runs())
	}
}

// I-19
func TestACallerWhoGoesAwayDoesNotEndTheWork(t *testing.T) {
	leak.Check(t)
	for what, leave := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancels": context.WithCancel,
		"has a deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 200*time.Millisecond)
		},
	} {
		t.Run(what, func(t *testing.T) {
			gone := make(chan struct{})
			var first sync.Once // the contexts of later calls end too
			b := openBank(t, idempotency.GuardConfig{}, onceOnly(), func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				context.AfterFunc(ctx, func() { first.Do(func() { close(gone) }) })
				return next(ctx, req)
			})
			working, work := make(chan struct{}), make(chan error, 1)
			b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
				close(working)
				<-gone
				work <- ctx.Err()
				return &testpb.SimpleResponse{Username: "done"}, nil
			}
			ctx, cancel := leave(t.Context())
			defer cancel()
			left := make(chan answered, 1)
			go func() { left <- b.send(ctx, &testpb.SimpleRequest{}, "idempotency-key", "k") }()
			<-working
			if what == "cancels" {
				cancel()
			}
			// At a deadline the answer may just arrive.
			if got := <-left; got.st.Code() == codes.OK && what == "cancels" {
				t.Errorf("the call that was left = %v, want an error", got.st)
			}
			if err := <-work; err != nil {
				t.Errorf("the context of the work when the caller has gone = %v, want nil", err)
			}
			next := b.call(t, "k")
			for errors.Is(grpccall.KeyError(next.st), idempotency.ErrInProgress) {
				next = b.call(t, "k") // the server may not have kept it yet
			}
			if next.resp.GetUsername() != "done" || !next.replayed() || b.runs() != 1 {
				t.Errorf("the next attempt = %v, %v, want the answer that the first did not get", next.resp, next.st)
			}
		})
	}
}

func TestTheContextOfTheWorkIsTheGuards(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{Timeout: time.Hour}, onceOnly())
	var left time.Duration
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		end, _ := ctx.Deadline()
		left = time.Until(end)
		method, _ := grpc.Method(ctx)
		key := metadata.ValueFromIncomingContext(ctx, "idempotency-key")
		return &testpb.SimpleResponse{Username: method, Hostname: key[0]}, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a := b.send(ctx, &testpb.SimpleRequest{}, "idempotency-key", "k")
	if left < 59*time.Minute || left > time.Hour {
		t.Errorf("the work has %v, want an hour", left)
	}
	if a.resp.GetUsername() != unaryCall || a.resp.GetHostname() != "k" {
		t.Errorf("the context of the work has the method and the key %v, want %s, k", a.resp, unaryCall)
	}
}

// I-18
func TestCallsThatAreTheSame(t *testing.T) {
	report := func(names ...string) *testpb.SimpleRequest {
		cost := map[string]float64{}
		for i, n := range names {
			cost[n] = float64(i)
		}
		return &testpb.SimpleRequest{OrcaPerQueryReport: &testpb.TestOrcaReport{RequestCost: cost}}
	}
	unknown := func(value byte) *testpb.SimpleRequest {
		r := &testpb.SimpleRequest{}
		r.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, value}) // field 1023
		return r
	}
	many := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
	for _, row := range []struct {
		name string
		a, b *testpb.SimpleRequest
		same bool
	}{
		{"maps, which are sent in any order", report(many...), report(many...), true},
		{"other maps", report("a", "b"), report("b", "a"), false},
		{"fields that the server does not know", unknown(1), unknown(1), true},
		{"other fields that the server does not know", unknown(1), unknown(2), false},
		{"a field more", &testpb.SimpleRequest{}, unknown(1), false},
		{"another value", &testpb.SimpleRequest{ResponseSize: 1}, &testpb.SimpleRequest{ResponseSize: 2}, false},
	} {
		b := openBank(t, idempotency.GuardConfig{}, onceOnly())
		for range 10 {
			b.send(t.Context(), row.a, "idempotency-key", "k")
			got := b.send(t.Context(), row.b, "idempotency-key", "k")
			if mismatch := errors.Is(grpccall.KeyError(got.st), idempotency.ErrMismatch); mismatch == row.same {
				t.Errorf("%s: the second call = %v, want a mismatch: %v", row.name, got.st, !row.same)
			}
		}
	}
}

// I-18
func TestAKeyOfAnotherMethodIsAMismatch(t *testing.T) {
	cfg := onceOnly()
	cfg.Methods = []string{"/grpc.testing.TestService/"}
	b := openBank(t, idempotency.GuardConfig{}, cfg)
	if a := b.call(t, "k"); a.st.Code() != codes.OK {
		t.Fatalf("UnaryCall = %v, want OK", a.st)
	}
	_, err := b.client.EmptyCall(metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", "k"), &testpb.Empty{})
	wantRefused(t, "EmptyCall", answered{st: status.Convert(err)}, codes.FailedPrecondition, idempotency.ErrMismatch)
}

// I-18
func TestAKeyOfAnotherTenantIsAnotherKey(t *testing.T) {
	cfg := onceOnly()
	cfg.Tenant = func(ctx context.Context) string { return metadata.ValueFromIncomingContext(ctx, "account")[0] }
	b := openBank(t, idempotency.GuardConfig{}, cfg)
	for i, account := range []string{"alice", "bob"} {
		a := b.send(t.Context(), &testpb.SimpleRequest{ResponseSize: int32(i)}, "idempotency-key", "k", "account", account)
		if want := fmt.Sprint("transfer ", i+1); a.resp.GetUsername() != want {
			t.Errorf("the call of %s = %v, %v, want %s", account, a.resp, a.st, want)
		}
	}
}

func TestCallsThatNeedNoKeyArePassedOn(t *testing.T) {
	optional := onceOnly()
	optional.Optional = true
	b := openBank(t, idempotency.GuardConfig{}, optional)
	for i := range 2 {
		if a := b.send(t.Context(), &testpb.SimpleRequest{}); a.resp.GetUsername() != fmt.Sprint("transfer ", i+1) {
			t.Errorf("a call without a key, Optional = %v, %v, want transfer %d", a.resp, a.st, i+1)
		}
		if _, err := b.client.EmptyCall(t.Context(), &testpb.Empty{}); err != nil {
			t.Errorf("EmptyCall, of another method = %v, want nil", err)
		}
	}
	wantRefused(t, "an empty key, Optional", b.call(t, ""), codes.InvalidArgument, idempotency.ErrMissing)
	first, again := b.call(t, "k"), b.call(t, "k")
	if !again.same(first) || !again.replayed() {
		t.Errorf("a call with a key, Optional = %v, then %v, want a replay", first.resp, again.resp)
	}
	if said := b.said(); strings.Count(said, "Kind:executed") != 1 {
		t.Errorf("events were %s, want none of calls without a key", said)
	}
}

// Keys gives none to methods with an idempotency_level, so a server that names the
// whole service asks for none. Cancel has one too.
//
// I-10
func TestTheMethodsOfAServiceThatAreHarmlessToRepeatNeedNoKey(t *testing.T) {
	for _, row := range []struct {
		guarded, method string
		code            codes.Code
	}{
		{"/orders.v1.Orders/", "/orders.v1.Orders/Get", codes.OK},
		{"/orders.v1.Orders/", "/orders.v1.Orders/Cancel", codes.OK},
		{"/orders.v1.Orders/", "/orders.v1.Orders/Place", codes.InvalidArgument},
		{"/orders.v1.Orders/", "/orders.v1.Orders/Unheard", codes.InvalidArgument},
		{"/orders.v1.Orders/Get", "/orders.v1.Orders/Get", codes.InvalidArgument},
	} {
		cfg := grpccall.ServerConfig{Methods: []string{row.guarded}, Tenant: grpccall.OneTenant}
		interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{}), cfg)
		_, err := interceptor(t.Context(), &testpb.SimpleRequest{}, &grpc.UnaryServerInfo{FullMethod: row.method}, func(context.Context, any) (any, error) { return &testpb.SimpleResponse{}, nil })
		if status.Code(err) != row.code {
			t.Errorf("a call of %s without a key at a server that guards %s = %v, want %v", row.method, row.guarded, err, row.code)
		}
	}
}

// I-20
func TestFailOpenDoesTheWorkWithoutAStore(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{Store: newShop(func(string) error { return errStoreDown }), FailOpen: true}, onceOnly("balance"))
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return &testpb.SimpleResponse{Username: "done"}, grpc.SetHeader(ctx, metadata.Pairs("balance", "400"))
	}
	if a := b.call(t, "k"); a.resp.GetUsername() != "done" || a.replayed() || a.header.Get("balance")[0] != "400" {
		t.Errorf("UnaryCall without a store = %v, %v, %v, want done", a.resp, a.st, a.header)
	}
}

// Two interceptors over one guard, as of a server and of a service, do no harm.
func TestAGuardThatStandsTwiceDoesTheWorkOnce(t *testing.T) {
	guard := idempotency.NewGuard(idempotency.GuardConfig{})
	interceptor := grpccall.UnaryServerInterceptor(guard, onceOnly("balance"))
	info := &grpc.UnaryServerInfo{FullMethod: unaryCall}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("idempotency-key", "k"))
	ran := 0
	for range 2 {
		resp, err := interceptor(ctx, &testpb.SimpleRequest{}, info, func(ctx context.Context, req any) (any, error) {
			return interceptor(ctx, req, info, func(context.Context, any) (any, error) {
				ran++
				return &testpb.SimpleResponse{Username: "done"}, nil
			})
		})
		if r, _ := resp.(*testpb.SimpleResponse); r.GetUsername() != "done" || err != nil {
			t.Errorf("the call = %v, %v, want done, nil", resp, err)
		}
	}
	if ran != 1 {
		t.Errorf("the work ran %d times, want 1", ran)
	}
}

func TestMessagesThatAreNotProtobufAreRefused(t *testing.T) {
	interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{}), onceOnly())
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("idempotency-key", "k"))
	for _, req := range []any{nil, "100 to bob", &struct{}{}} {
		_, err := interceptor(ctx, req, &grpc.UnaryServerInfo{FullMethod: unaryCall}, func(context.Context, any) (any, error) {
			t.Errorf("a request that is a %T was passed on, want it refused", req)
			return nil, nil
		})
		if st := status.Convert(err); st.Code() != codes.Internal || !strings.Contains(st.Message(), fmt.Sprintf("%T", req)) {
			t.Errorf("a request that is a %T = %v, want INTERNAL that says so", req, err)
		}
	}
}

// What nobody can repeat was done all the same.
func TestAnswersThatCannotBeWrittenAreNotKept(t *testing.T) {
	interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{}), onceOnly())
	for i, answer := range []struct {
		resp any
		err  error
	}{
		{nil, nil},
		{"100 from alice", nil},
		{&testpb.SimpleResponse{Username: "\xff"}, nil},
		{&testpb.SimpleResponse{}, okError{}},
	} {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("idempotency-key", fmt.Sprint(i)))
		call := func() (any, error) {
			return interceptor(ctx, &testpb.SimpleRequest{}, &grpc.UnaryServerInfo{FullMethod: unaryCall}, func(context.Context, any) (any, error) {
				return answer.resp, answer.err
			})
		}
		if resp, err := call(); resp != answer.resp || err != answer.err {
			t.Errorf("the first call = %v, %v, want %v, %v", resp, err, answer.resp, answer.err)
		}
		_, err := call()
		wantRefused(t, fmt.Sprintf("a call again after %v, %v", answer.resp, answer.err), answered{st: status.Convert(err)}, codes.FailedPrecondition, idempotency.ErrNotKept)
	}
}

// An okError says that it is none.
type okError struct{}

func (okError) Error() string              { return "OK" }
func (okError) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

// A message without a pointer is an empty one.
func TestANilMessageIsRepeatedAsAnEmptyOne(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{}, onceOnly())
	b.transfer = func(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) { return nil, nil }
	if first, again := b.call(t, "k"), b.call(t, "k"); first.st.Code() != codes.OK || !again.same(first) || !again.replayed() {
		t.Errorf("a nil message = %v, and again %v, want an empty one twice", first, again)
	}
}

func TestServerConfigIsChecked(t *testing.T) {
	for _, row := range []struct {
		change func(*grpccall.ServerConfig)
		want   string // what the error says
	}{
		{func(c *grpccall.ServerConfig) { c.Methods = nil }, "no Methods would leave all calls without protection; name some, such as /orders.v1.Orders/Create"},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{""} }, `"" cannot be a method; give full names`},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{"grpc.testing.TestService/UnaryCall"} }, "give full names such as /orders.v1.Orders/Create"},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{"/grpc.testing.TestService"} }, "give full names"},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{"//UnaryCall"} }, "give full names"},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{unaryCall + "/"} }, "give full names"},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{"/grpc.testing.TestService/unaryCall"} }, `the service grpc.testing.TestService has no method "unaryCall"`},
		{func(c *grpccall.ServerConfig) { c.Methods = []string{"/grpc.testing.SimpleRequest/"} }, "grpc.testing.SimpleRequest of the method"},
		{func(c *grpccall.ServerConfig) {
			c.Methods = []string{unaryCall, "/grpc.testing.TestService/FullDuplexCall"}
		}, "is a stream"},
		{func(c *grpccall.ServerConfig) { c.Tenant = nil }, "give a function that returns whose call it is, or OneTenant"},
		{func(c *grpccall.ServerConfig) { c.MaxRequest = -1 }, "MaxRequest is -1"},
		{func(c *grpccall.ServerConfig) { c.MaxAnswer = -1 }, "MaxAnswer is -1"},
		{func(c *grpccall.ServerConfig) { c.Headers = []string{""} }, `"" cannot be the name of metadata`},
		{func(c *grpccall.ServerConfig) { c.Headers = []string{":path"} }, `":path" cannot be the name of metadata`},
		{func(c *grpccall.ServerConfig) {
			c.Methods = []string{"/unheard.v1.Of/Create", "/unheard.v1.Of/", "/grpc.testing.TestService/"}
		}, ""},
		{func(c *grpccall.ServerConfig) { c.Headers = []string{"X-Request-Id", "sum-bin"} }, ""},
	} {
		cfg := onceOnly()
		row.change(&cfg)
		err := cfg.Validate()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "grpccall: ") || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("Validate of %v = %v, want %q", cfg, err, row.want)
		}
		panicked := panicIn(func() {
			grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{}), cfg)
		})
		if err != nil && panicked != err.Error() || err == nil && panicked != nil {
			t.Errorf("UnaryServerInterceptor panics with %v, want %v", panicked, err)
		}
	}
	if got := panicIn(func() { grpccall.UnaryServerInterceptor(nil, onceOnly()) }); got == nil {
		t.Error("UnaryServerInterceptor without a guard returned, want a panic")
	}
}

func panicIn(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// I-16
func TestMetadataThatBelongsToOneAnswerCannotBeKept(t *testing.T) {
	for _, name := range []string{
		"set-cookie", "Date", "connection", "te", "trailer", "transfer-encoding", "traceparent", "tracestate", "baggage", "b3",
		"x-b3-traceid", "grpc-trace-bin", "grpc-status", "grpc-retry-pushback-ms", "Content-Type", "user-agent", "idempotent-replayed",
	} {
		if err := onceOnly("x-request-id", name).Validate(); err == nil || !strings.Contains(err.Error(), strings.ToLower(name)) {
			t.Errorf("Validate of Headers %s = %v, want that it cannot be kept", name, err)
		}
	}
}

// I-16
func TestOnlyTheMetadataThatIsNamedIsRepeated(t *testing.T) {
	for _, failed := range []error{nil, status.Error(codes.NotFound, "no account")} {
		b := openBank(t, idempotency.GuardConfig{}, onceOnly("Location", "sum-bin", "never"))
		b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
			sum := string([]byte{0, 255, '\n'})
			err := errors.Join(
				grpc.SetHeader(ctx, metadata.Pairs("location", "/1", "request", "1")),
				grpc.SetHeader(ctx, metadata.Pairs("location", "/2")),
				grpc.SetTrailer(ctx, metadata.Pairs("sum-bin", sum, "cost", "1")),
				failed,
			)
			return &testpb.SimpleResponse{}, err
		}
		first, again := b.call(t, "k"), b.call(t, "k")
		delete(first.header, "content-type")
		delete(again.header, "content-type")
		for _, row := range []struct {
			name string
			got  metadata.MD
			want string
		}{
			{"the header of the first", first.header, `map["location":["/1" "/2"] "request":["1"]]`},
			{"the trailer of the first", first.trailer, `map["cost":["1"] "sum-bin":["\x00\xff\n"]]`},
			{"the header of the replay", again.header, `map["idempotent-replayed":["true"] "location":["/1" "/2"]]`},
			{"the trailer of the replay", again.trailer, `map["sum-bin":["\x00\xff\n"]]`},
		} {
			if got := fmt.Sprintf("%q", maps.Collect(maps.All(row.got))); got != row.want {
				t.Errorf("%s = %s, want %s", row.name, got, row.want)
			}
		}
	}
}

// What a handler sends does not arrive before the answer is kept.
func TestMetadataWaitsForTheAnswer(t *testing.T) {
	arrived := make(chan struct{})
	store := newShop(func(operation string) error {
		if operation == "Complete" {
			select {
			case <-arrived:
				t.Error("the header arrived before the answer was kept, want it to wait")
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	})
	b := openBank(t, idempotency.GuardConfig{Store: store}, onceOnly())
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		if err := grpc.SendHeader(ctx, metadata.Pairs("balance", "400")); err != nil {
			t.Errorf("SendHeader = %v, want nil", err)
		}
		for what, err := range map[string]error{
			"SendHeader": grpc.SendHeader(ctx, metadata.MD{}),
			"SetHeader":  grpc.SetHeader(ctx, metadata.Pairs("a", "b")),
		} {
			if status.Code(err) != codes.Internal {
				t.Errorf("%s after SendHeader = %v, want INTERNAL", what, err)
			}
		}
		return &testpb.SimpleResponse{}, nil
	}
	conn := b.stream(t, "k")
	header, err := conn.Header()
	close(arrived)
	if err != nil || header.Get("balance") == nil {
		t.Errorf("the header = %v, %v, want a balance", header, err)
	}
	if err := conn.RecvMsg(&testpb.SimpleResponse{}); err != nil {
		t.Errorf("the answer = %v, want a message", err)
	}
}

// stream makes a call to UnaryCall whose header can be waited for.
func (b *bank) stream(t *testing.T, key string) grpc.ClientStream {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "idempotency-key", key)
	s, err := b.conn.NewStream(ctx, &grpc.StreamDesc{}, unaryCall)
	if err == nil {
		err = errors.Join(s.SendMsg(&testpb.SimpleRequest{}), s.CloseSend())
	}
	if err != nil {
		t.Fatalf("NewStream = %v, want nil", err)
	}
	return s
}

// I-14: what did not commit has not been, whatever the handler has said.
func TestNothingOfAnAnswerThatDoesNotCountIsSent(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{Store: newVault(idempotency.ErrTransactionEnded)}, onceOnly("balance"))
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		err := errors.Join(grpc.SendHeader(ctx, metadata.Pairs("balance", "400")), grpc.SetTrailer(ctx, metadata.Pairs("balance", "400")))
		return &testpb.SimpleResponse{Username: "done"}, err
	}
	for range 2 {
		a := b.call(t, "k")
		wantRefused(t, "work that did not commit", a, codes.FailedPrecondition, idempotency.ErrOutcomeUnknown)
		if a.resp != nil || a.header.Get("balance") != nil || a.trailer.Get("balance") != nil {
			t.Errorf("work that did not commit = %v, %v, %v, want nothing of it", a.resp, a.header, a.trailer)
		}
	}
}

// A goroutine that outlives its handler has nobody to write to.
func TestMetadataAfterTheAnswerIsRefused(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{}, onceOnly("late"))
	var work context.Context
	b.transfer = func(ctx context.Context, _ *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		work = ctx
		return &testpb.SimpleResponse{}, nil
	}
	b.call(t, "k")
	late := metadata.Pairs("late", "1")
	for what, err := range map[string]error{"SetHeader": grpc.SetHeader(work, late), "SendHeader": grpc.SendHeader(work, late), "SetTrailer": grpc.SetTrailer(work, late)} {
		if status.Code(err) != codes.Internal {
			t.Errorf("%s after the answer = %v, want INTERNAL", what, err)
		}
	}
	if a := b.call(t, "k"); a.header.Get("late") != nil || a.trailer.Get("late") != nil {
		t.Errorf("the replay has %v, %v, want nothing late", a.header, a.trailer)
	}
}

// I-18
func TestTheLimitOfRequests(t *testing.T) {
	r := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 100)}}
	for _, row := range []struct {
		most int
		want error
	}{{proto.Size(r), nil}, {proto.Size(r) - 1, idempotency.ErrTooLarge}, {0, nil}} {
		cfg := onceOnly()
		cfg.MaxRequest = row.most
		a := openBank(t, idempotency.GuardConfig{}, cfg).send(t.Context(), r, "idempotency-key", "k")
		if err := grpccall.KeyError(a.st); !errors.Is(err, row.want) {
			t.Errorf("a message of %d bytes with MaxRequest %d = %v, want %v", proto.Size(r), row.most, a.st, row.want)
		}
	}
}

// I-17
func TestAnswersHaveAMebibyteByDefault(t *testing.T) {
	b := openBank(t, idempotency.GuardConfig{}, onceOnly())
	b.transfer = func(_ context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
		return &testpb.SimpleResponse{Username: strings.Repeat("x", int(r.GetResponseSize()))}, nil
	}
	const tag = 4 // of the field, and its length
	for _, row := range []struct {
		size int32
		want error
	}{{1<<20 - tag, nil}, {1<<20 - tag + 1, idempotency.ErrNotKept}} {
		r := &testpb.SimpleRequest{ResponseSize: row.size}
		key := fmt.Sprint(row.size)
		if first := b.send(t.Context(), r, "idempotency-key", key); len(first.resp.GetUsername()) != int(row.size) {
			t.Errorf("an answer of %d bytes = %v, want it whole", row.size, first.st)
		}
		again := b.send(t.Context(), r, "idempotency-key", key)
		if err := grpccall.KeyError(again.st); row.want == nil && err != nil || !errors.Is(err, row.want) {
			t.Errorf("an answer of %d bytes again = %v, want %v", row.size, again.st, row.want)
		}
	}
}
