package grpccall

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/deadline"
)

// A failure is the end of an attempt, with what it means for policy. It reads and
// compares as what gRPC returned.
type failure struct {
	err     error
	also    []error // that it is to errors.Is and errors.As too
	status  *status.Status
	attempt *attempt
	details backstay.Error
	pushed  bool // the server has said when it wants the next attempt
	wait    time.Duration
	veto    string // why there must not be one
}

func (f *failure) Error() string              { return f.err.Error() }
func (f *failure) Unwrap() []error            { return append([]error{f.err}, f.also...) }
func (f *failure) GRPCStatus() *status.Status { return f.status }

// Details tells policies what the status means.
func (f *failure) Details() backstay.Error { return f.details }

// Pushback returns when the server wants the next attempt, if it has said so;
// below 0 it wants none.
func (f *failure) Pushback() (wait time.Duration, told bool) { return f.wait, f.pushed }

// Suppressed returns why there must not be another attempt, or "".
func (f *failure) Suppressed() string { return f.veto }

// failureIn returns the failure that err is or wraps, the last where there are
// several, or nil.
func failureIn(err error) *failure {
	f, _ := errors.AsType[*failure](err)
	return f
}

// failure returns err, the end of an attempt, with what it means for policy.
func (c *client) failure(ctx context.Context, r *Request, a *attempt, err error) error {
	if a.lost(err) {
		err = errCut
	}
	st, isStatus := status.FromError(err)
	f := &failure{err: err, status: st, attempt: a}
	f.details.NotSent = a.unsent(err)
	if c.cfg.ServiceRetry != OwnRetry && r.serviceRetries() {
		f.veto = "service_config"
	}
	switch {
	case (st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded || !isStatus) && ended(ctx):
		f.end(ctx, isStatus)
		if a.end != nil && lastingEnded(ctx) {
			f.details.Class = backstay.Canceled
		}
		return f
	case f.details.NotSent && st.Code() == codes.Unavailable:
		f.unconnected(a)
	default:
		f.details.Type = nameOf(st.Code())
		f.details.Class = c.classify(st)
		f.answered(c)
	}
	return f
}

// ended reports whether ctx has ended. The server has the same deadline, and its
// word of it may be here before our own timer has run: then that is about to.
func ended(ctx context.Context) bool {
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) && ctx.Err() == nil {
		t := time.NewTimer(aboutTo) // somebody's context may have a deadline and not end
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return ctx.Err() != nil
}

// lastingEnded reports whether the time is up that a stream may go on after its
// answer has begun. Servers owe none by then: it begins with the first message,
// which comes when something happens. The time for the answer is timeout.Attempt.
func lastingEnded(ctx context.Context) bool {
	at, ok := deadline.Lasting(ctx)
	return ok && !time.Now().Before(at)
}

// aboutTo is longer than what is about to happen takes to, such as the timer of a
// context that is due.
const aboutTo = 100 * time.Millisecond

// end makes f the end of ctx. Whether that or the server has ended the attempt
// is decided by ctx alone: servers send CANCELLED and DEADLINE_EXCEEDED too.
func (f *failure) end(ctx context.Context, isStatus bool) {
	if !isStatus {
		f.status = status.FromContextError(ctx.Err())
	}
	f.also = append(f.also, ctx.Err())
	if cause := context.Cause(ctx); cause != ctx.Err() {
		f.also = append(f.also, cause)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.details.Class = backstay.Canceled
		return
	}
	f.details.Class, f.details.Type = backstay.Transient, "timeout"
}

// answered takes into account what the server has said besides the code.
func (f *failure) answered(c *client) {
	f.wait, f.pushed = pushback(f.attempt.trailer)
	asked, hasInfo := retryInfo(f.status)
	f.details.RetryAfter = asked
	if err := keyError(f.status); err != nil {
		f.also = append(f.also, err)
		f.details.Class, f.details.Type = backstay.Classify(err), backstay.TypeOf(err)
	} else if f.attempt.key != "" && f.status.Code() == codes.Aborted && hasInfo {
		f.details.Class = backstay.Pending
	}
	switch {
	case f.pushed && f.wait < 0:
		f.veto = "server_veto"
	case f.details.Class == backstay.Throttled && !f.pushed && !hasInfo && c.waits():
		f.veto = "non_retryable"
	}
}

// pushback returns when the server wants the next attempt: gRFC A6. What cannot
// be read means never.
func pushback(trailer metadata.MD) (wait time.Duration, told bool) {
	values := trailer["grpc-retry-pushback-ms"]
	switch len(values) {
	case 0:
		return 0, false
	case 1:
		ms, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil || ms < 0 {
			return -1, true
		}
		return time.Duration(min(ms, int64(maxPushback/time.Millisecond))) * time.Millisecond, true
	}
	return -1, true
}

// maxPushback is longer than anybody waits.
const maxPushback = 1000 * time.Hour

// retryInfo returns how long the details of a status ask to wait.
func retryInfo(st *status.Status) (wait time.Duration, told bool) {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return max(info.GetRetryDelay().AsDuration(), 0), true
		}
	}
	return 0, false
}
