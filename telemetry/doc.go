// Package telemetry shows calls as OpenTelemetry spans: one for the call, and
// under it one for each attempt, side by side.
//
//	policy = telemetry.Observe(policy, telemetry.Config{})
//
// The call's span is INTERNAL, named by the call's Op. It lasts from before the
// first attempt to the end of the result, the closing of a response's body, and
// tells the outcome and the number of attempts. An attempt's span is CLIENT and
// follows the semantic conventions for HTTP where the request is an
// *http.Request; its trace context is what goes over the wire. So a trace shows
// what the callee did for each attempt, why there was another one, and how long
// the pause was.
//
// With RPCs it is the other way round, because the conventions know no attempts
// of an RPC and count its CLIENT spans: the call's span is CLIENT and follows
// the conventions for RPC, its attempts are INTERNAL. Over otelgrpc, which makes
// a CLIENT span of each attempt, the call's span is INTERNAL and we make none of
// attempts. error.type is the status that the server sent, such as UNAVAILABLE,
// or one of our own names, such as circuit_open.
//
// The trace context is written by the Propagator. OpenTelemetry has none until
// the program sets one:
//
//	otel.SetTextMapPropagator(propagation.TraceContext{})
//
// # Where it belongs
//
// Call stands outermost, to see what the caller sees. Attempt stands innermost,
// under the attempt's timeout and the breaker, so that there is no span for
// what was never sent: a call that was turned away has an event on the call's
// span instead. Observe puts both in their places.
//
// # What it costs
//
// An HTTP call of one attempt that is recorded costs about 3 µs and 30
// allocations more, most of them the SDK's. With a no-op provider, or none at
// all, no span is started and nothing is allocated; but where the spans of
// attempts are left to others, the number of each attempt is put into its
// context, which is one allocation.
//
// What the placeholder provider of package otel could give to
// auto-instrumentation by eBPF is lost by that: install a provider to have
// spans.
//
// Telemetry never changes a result. What panics in a provider, a span or a
// propagator is contained, and that span or header is missing.
package telemetry
