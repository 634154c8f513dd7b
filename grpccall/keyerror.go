package grpccall

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/problem"
)

// domain is that of our google.rpc.ErrorInfo.
const domain = "github.com/backstay-go/backstay"

// A keyStatus is how the status says one of the errors of package idempotency:
// its code is for everybody, and its reason, in the google.rpc.ErrorInfo, tells
// those apart that have the same code.
type keyStatus struct {
	name   string // of the error
	code   codes.Code
	reason string
}

var keyStatuses = []keyStatus{
	{"ErrMissing", codes.InvalidArgument, "IDEMPOTENCY_MISSING"},
	{"ErrInProgress", codes.Aborted, "IDEMPOTENCY_IN_PROGRESS"},
	{"ErrMismatch", codes.FailedPrecondition, "IDEMPOTENCY_MISMATCH"},
	{"ErrOutcomeUnknown", codes.FailedPrecondition, "IDEMPOTENCY_OUTCOME_UNKNOWN"},
	{"ErrNotKept", codes.FailedPrecondition, "IDEMPOTENCY_NOT_KEPT"},
	{"ErrUnavailable", codes.Unavailable, "IDEMPOTENCY_UNAVAILABLE"},
	// A grpc.Server answers a message above its own limit with this code.
	{"ErrTooLarge", codes.ResourceExhausted, "IDEMPOTENCY_TOO_LARGE"},
	{"ErrNoTenant", codes.PermissionDenied, "IDEMPOTENCY_NO_TENANT"},
}

// keyRefusal returns the status of a call that a Guard does not serve, as the
// error that a handler returns.
func keyRefusal(err error) error {
	e := err.(*idempotency.Error) // as all errors of a Guard are
	name := strings.TrimPrefix(e.Type, problem.Keys)
	for _, k := range keyStatuses {
		if k.name == name {
			return k.status(e).Err()
		}
	}
	return status.Error(codes.Internal, e.Unwrap().Error()) // there is no other
}

func (k keyStatus) status(e *idempotency.Error) *status.Status {
	st := status.New(k.code, e.Unwrap().Error()+": "+e.Detail)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: domain, Reason: k.reason}}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if told, err := st.WithDetails(details...); err == nil {
		return told
	}
	return st // the code alone says what to do
}

// keyError returns the *idempotency.Error that the status of a server's tells,
// or nil if it is not about keys. Codes are not enough for that: each of them
// means other things too.
func keyError(st *status.Status) error {
	for _, d := range st.Details() {
		info, _ := d.(*errdetails.ErrorInfo)
		if k := keyStatusOf(info); k != nil {
			wait, _ := retryInfo(st)
			return &idempotency.Error{Type: problem.Keys + k.name, Detail: st.Message(), RetryAfter: wait}
		}
	}
	return nil
}

// keyStatusOf returns the one that the detail is about, or nil.
func keyStatusOf(info *errdetails.ErrorInfo) *keyStatus {
	for i := range keyStatuses {
		if info.GetDomain() == domain && info.GetReason() == keyStatuses[i].reason {
			return &keyStatuses[i]
		}
	}
	return nil
}

// foreignKey returns err without what it says of a key and of when to come back
// with that, or nil if it says nothing of one: the error of another server, which a handler has called and
// whose error it returns, is not about the key of its own caller, who would take it
// for that. It also reports whether the work of that key may have been done.
func foreignKey(err error) (foreign error, open bool) {
	st, ok := status.FromError(err)
	if !ok || err == nil || keyError(st) == nil {
		return nil, false
	}
	p := st.Proto()
	p.Details = slices.DeleteFunc(p.Details, func(d *anypb.Any) bool {
		info := new(errdetails.ErrorInfo)
		return d.MessageIs((*errdetails.RetryInfo)(nil)) || d.UnmarshalTo(info) == nil && keyStatusOf(info) != nil
	})
	return status.FromProto(p).Err(), st.Code() == codes.Aborted || st.Code() == codes.FailedPrecondition
}
