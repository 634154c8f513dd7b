package grpccall

import (
	"context"

	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// A waitError is the end of a call whose context has ended while it waited.
type waitError struct {
	over error  // that of the context
	why  string // what it waited for, if that is known
}

func tired(ctx context.Context, why string) error { return &waitError{ctx.Err(), why} }

func (e *waitError) Error() string {
	text := "grpccall: waiting for a connection: " + e.over.Error()
	if e.why != "" {
		text += " (" + e.why + ")"
	}
	return text
}

func (e *waitError) Unwrap() error { return e.over }

// GRPCStatus is that of the context, with what the call waited for.
func (e *waitError) GRPCStatus() *status.Status {
	return status.New(status.FromContextError(e.over).Code(), e.Error())
}

// Details says that nothing was sent.
func (e *waitError) Details() backstay.Error { return backstay.Error{NotSent: true} }
