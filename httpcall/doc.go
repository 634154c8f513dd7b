// Package httpcall makes HTTP requests survive: a [Transport] is an
// http.RoundTripper that sends each request under a policy, with timeouts,
// retries, breakers and balancing, for an http.Client or whatever else takes
// one.
//
//	policy := telemetry.Observe(backstay.New(
//		timeout.Call(2*time.Second),
//		retry.New(retry.Config{
//			MaxAttempts: 4,
//			Backoff:     retry.Exponential(50*time.Millisecond, time.Second),
//			If:          func(err error) bool { return backstay.Classify(err) == backstay.Transient },
//		}),
//		breaker.New(breaker.Config{Name: "orders", FailureRate: 0.5, MinCalls: 20, Window: 10 * time.Second}),
//		timeout.Attempt(500*time.Millisecond),
//	), telemetry.Config{})
//	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
//
// Make the client once and share it: the breaker, the retry budget and the
// connections live in it.
//
// # What is retried
//
// Failures to connect, for every method, since the server has not seen the
// request. Connections that break and attempts that time out, and the statuses
// 500, 502, 503, 504 and, later and at no cost to a breaker, 408, 421, 425 and
// 429, for requests that do no harm twice: GET, HEAD, OPTIONS, TRACE, PUT,
// DELETE and QUERY, those with an Idempotency-Key, and those whose context is
// from [Idempotent]. To the second row belongs a 409 to a request with an
// idempotency key whose body, a problem of RFC 9457, says that an earlier
// attempt with the key is in progress. The example above leaves out that row by
// its If.
//
// Never retried at the same endpoint are names that do not exist and
// certificates that do not verify. Never retried at all are messages that are
// malformed, a request body that cannot be read or has not the length that the
// request says, a CONNECT, what the server has vetoed in a header that the
// Config names, and a call whose caller has given up. Once the caller has a
// response there are no retries either: a body that breaks off is the caller's
// to see.
//
// When the attempts are used up, the last response is the result, with its body
// unread, as it would be from any RoundTripper. Inside the policy it is a
// [StatusError], so middleware needs to look at errors only.
//
// # Bodies
//
// A request body is sent again if the request has GetBody, which
// http.NewRequest sets for bytes.Buffer, bytes.Reader and strings.Reader. One
// without it is sent once, unless Config.BufferBody allows to keep a copy of so
// many bytes while they are sent. It is closed once, whatever happens.
//
// Responses that are discarded on the way are drained a little and closed, so
// that their connections are used again. The one that is returned is the
// caller's to close, and the call lasts until then: timeout.Call covers reading
// it, and a balancer counts it as in flight.
//
// # Time
//
// timeout.Call covers everything from the first attempt to the end of the body,
// as the Timeout of an http.Client does, which is respected too.
// timeout.Attempt ends when the headers have arrived, so that it does not cut a
// long download; timeout.WholeAttempt does not, and Config.BodyIdle limits the
// waits while a body is read.
//
// Retry-After is obeyed on 429, 503 and a 409 that says "in progress": the next
// attempt comes no earlier, or not at all where that would be after the deadline
// or retry's MaxRetryAfter. On a 503 it holds for the endpoint that sent it, on
// the others for every endpoint of the service.
//
// # Errors
//
// What is left of a call without a response is an error from the network, as
// net/http gives it, under what the policy has to say of it. errors.Is and
// errors.As find context.DeadlineExceeded, context.Canceled and the cause of
// the cancellation, *timeout.Error, *retry.Error with the failures of the
// earlier attempts, *breaker.OpenError, and whatever the network said; Timeout
// of the url.Error is right. Their text shows no credentials and no query.
//
// # Endpoints
//
// With a balancer in the policy each attempt connects to the endpoint that was
// picked for it. The URL stays as it is, and with it the Host header, the name
// in the TLS handshake and the name that the certificate must have. Proxies are
// not used then. DialContext and DialTLSContext of the Base get the endpoint as
// their address; the latter has to know the certificate's name by itself.
//
// Each endpoint has a pool of connections. [Transport.Warm] opens the first of
// each, and [Transport.Check] is a health check that goes through them. When the
// balancer says that an endpoint is gone, its connections are closed as they
// become idle: calls that are there, and the bodies of their responses, are not
// cut. Errors name the endpoint that they come from.
//
// [ByHeader], [ByCookie], [ByPath] and [ByClientAddr] are keys for balancers that
// hash, [Sticky] gives clients a cookie to hash by, and [IsWrite] tells balancers
// the calls that a replica cannot serve. A call that a balancer has no endpoint
// for fails with its *loadbalance.NoEndpointError, and its request body is
// closed.
//
// # Spans
//
// telemetry.Observe puts a span around the call and one around each attempt. It
// leaves the attempts to an otelhttp.Transport where that is the Base; where
// PerEndpoint returns such, set NoAttemptSpans of the telemetry.Config. The
// other way round, an otelhttp.Transport over this one shows calls only.
//
// # When not to use it
//
// Not for streams that cannot be sent again, such as uploads from a pipe: they
// pass, but are never retried. Not where requests are retried already, by a
// proxy in front of the service or by the client of a cloud provider: attempts
// multiply. Not for redirects, cookies and credentials, which stay with
// http.Client: each hop of a redirect is a call of its own, with attempts of
// its own. And net/http itself resends, within one attempt, a request that can
// be replayed when a connection that it had kept open turns out to be closed.
package httpcall
