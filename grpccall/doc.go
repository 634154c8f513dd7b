// Package grpccall puts a policy into a gRPC channel: it makes every call of the
// channel, unary or streaming, under the policy.
//
//	policy := backstay.New(
//		timeout.Call(2*time.Second),
//		retry.New(retry.Config{}),
//		loadbalance.NewBalancer(loadbalance.Config{}),
//		breaker.NewGroup(breaker.Config{Name: "orders"}, breaker.ByEndpoint),
//		timeout.Attempt(500*time.Millisecond),
//	)
//	conn, err := grpc.NewClient(target, // such as "dns:///orders.internal:443"
//		append(grpccall.DialOptions(policy, grpccall.Config{}), grpc.WithTransportCredentials(creds))...)
//
// A channel without a balancer of ours can still choose one in its service
// config, as "backstay"; and a server does the work of an idempotency key once
// with [UnaryServerInterceptor].
//
// # What is tried again
//
// A failure with UNAVAILABLE, and RESOURCE_EXHAUSTED where the server says when
// to come back; what else there is in Config.RetryOn. The call must also be
// harmless to repeat: its method has an idempotency_level in the service's
// definition, or Config.Idempotent says so, or the call is made with
// [Idempotent], or has a key: see package idempotency, whose Keys gives it one
// that is sent as the metadata "idempotency-key". Any other call is tried again
// only if it never reached a connection. So mark the methods that only read:
//
//	rpc Get(GetRequest) returns (Order) {
//	  option idempotency_level = NO_SIDE_EFFECTS;
//	}
//
// The pushback of a server is kept to the millisecond (gRFC A6). Where the service
// config has a retryPolicy for the method, that retries and the policy does not,
// unless Config.ServiceRetry says otherwise.
//
// # Streams
//
// A call on which only the server streams is tried again until the response
// headers have come, or the caller has asked for the Context of the stream. A
// server sends headers with its first message at the latest, so no message is ever
// seen twice; one that sets headers and then fails has begun its answer, which is
// final. Where the client streams there is one attempt that opens; it is
// protected by everything else in the policy. What is sent may be changed as soon
// as SendMsg has returned, as gRPC promises; of messages that are not protobuf's,
// or types around them, and cannot be copied, that is so only when the call has
// ended.
//
// An attempt on a stream has answered when its headers have come. So a
// timeout.Attempt bounds the time until then, and not the stream: also of one on
// which the server waits for all that the client uploads, or for something to
// happen. Such methods need a channel whose policy has none, or a longer one. A
// timeout.Call bounds the whole stream. How one ends that has its headers is for
// the caller to judge: to breakers and balancers it has been answered.
//
// # Errors
//
// The caller gets the last status of the server as it is: code, message and
// details. What the policy knows besides, such as the number of attempts, is
// found with errors.As in a *retry.Error. That has the earlier failures too, so
// ask status.Code what the call came to: errors.Is may find the timeout of the
// attempt before. Where nothing was sent the status is
// UNAVAILABLE for an open breaker and for want of an endpoint,
// RESOURCE_EXHAUSTED for a limit, and that of the context where it has ended.
//
// # Telemetry
//
// With package telemetry around the policy, and otelgrpc's stats handler on the
// channel, each attempt has the span of otelgrpc and the call has ours above
// them. Without otelgrpc the call's span is the CLIENT span of the RPC.
package grpccall
