package telemetry

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/backstay-go/backstay"
)

// start begins a span and returns a context with it. There is no span where the
// tracer gives none.
func start(ctx context.Context, t trace.Tracer, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	inner, span := t.Start(ctx, name, opts...)
	if inner == nil || span == nil {
		return ctx, nil
	}
	return inner, span
}

// asClient returns the options of a CLIENT span that begins with attrs, which are
// what a sampler may want to see.
func asClient(attrs []attribute.KeyValue) []trace.SpanStartOption {
	return []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...)}
}

// fail gives a span the status of a failure and its error.type, which is all
// that is told of the error: its text may hold anything.
func fail(span trace.Span, errorType string) {
	span.SetStatus(codes.Error, "")
	span.SetAttributes(errorTypeKey.String(errorType))
}

// errorType returns the error.type of what ended with resp and err under ctx,
// or "" if that was not a failure: a success, or somebody above lost interest.
func errorType(ctx context.Context, resp *http.Response, err error) string {
	switch {
	case resp != nil && resp.StatusCode >= 400:
		return strconv.Itoa(resp.StatusCode)
	case err == nil || canceled(ctx):
		return ""
	case ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return "timeout"
	}
	return known(backstay.TypeOf(err))
}

// canceled reports whether ctx was ended by somebody who lost interest: the
// caller, or a hedge that has its answer. A timeout that ends its context by
// canceling it says so in the cause.
func canceled(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// known returns an error type of the fixed set: errors of users may have any.
func known(errorType string) string {
	switch errorType {
	case "timeout", "canceled", "connection_refused", "connection_reset", "dns_not_found", "tls",
		"circuit_open", "rate_limited", "budget_exhausted", "no_endpoint":
		return errorType
	}
	if isStatusCode(errorType) {
		return errorType
	}
	if n, err := strconv.Atoi(errorType); err == nil && len(errorType) == 3 && n >= 100 {
		return errorType
	}
	return other
}

// appendRetry appends why there is this attempt.
func appendRetry(to []attribute.KeyValue, e backstay.Event) []attribute.KeyValue {
	to = append(to, retryReason.String(known(e.Reason)), retryDelay.Float64(e.Delay.Seconds()))
	switch e.Source {
	case "backoff", "retry_after", "pushback":
		to = append(to, retryDelaySource.String(e.Source))
	}
	return to
}

// suppressed returns why there was no retry, of a fixed set, or "" where none
// was due.
func suppressed(reason string) string {
	switch reason {
	case "budget", "attempts", "deadline", "not_idempotent", "body_not_replayable", "server_veto", "circuit_open", "service_config":
		return reason
	}
	return ""
}
