package grpccall_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// A detail is one of a status.
type detail = protoadapt.MessageV1

// comeBack is the detail with which a server says when to come back.
func comeBack(after time.Duration) detail {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(after)}
}

// failed returns a status as an error, or nil for OK.
func failed(code codes.Code, text string, details ...detail) error {
	st := status.New(code, text)
	if len(details) > 0 {
		var err error
		if st, err = st.WithDetails(details...); err != nil {
			panic(err)
		}
	}
	return st.Err()
}

// sick returns the Get of a server that always fails so.
func sick(code codes.Code, trailer metadata.MD, details ...detail) func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
	return func(ctx context.Context, _ int, _ *pb.GetRequest) (*pb.Order, error) {
		_ = grpc.SetTrailer(ctx, trailer)
		return nil, failed(code, "sick", details...)
	}
}

func everyCode() []codes.Code {
	var all []codes.Code
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		all = append(all, code)
	}
	return all
}

// G-1
func TestOnlyUnavailableIsTriedAgain(t *testing.T) {
	s := &server{}
	c := start(t, s, again(), grpccall.Config{})
	for _, code := range everyCode() {
		s.get = sick(code, nil)
		before := len(s.attempts())
		_, err := c.Get(limited(t), &pb.GetRequest{})
		want := 1
		if code == codes.Unavailable {
			want = 3
		}
		if got := len(s.attempts()) - before; got != want || status.Code(err) != code {
			t.Errorf("Get of a server that fails with %v = %v after %d attempts, want %d", code, err, got, want)
		}
	}
}

// G-1
func TestTheServerMaySayThatACallIsTriedAgain(t *testing.T) {
	pushback := metadata.Pairs("grpc-retry-pushback-ms", "0")
	rows := []struct {
		what    string
		code    codes.Code
		trailer metadata.MD
		details []detail
		want    int
	}{
		{"RESOURCE_EXHAUSTED with a pushback", codes.ResourceExhausted, pushback, nil, 3},
		{"RESOURCE_EXHAUSTED with RetryInfo", codes.ResourceExhausted, nil, []detail{comeBack(0)}, 3},
		{"RESOURCE_EXHAUSTED with other details", codes.ResourceExhausted, nil, []detail{&errdetails.QuotaFailure{}}, 1},
		{"INTERNAL with a pushback", codes.Internal, pushback, nil, 1},
		{"ABORTED with RetryInfo", codes.Aborted, nil, []detail{comeBack(0)}, 1},
		{"UNAVAILABLE with RetryInfo beyond what anybody waits", codes.Unavailable, nil, []detail{comeBack(time.Hour)}, 1},
	}
	s := &server{}
	c := start(t, s, again(), grpccall.Config{})
	for _, row := range rows {
		s.get = sick(row.code, row.trailer, row.details...)
		before := len(s.attempts())
		_, err := c.Get(limited(t), &pb.GetRequest{})
		if got := len(s.attempts()) - before; got != row.want || status.Code(err) != row.code {
			t.Errorf("%s: Get = %v after %d attempts, want %d", row.what, err, got, row.want)
		}
	}
}

// A message that is too large stays so, though its code is the same.
func TestMessagesThatAreTooLargeAreNotTriedAgain(t *testing.T) {
	s := &server{get: func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
		return &pb.Order{Item: string(make([]byte, 100))}, nil
	}}
	cfg := grpccall.Config{RetryOn: []codes.Code{codes.ResourceExhausted}}
	c := start(t, s, again(), cfg, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(50)))
	if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.ResourceExhausted || len(s.attempts()) != 1 {
		t.Errorf("Get of a reply that is too large = %v after %d attempts, want RESOURCE_EXHAUSTED after 1", err, len(s.attempts()))
	}
}

// G-1
func TestOtherCodesAreTriedAgainWhereConfigured(t *testing.T) {
	for _, code := range everyCode() {
		s := &server{get: sick(code, nil)}
		c := start(t, s, again(), grpccall.Config{RetryOn: []codes.Code{code}})
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != code || len(s.attempts()) != 3 {
			t.Errorf("RetryOn %v: Get = %v after %d attempts, want 3", code, err, len(s.attempts()))
		}
	}
}

// G-1
func TestClassifyDecides(t *testing.T) {
	busy := func(st *status.Status) backstay.Class {
		if st.Code() == codes.Internal && st.Message() == "sick" {
			return backstay.Throttled
		}
		return backstay.Permanent
	}
	for code, want := range map[codes.Code]int{codes.Internal: 3, codes.Unavailable: 1} {
		s := &server{get: sick(code, nil)}
		c := start(t, s, again(), grpccall.Config{Classify: busy, RetryOn: []codes.Code{codes.Unavailable}})
		if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != code || len(s.attempts()) != want {
			t.Errorf("Get of a server that fails with %v = %v after %d attempts, want %d", code, err, len(s.attempts()), want)
		}
	}
}

// As TestRetryUnary of grpc-go: the calls are made one after the other, and the
// attempts of all of them counted.
func TestSequencesOfCodes(t *testing.T) {
	const ok, last, more = codes.OK, codes.Internal, codes.AlreadyExists
	rows := []struct {
		server []codes.Code // attempt by attempt, and then for ever more
		want   codes.Code
		sent   int
	}{
		{[]codes.Code{ok}, ok, 1},
		{[]codes.Code{more, ok}, ok, 2},
		{[]codes.Code{more, more, ok}, ok, 3},
		{[]codes.Code{more, more, more, ok}, ok, 4},
		{[]codes.Code{last}, last, 1},
		{[]codes.Code{more, last}, last, 2},
		{[]codes.Code{more, more, last}, last, 3},
		{[]codes.Code{more, more, more, more, ok}, more, 4},
		{[]codes.Code{more, codes.Unavailable, more, ok}, ok, 4},
	}
	p := backstay.New(retry.New(retry.Config{MaxAttempts: 4, Backoff: retry.NoPause(), NoBudget: true}))
	s := &server{}
	c := start(t, s, p, grpccall.Config{RetryOn: []codes.Code{more}})
	for _, row := range rows {
		before := len(s.attempts())
		s.get = func(_ context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
			return &pb.Order{Id: req.Id}, failed(row.server[n-before-1], "scripted")
		}
		o, err := c.Get(limited(t), &pb.GetRequest{Id: "7"})
		if got := len(s.attempts()) - before; got != row.sent || status.Code(err) != row.want || err == nil && o.Id != "7" {
			t.Errorf("Get of a server that does %v = %v, %v after %d attempts, want %v after %d", row.server, o, err, got, row.want, row.sent)
		}
	}
}

// As TestMaxCallAttempts of grpc-go.
func TestAttemptsAreLimited(t *testing.T) {
	for _, most := range []int{2, 3, 5, 9} {
		p := backstay.New(retry.New(retry.Config{MaxAttempts: most, Backoff: retry.NoPause(), NoBudget: true}))
		s := &server{get: sick(codes.Unavailable, nil)}
		c := start(t, s, p, grpccall.Config{})
		if _, err := c.Get(limited(t), &pb.GetRequest{}); len(s.attempts()) != most {
			t.Errorf("MaxAttempts %d: Get = %v after %d attempts", most, err, len(s.attempts()))
		}
	}
}

// As TestNoRetry of grpc-go.
func TestWithoutARetryThereIsOneAttempt(t *testing.T) {
	s := &server{get: sick(codes.Unavailable, nil)}
	c := start(t, s, nil, grpccall.Config{})
	if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || len(s.attempts()) != 1 {
		t.Errorf("Get without a policy = %v after %d attempts, want UNAVAILABLE after 1", err, len(s.attempts()))
	}
}

// As TestRetryThrottling of grpc-go, with our kind of budget: calls earn retries.
func TestRetriesAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := retry.NewBudget(retry.BudgetConfig{PerSecond: 2, Ratio: 0.25})
		p := backstay.New(retry.New(retry.Config{MaxAttempts: 4, Backoff: retry.NoPause(), Budget: budget}))
		bad := step{code: codes.Unavailable}
		rows := []struct {
			steps []step
			want  codes.Code
			sent  int
		}{
			{[]step{bad, {}}, codes.OK, 2},      // of 2.25 retries there are 1.25 left
			{[]step{bad}, codes.Unavailable, 2}, // of 1.5 there is 0.5 left
			{[]step{bad}, codes.Unavailable, 1}, // 0.75
			{[]step{{}}, codes.OK, 1},           // 1
			{[]step{{}}, codes.OK, 1},           // 1.25
			{[]step{bad}, codes.Unavailable, 2}, // 0.5
		}
		for i, row := range rows {
			s := &script{steps: row.steps}
			if err := s.call(t.Context(), p, ""); status.Code(err) != row.want || len(s.at) != row.sent {
				t.Errorf("call %d = %v after %d attempts, want %v after %d", i, err, len(s.at), row.want, row.sent)
			}
		}
	})
}

// As TestRetryTransparentWhenCommitted of grpc-go: there is room for one call at a
// time, so the retry of one waits for another to end.
func TestARetryThatWaitsForAStreamCanBeCanceled(t *testing.T) {
	leak.Check(t)
	sick, held := make(chan struct{}), make(chan struct{})
	s := serve(t, &server{get: func(ctx context.Context, _ int, req *pb.GetRequest) (*pb.Order, error) {
		if req.Id == "held" {
			close(held)
			<-ctx.Done()
		}
		<-sick
		return nil, status.Error(codes.Unavailable, "sick")
	}}, grpc.MaxConcurrentStreams(1))
	retried := make(chan struct{})
	c := dial(t, s.addr, backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}),
		under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			if call.Attempt == 2 {
				<-held
				close(retried)
			}
			return next(ctx, call)
		})), grpccall.Config{})

	get := func(id string) (cancel func(), ended chan error) {
		ctx, cancel := context.WithCancel(limited(t))
		ended = make(chan error, 1)
		go func() {
			_, err := c.Get(ctx, &pb.GetRequest{Id: id})
			ended <- err
		}()
		return cancel, ended
	}
	cancel, ended := get("retried")
	eventually(t, "the first attempt is at the server", func() bool { return len(s.attempts()) == 1 })
	letOther, otherEnded := get("held")
	close(sick)
	<-retried
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled || !errors.Is(err, context.Canceled) || len(s.attempts()) != 2 {
		t.Errorf("Get that was canceled as it waited for a stream = %v with %d attempts of both, want CANCELLED with 2", err, len(s.attempts()))
	}
	letOther()
	<-otherEnded
}

func TestACallThatIsCanceledIsNotTriedAgain(t *testing.T) {
	asked := make(chan struct{})
	s := &server{get: func(ctx context.Context, _ int, _ *pb.GetRequest) (*pb.Order, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c := start(t, s, again(), grpccall.Config{RetryOn: []codes.Code{codes.Canceled}})
	ctx, cancel := context.WithCancelCause(limited(t))
	why := errors.New("the user left")
	go func() {
		<-asked
		cancel(why)
	}()
	_, err := c.Get(ctx, &pb.GetRequest{})
	if status.Code(err) != codes.Canceled || !errors.Is(err, context.Canceled) || !errors.Is(err, why) || len(s.attempts()) != 1 {
		t.Errorf("Get that was canceled = %v after %d attempts, want CANCELLED with its cause after 1", err, len(s.attempts()))
	}
}

func TestACallCanBeCanceledInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := map[string]step{
			"a pause":    {code: codes.Unavailable},
			"a pushback": {code: codes.Unavailable, trailer: metadata.Pairs("grpc-retry-pushback-ms", "10000")},
		}
		p := backstay.New(retry.New(retry.Config{Backoff: retry.Constant(10 * time.Second)}))
		for what, bad := range rows {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			s := &script{steps: []step{bad}}
			began := time.Now()
			err := s.call(ctx, p, "")
			if status.Code(err) != codes.Canceled || time.Since(began) != 3*time.Second || !slices.Equal(s.at, []time.Duration{0}) {
				t.Errorf("call canceled in %s = %v after %v with attempts at %v, want CANCELLED after 3s with one at 0", what, err, time.Since(began), s.at)
			}
		}
	})
}
