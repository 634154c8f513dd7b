package grpccall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A stuck stream is one of gRPC's whose end is lost: RecvMsg ends when the test
// says so.
type stuck struct {
	grpc.ClientStream
	calls   int
	release chan struct{}
}

func (s *stuck) Header() (metadata.MD, error) { return nil, nil }

func (s *stuck) RecvMsg(m any) error {
	s.calls++
	<-s.release
	m.(*wrapperspb.StringValue).Value = "late"
	return nil
}

// G-11, G-15
func TestWhatIsOutOfReachIsAskedForOnce(t *testing.T) {
	for name, row := range map[string]struct {
		limit time.Duration
		code  codes.Code
	}{
		"the tail":    {time.Hour, codes.Unavailable},
		"the context": {cutTail / 2, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), row.limit)
				defer cancel()
				s := &stuck{release: make(chan struct{})}
				o := &opened{ClientStream: s, attempt: &attempt{Context: ctx}, cut: true}
				m := &wrapperspb.StringValue{Value: "the caller's"}
				for range 2 {
					if err := o.RecvMsg(m); status.Code(err) != row.code {
						t.Errorf("RecvMsg() = %v, want %v", err, row.code)
					}
				}
				close(s.release)
				synctest.Wait()
				if s.calls != 1 || m.Value != "the caller's" {
					t.Errorf("gRPC was asked %d times, and the message is %q after it has answered; want once, and the caller's", s.calls, m.Value)
				}
			})
		})
	}
}

// Nobody may be receiving when the time of a cut stream is up.
//
// G-12
func TestTheContextEndsACutStreamForAll(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for cut, want := range map[bool]codes.Code{true: codes.Canceled, false: codes.OK} {
		o := &opened{attempt: &attempt{Context: ctx, end: &ending{}}, cut: cut}
		o.once.Do(func() {}) // the policy has been told
		told := codes.OK
		o.attempt.end.then(func(err error) { told = status.Code(err) })
		o.expired()
		if told != want {
			t.Errorf("cut %v: what waits for the end of the stream is told %v, want %v", cut, told, want)
		}
	}
}

// The end of the context is what it is also where gRPC has lost that.
//
// G-15
func TestACutStreamEndsWithItsContextIfThatHasEnded(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for ctx, want := range map[context.Context]error{t.Context(): errCut, ended: context.Canceled} {
		o := &opened{ClientStream: &stuck{}, attempt: &attempt{Context: ctx, end: &ending{}}}
		o.attempt.end.with(nil)
		if err := o.answer(ctx); err != want {
			t.Errorf("the answer to a stream that has neither headers nor trailers, under a context that ended with %v = %v, want %v", ctx.Err(), err, want)
		}
	}
}

// An io.EOF of somebody else's is left as it is.
func TestWhatGRPCHasLostIsTold(t *testing.T) {
	its := fmt.Errorf("exhausted: %w", io.EOF)
	other := status.Error(codes.Unavailable, "sick")
	for _, row := range []struct {
		told    bool
		toldErr error
		err     error
		want    bool
	}{
		{true, nil, io.EOF, true},
		{true, its, its, true},
		{true, its, fmt.Errorf("an interceptor: %w", its), true},
		{true, nil, other, false},
		{true, other, other, false},
		{true, other, io.EOF, false},
		{true, its, errors.New("of an interceptor"), false},
		{false, nil, io.EOF, false},
	} {
		a := &attempt{toldErr: row.toldErr}
		a.told.Store(row.told)
		if got := a.lost(row.err); got != row.want {
			t.Errorf("gRPC has told the end: %v, with %v; lost(%v) = %v, want %v", row.told, row.toldErr, row.err, got, row.want)
		}
	}
}
