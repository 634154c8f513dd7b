package backstay

import (
	"context"
	"net/http"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// A requestFunc is what Wrap is given and returns where Req is *http.Request.
type requestFunc[Resp any] = func(context.Context, *http.Request) (Resp, error)

// onRequests returns f with around around it if it takes an *http.Request, and
// f itself if not.
func onRequests[Req, Resp any](f func(context.Context, Req) (Resp, error), around func(requestFunc[Resp]) requestFunc[Resp]) func(context.Context, Req) (Resp, error) {
	if r, ok := any(&f).(*requestFunc[Resp]); ok {
		*r = around(*r)
	}
	return f
}

// sharingBody makes calls with requests whose copies share the caller's body.
func sharingBody[Resp any](call requestFunc[Resp]) requestFunc[Resp] {
	return func(ctx context.Context, r *http.Request) (Resp, error) {
		src := newBodySource(r)
		if src == nil {
			return call(ctx, r)
		}
		defer src.finish()
		r = r.WithContext(r.Context())
		r.Body = src.attempt()
		return call(ctx, r)
	}
}

// inContext has fn's requests carry the context of the attempt, so that a
// function that only passes its request on still keeps to the timeouts.
func inContext[Resp any](fn requestFunc[Resp]) requestFunc[Resp] {
	return func(ctx context.Context, r *http.Request) (Resp, error) {
		if r != nil {
			r = r.WithContext(ctx)
		}
		return fn(ctx, r)
	}
}

// prepareRequest says of a request that goes to a function of the user's what
// package httpcall says of one of its own: what it must not be sent twice.
func prepareRequest(call *Call, r *http.Request) {
	if r == nil {
		return
	}
	call.IdempotencyKey = httpreq.Key(r)
	call.Unsafe = !httpreq.Harmless(r)
}

// copyRequest returns a copy of r for one attempt, with a header of its own and
// the body from its beginning.
func copyRequest(r *http.Request) (*http.Request, error) {
	if r == nil {
		return nil, nil
	}
	c := httpreq.Copy(r)
	b, ok := r.Body.(*attemptBody)
	if !ok {
		return c, nil
	}
	if b.src.spent() {
		return nil, errBodySpent
	}
	c.Body = b.src.attempt()
	return c, nil
}
