package idempotency

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/backstay-go/backstay"
)

// contextKey is under which a context has a given or a *generated.
type contextKey struct{}

// given is a key of the caller's own.
type given string

// generated are keys that were made for one context.
type generated struct {
	byOrigin sync.Map // string to string
}

// WithKey returns a context whose calls get this key, wherever they go. It is
// for a key that the caller keeps, as in a database, to try again with after a
// restart.
//
// The context is for one request: a key must never be sent with two different
// ones. A key that came with a request from elsewhere is not passed on as it
// is: see Child. Calls with an empty key fail.
func WithKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, contextKey{}, given(key))
}

// NewContext returns a context whose calls share a key that Keys makes for
// them, so that it survives redirects and retries by the application itself.
//
// The key is known to one origin only, by scheme, host and port: a redirect to
// another gets a key of its own, shared in turn by the calls that go there. For
// calls that are not HTTP, Target takes the place of the origin.
//
// The context is for one request, however often it is sent: a second, different
// one under it would get the same key. It is safe for concurrent use, and takes
// the place of a key that ctx had.
func NewContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, new(generated))
}

// key returns the key for origin, and makes it if there is none.
func (g *generated) key(origin string, fresh func() string) string {
	k, ok := g.byOrigin.Load(origin)
	if !ok {
		k, _ = g.byOrigin.LoadOrStore(origin, fresh())
	}
	return k.(string)
}

// originOf returns the origin that the call goes to: RFC 6454, section 4.
func originOf(call *backstay.Call, req *http.Request) string {
	if req == nil || req.URL == nil {
		return call.Target
	}
	scheme, port := strings.ToLower(req.URL.Scheme), req.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(strings.ToLower(req.URL.Hostname()), port)
}
