package httpcall

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A leaf is the transport of one endpoint, which is made once. When the endpoint
// is gone and nobody uses the leaf any more, no connection is left.
//
// That a balancer has counted its calls out does not mean that nobody uses it:
// an endpoint may come back, and get a call, between the last one and the
// telling of it.
type leaf struct {
	transport func() (http.RoundTripper, error)
	done      func(error) // ends a use; made once, so that a call allocates nothing
	users     atomic.Int64
	gone      atomic.Bool
}

func newLeaf(connect func() (http.RoundTripper, error)) *leaf {
	l := &leaf{transport: sync.OnceValues(connect)}
	l.done = func(error) {
		if l.users.Add(-1) == 0 && l.gone.Load() {
			l.close()
		}
	}
	return l
}

// use reports whether the leaf may be used, which then lasts until done is
// called.
func (l *leaf) use() bool {
	l.users.Add(1)
	if l.gone.Load() {
		l.done(nil)
		return false
	}
	return true
}

// retire closes the connections as soon as they are idle. Either retire finds
// no user, or the last user finds the leaf gone.
func (l *leaf) retire() {
	l.gone.Store(true)
	if l.users.Load() == 0 {
		l.close()
	} else {
		l.closeIdle()
	}
}

// close closes the connections of a leaf that nobody uses, and looks again a
// little later: an HTTP/2 connection is idle only when net/http has put the
// stream away, which it does after the reader has seen the end of the body.
func (l *leaf) close() {
	l.closeIdle()
	for _, d := range [...]time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		time.AfterFunc(d, l.closeIdle)
	}
}

func (l *leaf) closeIdle() {
	if rt, err := l.transport(); err == nil {
		closeIdle(rt)
	}
}

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
