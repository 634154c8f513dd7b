package telemetry

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// An rpcRequest is the request of an RPC, as adapters such as grpccall make it.
// It is an interface so that this package needs none of them.
type rpcRequest interface {
	// RPC returns the system and the full name of the method, such as "grpc"
	// and "orders.v1.Orders/Get".
	RPC() (system, method string)

	// SetHeader returns ctx with the metadata of an attempt, in which key has
	// this value only, or none if value is empty.
	SetHeader(ctx context.Context, key, value string) context.Context
}

// rpcOf returns the request of a call that is an RPC, or nil.
func rpcOf(call *backstay.Call) rpcRequest {
	r, _ := backstay.Peek[rpcRequest](call)
	return r
}

// startRPC returns the name and the options of a span that stands for an RPC.
func startRPC(call *backstay.Call, r rpcRequest) (name string, opts []trace.SpanStartOption) {
	system, method := r.RPC()
	attrs := make([]attribute.KeyValue, 0, 4)
	attrs = append(attrs, rpcSystem.String(system), rpcMethod.String(method))
	return method, asClient(appendAddress(attrs, serverAddress, serverPort, call.Target, 0))
}

// setStatusCode records the code that an RPC ended with. Errors of our own have
// none: the caller is given one for them, but no server has sent it.
func setStatusCode(span trace.Span, err error) {
	code := "OK"
	if err != nil {
		code = backstay.TypeOf(err)
	}
	if err == nil || isStatusCode(code) {
		span.SetAttributes(rpcStatusCode.String(code))
	}
}

// isStatusCode reports whether an error type is the name of a gRPC status code.
func isStatusCode(errorType string) bool {
	switch errorType {
	case "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED":
		return true
	}
	return false
}

// An rpcCarrier writes the trace context into the metadata of an attempt, which
// is in its context.
type rpcCarrier struct {
	rpcRequest
	ctx   context.Context
	stale []string // fields that the caller may have put there
}

// carriers saves the allocation of one where there is nothing to write.
var carriers = sync.Pool{New: func() any { return &rpcCarrier{} }}

// injectRPC returns ctx with its trace context in the metadata of r, in place of
// what the caller has put there. Where there is none, that stays.
func (p *propagator) injectRPC(ctx context.Context, r rpcRequest) context.Context {
	c := carriers.Get().(*rpcCarrier)
	c.rpcRequest, c.ctx, c.stale = r, ctx, p.fields
	p.Inject(ctx, c)
	ctx = c.ctx
	*c = rpcCarrier{}
	carriers.Put(c)
	return ctx
}

// Get and Keys are for extraction, which a client has no use for.
func (c *rpcCarrier) Get(string) string { return "" }
func (c *rpcCarrier) Keys() []string    { return nil }

// Set writes one field.
func (c *rpcCarrier) Set(key, value string) {
	stale := c.stale
	c.stale = nil
	for _, field := range stale {
		c.set(field, "")
	}
	c.set(key, value)
}

func (c *rpcCarrier) set(key, value string) {
	if ctx := c.SetHeader(c.ctx, key, value); ctx != nil {
		c.ctx = ctx
	}
}
