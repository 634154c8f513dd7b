package httpcall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/backstay-go/backstay"
)

// Config describes a Transport. The zero value is fit for production.
type Config struct {
	// Base sends the requests. nil means a transport of its own like
	// http.DefaultTransport, that keeps up to 100 idle connections to a host
	// where that one keeps 2.
	Base http.RoundTripper

	// PerEndpoint returns what sends the requests to an endpoint that a
	// balancer has picked. It is asked once for each, and again for one that
	// was gone and has come back; when one is gone, its CloseIdleConnections is
	// called, if it has that. nil means a copy of Base that connects to the
	// endpoint, for which Base must be an *http.Transport.
	PerEndpoint func(endpoint string) http.RoundTripper

	// Route returns the template of a request's path, such as "/orders/{id}",
	// for the names of spans; "" if there is none. nil means the request's
	// Pattern, which callers may set.
	Route func(req *http.Request) string

	// Classify returns what a response means for policy. nil means
	// ClassifyStatus of its status, but for a 409: see RetryConflict, which
	// has no say beside a Classify.
	Classify func(resp *http.Response) backstay.Class

	// RetryAfterOn are the statuses on which a Retry-After header is obeyed.
	// nil means 429 and 503. A status below 500 that has one is tried again. On
	// a 409 that says that an earlier attempt is in progress it always is.
	RetryAfterOn []int

	// RetryHeader names a response header in which the server says "true" or
	// "false" to another try, such as Stripe-Should-Retry. Empty means none.
	RetryHeader string

	// NoRetryHeader names a response header that forbids another try by being
	// there, such as X-Envoy-Ratelimited. Empty means none.
	NoRetryHeader string

	// RetryConflict says that any 409 to a request with an idempotency key means
	// that an earlier attempt is still being worked on, so that it is tried
	// again: for a server that has a form of its own to say so. Without it that
	// is what a 409 means that carries a problem about keys, as those of the
	// IETF draft and of package idempotency. One that says, in a problem of
	// idempotency.ErrOutcomeUnknown or ErrNotKept, that the key is of no more
	// use is never tried again.
	RetryConflict bool

	// BufferBody is how many bytes of a request body without GetBody are copied
	// while it is sent, so that it can be sent again. A longer body is sent all
	// the same, once. 0 copies nothing.
	BufferBody int64

	// BodyIdle is how long reading a response body may wait for more of it. 0
	// means as long as the call may take.
	BodyIdle time.Duration
}

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	switch {
	case c.BufferBody < 0:
		return fmt.Errorf("httpcall: BufferBody is %d; give a number of bytes, or 0 to copy nothing", c.BufferBody)
	case c.BodyIdle < 0:
		return fmt.Errorf("httpcall: BodyIdle is %v; give a positive duration, or 0 for no limit", c.BodyIdle)
	}
	return nil
}

// A Transport is an http.RoundTripper that sends requests under a policy.
type Transport struct {
	cfg       Config
	base      http.RoundTripper
	endpoints *endpoints
	call      func(context.Context, *http.Request) (*http.Response, error)
	delayed   []int
	balanced  bool // the policy has a balancer
	traced    bool // the base makes spans
}

// NewTransport returns a transport that sends requests under p. It is safe for
// concurrent use if its Base is.
//
// It panics if cfg is not valid, or if p has a balancer whose picks the Base
// cannot connect to.
func NewTransport(p *backstay.Policy, cfg Config) *Transport {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	t := &Transport{cfg: cfg, base: cfg.Base, delayed: cfg.RetryAfterOn, balanced: picks(p)}
	if t.base == nil {
		t.base = defaultBase()
	}
	if t.delayed == nil {
		t.delayed = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}
	}
	base, pinnable := t.base.(*http.Transport)
	if t.balanced && !pinnable && cfg.PerEndpoint == nil {
		panic(fmt.Sprintf("httpcall: the policy has a balancer, but a %T cannot be told where to connect to; give an *http.Transport as Base, or PerEndpoint", t.base))
	}
	t.endpoints = &endpoints{base: base, make: cfg.PerEndpoint}
	t.endpoints.follow(p)
	t.traced = fmt.Sprintf("%T", t.base) == "*otelhttp.Transport"
	t.call = backstay.Bind(p, backstay.Op[*http.Request, *http.Response]{
		Name: "HTTP", Prepare: t.prepare, Copy: t.copyRequest, Do: t.do, Check: t.check, Discard: discard, Hold: hold,
	})
	return t
}

func defaultBase() *http.Transport {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		base = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	base = base.Clone()
	base.MaxIdleConns, base.MaxIdleConnsPerHost = 0, 100
	return base
}

func picks(p *backstay.Policy) bool {
	for _, m := range p.Stack() {
		if d, ok := m.(backstay.Part); ok && d.Traits().Picks {
			return true
		}
	}
	return false
}

// RoundTrip sends req under the policy. Where any attempt that ended the call
// got a response, that is the result, whatever its status.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	original := req
	if src := t.newSource(req); src != nil {
		panicked := true
		defer func() { src.finish(panicked) }()
		req = req.WithContext(req.Context())
		req.Body = &requestBody{src: src}
		resp, err := t.roundTrip(original, req)
		panicked = false
		return resp, err
	}
	return t.roundTrip(original, req)
}

var errNothing = errors.New("httpcall: a middleware of the policy returned no error and no response")

func (t *Transport) roundTrip(original, req *http.Request) (*http.Response, error) {
	resp, err := t.call(req.Context(), req)
	if err != nil {
		return nil, withTimeout(err)
	}
	if resp == nil {
		return nil, errNothing
	}
	if resp.Body == nil {
		resp.Body = http.NoBody // a middleware's response
	}
	resp.Request = original
	return resp, nil
}

// do makes one attempt.
func (t *Transport) do(ctx context.Context, call *backstay.Call, req *http.Request) (*http.Response, error) {
	call.Began()
	rt := t.base
	if call.Endpoint != "" {
		at, done, err := t.endpoints.at(call.Endpoint)
		if err != nil {
			return nil, err
		}
		call.OnDone(done)
		rt = at
	}
	if ctx.Err() != nil { // the base need not say whether it had begun
		return nil, ended(ctx, ctx.Err(), true)
	}
	if t.cfg.BodyIdle > 0 || isCallers(ctx, req) {
		rt = &idleTransport{rt, t.cfg.BodyIdle}
	}
	var p progress
	req = req.WithContext(p.watch(ctx))
	if err := send(req); err != nil {
		return nil, &backstay.Error{Err: err, Class: backstay.Broken, NotSent: true}
	}
	resp, err := rt.RoundTrip(req)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, explain(ctx, call.Endpoint, &p, fault(req), err)
	case resp == nil:
		return nil, errNoResponse(t.base)
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	if resp.Request == nil {
		resp.Request = req
	}
	if t.cfg.Classify == nil {
		if c := readConflict(call, resp); c != noConflict {
			resp.Request = withConflict(resp.Request, c)
		}
	}
	return resp, nil
}

func errNoResponse(from http.RoundTripper) error {
	return &backstay.Error{Class: backstay.Permanent, Err: fmt.Errorf("httpcall: the Base, a %T, returned no error and no response", from)}
}

// isCallers reports whether ctx ends only when the caller's own does. One that
// the policy has made, for a timeout, ends when the attempt or the call does.
func isCallers(ctx context.Context, req *http.Request) bool {
	return ctx.Done() == req.Context().Done()
}

// send takes hold of the body that req is about to be sent with.
func send(req *http.Request) error {
	b, ok := req.Body.(*requestBody)
	if !ok {
		if req.Body != nil && req.Body != http.NoBody { // a middleware's
			req.Body = &requestBody{own: req.Body, gone: make(chan struct{})}
		}
		return nil
	}
	if b.src.original == http.NoBody {
		req.Body = http.NoBody // of a CONNECT, which net/http must see
	}
	return b.send()
}

// fault returns what reading the body of req, which was sent, failed with.
func fault(req *http.Request) error {
	if b, ok := req.Body.(*requestBody); ok {
		return b.fault()
	}
	return nil
}

// CloseIdleConnections closes the connections that no request is using.
func (t *Transport) CloseIdleConnections() {
	closeIdle(t.base)
	t.endpoints.closeIdle()
}
