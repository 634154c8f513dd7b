package httpcall

import (
	"context"
	"errors"
	"net/http"

	"github.com/backstay-go/backstay"
)

type idempotentKey struct{}

// Idempotent returns a context whose requests may be sent twice whatever their
// method, because doing them twice does the work once.
func Idempotent(ctx context.Context) context.Context {
	return context.WithValue(ctx, idempotentKey{}, true)
}

// prepare tells the policy what kind of request it is.
func (t *Transport) prepare(call *backstay.Call, req *http.Request) {
	call.Op = method(req)
	if route := t.route(req); route != "" {
		call.Op += " " + route
	}
	if req.URL != nil {
		call.Target = req.URL.Host
	}
	call.Unsafe = !harmless(req)
	call.Traced = t.traced
	call.IdempotencyKey = key(req)
}

// route returns the template of the request's path, if it is known.
func (t *Transport) route(req *http.Request) string {
	if t.cfg.Route != nil {
		return t.cfg.Route(req)
	}
	return req.Pattern
}

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}

// harmless reports whether it is harmless to send req twice: RFC 9110, section
// 9.2.2, and QUERY of RFC 9975.
func harmless(req *http.Request) bool {
	switch method(req) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY":
		return true
	}
	marked, _ := req.Context().Value(idempotentKey{}).(bool)
	return marked && req.Method != http.MethodConnect
}

// key returns the idempotency key that the caller has put into the header, or
// that a middleware has put into this copy of it.
func key(req *http.Request) string {
	if req == nil {
		return ""
	}
	if k := req.Header.Get("Idempotency-Key"); k != "" {
		return k
	}
	return req.Header.Get("X-Idempotency-Key")
}

func hasKey(req *http.Request) bool { return key(req) != "" }

var errConnect = errors.New("httpcall: a CONNECT is not sent again")

// copyRequest returns a copy of req for one attempt: with a URL, header and body
// of its own, which middleware may change. The Trailer is the caller's, who
// fills it in while the body is read.
func (t *Transport) copyRequest(req *http.Request) (*http.Request, error) {
	c := req.WithContext(req.Context())
	c.Header = req.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	if req.URL != nil {
		u := *req.URL
		c.URL = &u
	}
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
