package grpccall_test

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/grpccall"
)

// A script stands in for gRPC where a test is about time, which sockets would
// make real: its attempts end as its steps say, the last of which holds for all
// that follow.
type script struct {
	steps []step

	mu   sync.Mutex
	at   []time.Duration // when each attempt began
	left []time.Duration // until its deadline; 0 where it has none
}

// A step is the end of an attempt.
type step struct {
	code    codes.Code
	trailer metadata.MD
	takes   time.Duration
	details []detail
}

// call makes a call under p to the method, which is Get of the tests' service
// where it is empty.
func (s *script) call(ctx context.Context, p *backstay.Policy, method string, opts ...grpc.CallOption) error {
	began := time.Now()
	if method == "" {
		method = get
	}
	invoke := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
		st := s.note(ctx, began)
		if err := wait(ctx, st.takes); err != nil {
			return err
		}
		for _, o := range opts {
			if t, ok := o.(grpc.TrailerCallOption); ok {
				*t.TrailerAddr = st.trailer
			}
		}
		return failed(st.code, "scripted", st.details...)
	}
	return grpccall.UnaryClientInterceptor(p, grpccall.Config{})(ctx, method, nil, new(int), nil, invoke, opts...)
}

// note counts an attempt and returns how it ends.
func (s *script) note(ctx context.Context, began time.Time) step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Since(began))
	left := time.Duration(0)
	if at, ok := ctx.Deadline(); ok {
		left = time.Until(at)
	}
	s.left = append(s.left, left)
	return s.steps[min(len(s.at), len(s.steps))-1]
}

// wait lets d pass, or returns the status of the end of ctx as gRPC does.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
