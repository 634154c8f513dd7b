package grpccall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/httpreq"
)

// ServerConfig describes a UnaryServerInterceptor. All but Methods and Tenant
// have a default.
type ServerConfig struct {
	// Methods are those that need a key: the full name of a unary method, as in
	// "/orders.v1.Orders/Create", or with a slash at its end that of a service,
	// as in "/orders.v1.Orders/", for all unary ones that it has but those whose
	// definition has an idempotency_level, which idempotency.Keys gives no key.
	// Others are passed on as they are.
	Methods []string

	// Tenant returns whose call it is: an account, as it was authenticated by an
	// interceptor above this one. A key is known to its tenant alone, so no
	// tenant gets what another was answered. It must be the same for all attempts
	// of a call: an account, and not a token that is renewed between them.
	//
	// A call whose tenant is "" is refused with PERMISSION_DENIED. OneTenant is
	// for servers all of whose callers may see each other's answers.
	Tenant func(context.Context) string

	// Optional passes on calls without a key, without protection. Otherwise they
	// are refused with INVALID_ARGUMENT.
	Optional bool

	// MaxRequest is how many bytes the message of a call may have, which is
	// hashed to tell it from others. Longer ones are refused with
	// RESOURCE_EXHAUSTED. 0 means 4 MiB, which is what a grpc.Server takes.
	MaxRequest int

	// MaxAnswer is how many bytes an answer may have to be kept: its message, or
	// its status with the details. A longer one is sent; who asks again is told
	// that it was done. 0 means 1 MiB.
	MaxAnswer int

	// Headers names metadata of answers to keep, be it of the header or of the
	// trailer. What is not named here is not repeated. What belongs to one
	// answer, such as trace contexts and all that begins with "grpc-", cannot be
	// kept.
	Headers []string

	// Release reports whether an error with the code says that nothing was done
	// and that another attempt may succeed: it is not kept, and the key is free
	// again. nil means Released; with a Transactor, which has undone what was
	// done, also CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, DATA_LOSS and
	// UNIMPLEMENTED.
	//
	// A code with which the handler gives up on work that may go on, or may have
	// been done, must not be one of these. A handler that returns the errors of
	// the servers it calls returns their UNAVAILABLE too: give those calls a key
	// of their own, such as an idempotency.Child, or return another code.
	Release func(codes.Code) bool
}

// OneTenant is the Tenant of all calls.
func OneTenant(context.Context) string { return "all" }

// Released reports whether the code is one of those of a handler that has not
// begun the work, or is sure that it had no effect: UNAUTHENTICATED and
// PERMISSION_DENIED, with which it turns away who may come back with other
// rights; ABORTED, with which it has lost against another and has undone what it
// did; RESOURCE_EXHAUSTED and UNAVAILABLE, with which it asks to come back.
//
// CANCELLED and DEADLINE_EXCEEDED are none: the context of the work does not end
// with that of the caller, so they come from the middle of the work, and it may
// have been done.
func Released(code codes.Code) bool {
	switch code {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Aborted, codes.ResourceExhausted, codes.Unavailable:
		return true
	}
	return false
}

// releasedIfUndone is Released where what was done has been undone.
func releasedIfUndone(code codes.Code) bool {
	switch code {
	case codes.Canceled, codes.Unknown, codes.DeadlineExceeded, codes.Internal, codes.DataLoss, codes.Unimplemented:
		return true
	}
	return Released(code)
}

// Validate reports what is wrong with the config.
func (c ServerConfig) Validate() error {
	switch {
	case len(c.Methods) == 0:
		return errors.New("grpccall: no Methods would leave all calls without protection; name some, such as /orders.v1.Orders/Create, or /orders.v1.Orders/ for all of a service")
	case c.Tenant == nil:
		return errors.New("grpccall: without a Tenant one caller could get what another was answered; give a function that returns whose call it is, or OneTenant")
	case c.MaxRequest < 0:
		return fmt.Errorf("grpccall: MaxRequest is %d; give a number of bytes, or 0 for 4 MiB", c.MaxRequest)
	case c.MaxAnswer < 0:
		return fmt.Errorf("grpccall: MaxAnswer is %d; give a number of bytes, or 0 for 1 MiB", c.MaxAnswer)
	}
	for _, m := range c.Methods {
		if err := checkMethod(m); err != nil {
			return err
		}
	}
	for _, h := range c.Headers {
		if err := checkHeader(h); err != nil {
			return err
		}
	}
	return nil
}

// checkMethod reports what is wrong with the name of a method or service. A
// misspelt one would go without protection, so those of services that the
// program has the definition of are looked up.
func checkMethod(full string) error {
	rest, slash := strings.CutPrefix(full, "/")
	service, name, second := strings.Cut(rest, "/")
	if !slash || !second || service == "" || strings.Contains(name, "/") {
		return fmt.Errorf("grpccall: %q cannot be a method; give full names such as /orders.v1.Orders/Create, or /orders.v1.Orders/ for all of a service", full)
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil // of a service that protobuf did not generate, or of none
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return fmt.Errorf("grpccall: %s of the method %q is no service; give full names such as /orders.v1.Orders/Create", service, full)
	}
	if name == "" {
		return nil
	}
	switch m := s.Methods().ByName(protoreflect.Name(name)); {
	case m == nil:
		return fmt.Errorf("grpccall: the service %s has no method %q; look at its definition, where case counts", service, name)
	case m.IsStreamingClient() || m.IsStreamingServer():
		return fmt.Errorf("grpccall: the method %q is a stream, whose answer is not kept; take it out of Methods", full)
	}
	return nil
}

// checkHeader reports why metadata of the name cannot be kept.
func checkHeader(name string) error {
	lower := strings.ToLower(name)
	switch {
	case !isMetadata(name):
		return fmt.Errorf("grpccall: %q cannot be the name of metadata; give names such as x-request-id", name)
	case strings.HasPrefix(lower, "grpc-") || lower == "content-type" || lower == "user-agent" || httpreq.OfOneAnswer(lower):
		return fmt.Errorf("grpccall: the metadata %q belongs to one answer and is not for another; take it out of Headers", lower)
	}
	return nil
}

// isMetadata reports whether metadata can have the name.
func isMetadata(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	return name != "" && strings.Trim(strings.ToLower(name), allowed) == ""
}

func (c ServerConfig) defaults(guard *idempotency.Guard) ServerConfig {
	if c.MaxRequest == 0 {
		c.MaxRequest = 4 << 20
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = 1 << 20
	}
	if c.Release == nil {
		c.Release = Released
		if guard.Undoes() {
			c.Release = releasedIfUndone
		}
	}
	c.Methods = slices.Clone(c.Methods)
	c.Headers = slices.Clone(c.Headers)
	for i, h := range c.Headers {
		c.Headers[i] = strings.ToLower(h)
	}
	return c
}
