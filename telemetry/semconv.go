package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// The one version of the semantic conventions that is used, and what of it.
const (
	schemaURL = semconv.SchemaURL

	errorTypeKey       = semconv.ErrorTypeKey
	httpMethod         = semconv.HTTPRequestMethodKey
	httpMethodOriginal = semconv.HTTPRequestMethodOriginalKey
	httpResendCount    = semconv.HTTPRequestResendCountKey
	httpStatusCode     = semconv.HTTPResponseStatusCodeKey
	peerAddress        = semconv.NetworkPeerAddressKey
	peerPort           = semconv.NetworkPeerPortKey
	protocolName       = semconv.NetworkProtocolNameKey
	protocolVersion    = semconv.NetworkProtocolVersionKey
	rpcMethod          = semconv.RPCMethodKey
	rpcStatusCode      = semconv.RPCResponseStatusCodeKey
	rpcSystem          = semconv.RPCSystemNameKey
	serverAddress      = semconv.ServerAddressKey
	serverPort         = semconv.ServerPortKey
	urlFull            = semconv.URLFullKey
	urlTemplate        = semconv.URLTemplateKey
)

// other is the value for what is not in a fixed set.
const other = "_OTHER"

// What the conventions have no names for.
const (
	policyName       = attribute.Key("resilience.policy.name")
	callAttempts     = attribute.Key("resilience.call.attempts")
	callOutcome      = attribute.Key("resilience.call.outcome")
	retryReason      = attribute.Key("resilience.retry.reason")
	retryDelay       = attribute.Key("resilience.retry.delay") // seconds
	retryDelaySource = attribute.Key("resilience.retry.delay_source")
	retrySuppressed  = attribute.Key("resilience.retry.suppressed_reason")
	breakerName      = attribute.Key("resilience.circuit_breaker.name")
	breakerState     = attribute.Key("resilience.circuit_breaker.state")
	breakerPrevious  = attribute.Key("resilience.circuit_breaker.previous_state")
)

// The names of events on spans.
const (
	eventTransition = "resilience.circuit_breaker.transition"
	eventRejected   = "resilience.rejected"
)
