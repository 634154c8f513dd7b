package grpccall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// outward returns err, the end of a call, as its caller gets it: gRPC's own
// error where the policy has added nothing, else one whose status is that of the
// last attempt, unchanged.
func (c *client) outward(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := err.(*failure); ok && len(f.also) == 0 {
		return f.err
	}
	st := statusOf(err)
	if c.channel != nil && gotNowhere(err) {
		if why := c.channel.why(); why != "" && !strings.Contains(err.Error(), why) {
			err = fmt.Errorf("%w: %s", err, why)
			st = status.New(st.Code(), err.Error())
		}
	}
	return &callError{err: err, status: st}
}

// gotNowhere reports whether err is the end of a call that found no endpoint
// where there may be one later, or had no attempt in its time.
func gotNowhere(err error) bool {
	return backstay.TypeOf(err) == noEndpoint && backstay.Classify(err) == backstay.Transient || failureIn(err) == nil && errors.Is(err, context.DeadlineExceeded)
}

// A callError is the end of a call as a status, over the error of the policy.
type callError struct {
	err    error
	status *status.Status
}

// Error returns the text of the status, as gRPC's own errors do.
func (e *callError) Error() string              { return e.status.Err().Error() }
func (e *callError) Unwrap() error              { return e.err }
func (e *callError) GRPCStatus() *status.Status { return e.status }

// statusOf returns the status that err, which is not nil, means.
func statusOf(err error) *status.Status {
	if st := find(err); st != nil && st.Code() != codes.OK {
		return st
	}
	return status.New(codeOf(last(err)), err.Error())
}

// last returns the failure that err ended with: without those before, of which
// retry has the history.
func last(err error) error {
	for e := err; e != nil; {
		switch u := e.(type) {
		case interface{ Unwrap() error }:
			e = u.Unwrap()
		case interface{ Unwrap() []error }:
			if e = first(u.Unwrap()); e != nil {
				err = e
			}
		default:
			return err
		}
	}
	return err
}

// codeOf returns the code of an error that came from the policy itself. Unless it
// says that nothing was sent, or that there was too much to send, nobody knows
// what it means.
func codeOf(err error) codes.Code {
	switch class := backstay.Classify(err); {
	case backstay.TypeOf(err) == "idempotency_key":
		return codes.InvalidArgument
	case class == backstay.Throttled:
		return codes.ResourceExhausted
	case !backstay.NotSent(err):
		return codes.Unknown
	case class == backstay.Permanent:
		return codes.FailedPrecondition
	case class == backstay.Canceled:
		return codes.Canceled
	}
	return codes.Unavailable
}

// find returns the status of the first error in err's tree that has one, or
// nil. The first of several errors that one wraps is what it is; the others are
// its history. An error that says it is the end of a context is that, whatever
// came of it further in.
func find(err error) *status.Status {
	if e, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return e.GRPCStatus()
	}
	if err == context.DeadlineExceeded || err == context.Canceled {
		return status.FromContextError(err)
	}
	if e, ok := err.(interface{ Is(error) bool }); ok && e.Is(context.DeadlineExceeded) {
		return status.New(codes.DeadlineExceeded, err.Error())
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return find(inner)
		}
	case interface{ Unwrap() []error }:
		if inner := first(e.Unwrap()); inner != nil {
			return find(inner)
		}
	}
	return nil
}

// first returns the first of several errors that there is, or nil.
func first(errs []error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
