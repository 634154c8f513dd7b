package grpccall

import (
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// Config describes the client side of a channel. The zero value is fit for
// production.
type Config struct {
	// Idempotent reports whether a method, such as "/orders.v1.Orders/Cancel",
	// may be called twice because that does its work once. It is asked once for
	// each of the first 4096 methods, and adds to what the service's definition says with
	// idempotency_level, the call with Idempotent, and a key.
	Idempotent func(method string) bool

	// RetryOn are the codes besides UNAVAILABLE on which a call is tried again.
	// RESOURCE_EXHAUSTED is, where the server says when to come back. Whether a
	// code is a failure of the server's to breakers and balancers does not change
	// with it: trying again on ABORTED opens no breaker.
	RetryOn []codes.Code

	// Classify returns what a status from the server means for policy, where
	// Success and Permanent say the same: it is an answer. nil means
	// ClassifyStatus; RetryOn has no say beside a Classify.
	Classify func(st *status.Status) backstay.Class

	// ServiceRetry says what becomes of a method for which the service config of
	// the channel has a retryPolicy of its own. The zero value is
	// DeferToServiceConfig.
	ServiceRetry ServiceRetry

	// BufferSize is how many bytes a stream may have sent and be tried again. 0
	// means 256 KiB, as in grpc-go.
	BufferSize int

	// ServiceConfig is the default service config of the channel, in JSON, in
	// place of grpc.WithDefaultServiceConfig, which must not be used beside it. A
	// balancer in the policy is added to it; then it must not choose another, or
	// DialOptions panics. Empty means none.
	ServiceConfig string

	// HealthService is the name of the service whose health is watched on each
	// connection, by grpc.health.v1, where the policy has a balancer and the
	// server offers it. Empty means that of the server as a whole.
	HealthService string

	// NoHealth has no health watched.
	NoHealth bool

	// IgnoreResolver says that the balancer in the policy gets its endpoints by
	// its own Follow or Update: the addresses that the channel's resolver finds
	// are ignored. Without it that is so for a balancer that already has
	// endpoints of its own when DialOptions is called. The target must resolve
	// all the same, or gRPC connects to nothing: take one for which nobody is
	// asked, such as "passthrough:///orders".
	IgnoreResolver bool

	// Traced says that something on the channel makes a span for each attempt,
	// so that package telemetry makes none. otelgrpc's stats handler is
	// recognised without it.
	Traced bool
}

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	switch {
	case c.BufferSize < 0:
		return fmt.Errorf("grpccall: BufferSize is %d; give a number of bytes, or 0 for 256 KiB", c.BufferSize)
	case c.ServiceRetry > RefuseServiceRetry:
		return fmt.Errorf("grpccall: ServiceRetry is %d; give DeferToServiceConfig, OwnRetry or RefuseServiceRetry", c.ServiceRetry)
	case c.ServiceConfig != "" && !isObject(c.ServiceConfig):
		return fmt.Errorf("grpccall: the ServiceConfig is no JSON object; give one such as {\"methodConfig\": []}, or leave it out")
	case c.NoHealth && c.HealthService != "":
		return fmt.Errorf("grpccall: there is a HealthService and NoHealth; keep one of them")
	}
	for _, code := range c.RetryOn {
		switch code {
		case codes.OK:
			return fmt.Errorf("grpccall: RetryOn has OK, which is no failure; leave it out")
		case codes.Canceled, codes.Unknown, codes.InvalidArgument, codes.DeadlineExceeded, codes.NotFound, codes.AlreadyExists,
			codes.PermissionDenied, codes.ResourceExhausted, codes.FailedPrecondition, codes.Aborted, codes.OutOfRange,
			codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss, codes.Unauthenticated:
		default:
			return fmt.Errorf("grpccall: RetryOn has %d, which is no status code; give those of package codes", code)
		}
	}
	return nil
}

func isObject(text string) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal([]byte(text), &fields) == nil && fields != nil
}

// A ServiceRetry says who retries a method for which the service config has a
// retryPolicy, so that three attempts by the one are never multiplied by four of
// the other.
type ServiceRetry uint8

const (
	// DeferToServiceConfig leaves the retries to gRPC: the policy makes one
	// attempt, in which there may be several of gRPC's.
	DeferToServiceConfig ServiceRetry = iota
	// OwnRetry has the policy retry and gRPC not: DialOptions turns its retries
	// off, except those of what no server has seen.
	OwnRetry
	// RefuseServiceRetry fails the calls of such a method with
	// FAILED_PRECONDITION.
	RefuseServiceRetry
)
