package httpcall

import (
	"context"
	"net/http/httptrace"
	"sync/atomic"
)

// A progress is how far an attempt has come, as far as the base transport
// tells. It composes with a trace of the caller's.
type progress struct {
	trace     httptrace.ClientTrace
	began     atomic.Bool // the base tells
	connected atomic.Bool
}

func (p *progress) watch(ctx context.Context) context.Context {
	p.trace.GetConn = func(string) { p.began.Store(true) }
	p.trace.GotConn = func(httptrace.GotConnInfo) { p.connected.Store(true) }
	return httptrace.WithClientTrace(ctx, &p.trace)
}

// notSent reports whether there certainly was no connection to send the request
// on. WroteHeaders would not do: over HTTP/2 it comes after the write, which
// may have reached the server and not have returned yet.
func (p *progress) notSent() bool { return p.began.Load() && !p.connected.Load() }
