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
	wroteHead atomic.Bool
}

func (p *progress) watch(ctx context.Context) context.Context {
	p.trace.GetConn = func(string) { p.began.Store(true) }
	p.trace.GotConn = func(httptrace.GotConnInfo) { p.connected.Store(true) }
	p.trace.WroteHeaders = func() { p.wroteHead.Store(true) }
	return httptrace.WithClientTrace(ctx, &p.trace)
}

// notSent reports whether the server certainly has not got a whole request: not
// even the header was written, on any of the connections that were tried.
func (p *progress) notSent() bool { return p.began.Load() && !p.wroteHead.Load() }
