package httpcall

import (
	"context"
	"errors"
	"net/http"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/httpreq"
)

type idempotentKey struct{}

// Idempotent returns a context whose requests may be sent twice whatever their
// method, because doing them twice does the work once.
func Idempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

// prepare tells the policy what kind of request it is.
func (t *Transport) prepare(call *backstay.Call, req *http.Request) {
	call.Op = httpreq.Method(req)
	if route := t.route(req); route != "" {
		call.Op += " " + route
	}
	if req.URL != nil {
		call.Target = req.URL.Host
	}
	call.Unsafe = !harmless(req)
	call.Traced = t.traced
	call.IdempotencyKey = httpreq.Key(req)
}

// route returns the template of the request's path, if it is known.
func (t *Transport) route(req *http.Request) string {
	if t.cfg.Route != nil {
		return t.cfg.Route(req)
	}
	return req.Pattern
}

// harmless reports whether it is harmless to send req twice.
func harmless(req *http.Request) bool {
	if httpreq.Harmless(req) {
		return true
	}
	marked, _ := req.Context().Value(idempotentKey{}).(bool)
	return marked && req.Method != http.MethodConnect
}

var errConnect = errors.New("httpcall: a CONNECT is not sent again")

// copyRequest returns a copy of req for one attempt: with a URL, header and body
// of its own, which middleware may change.
func (t *Transport) copyRequest(req *http.Request) (*http.Request, error) {
	c := httpreq.Copy(req)
	if route := t.route(req); route != "" {
		c.Pattern = route
	}
	b, ok := req.Body.(*requestBody)
	if !ok {
		return c, nil
	}
	next, err := b.src.next(req.Context())
	if err != nil {
		return nil, err
	}
	c.Body = next
	return c, nil
}
