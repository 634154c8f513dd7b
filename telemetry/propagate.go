package telemetry

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"github.com/backstay-go/backstay"
)

// A propagator writes the trace context into headers.
type propagator struct {
	propagation.TextMapPropagator
	fields []string
}

// followPropagator returns the propagator for p, or for the global one if p is
// nil. It is nil where nothing would be written.
func followPropagator(p propagation.TextMapPropagator) *follower[propagation.TextMapPropagator, *propagator] {
	current := func() propagation.TextMapPropagator { return p }
	if p == nil || isPlaceholder(p) {
		current = otel.GetTextMapPropagator
	}
	return &follower[propagation.TextMapPropagator, *propagator]{current: current, derive: propagatorOf}
}

func propagatorOf(p propagation.TextMapPropagator) *propagator {
	if p == nil {
		return nil
	}
	fields := p.Fields()
	if len(fields) == 0 {
		return nil
	}
	return &propagator{p, fields}
}

// inject writes the trace context of ctx into the request of the call. The
// metadata of an RPC is in the context that it returns.
func (p *propagator) inject(ctx context.Context, call *backstay.Call) (with context.Context) {
	with = ctx
	defer contain()
	if req := requestOf(call); req != nil {
		p.injectHTTP(ctx, req)
	} else if r := rpcOf(call); r != nil {
		with = p.injectRPC(ctx, r)
	}
	return with
}

// injectHTTP writes the trace context of ctx into req, in place of what the
// caller has put there: two of them would be ambiguous.
func (p *propagator) injectHTTP(ctx context.Context, req *http.Request) {
	if req.Header == nil {
		req.Header = http.Header{}
	}
	for key := range req.Header {
		if slices.ContainsFunc(p.fields, func(f string) bool { return strings.EqualFold(f, key) }) {
			delete(req.Header, key)
		}
	}
	p.Inject(ctx, propagation.HeaderCarrier(req.Header))
}
