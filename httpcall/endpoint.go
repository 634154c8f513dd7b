package httpcall

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/backstay-go/backstay"
)

// endpoints holds a transport for each endpoint that a balancer picks. It
// connects to the endpoint whatever the URL says, and the URL stays as it is:
// so the Host header, the name in the TLS handshake and the name that the
// certificate is checked against are the service's, not the endpoint's.
type endpoints struct {
	base *http.Transport
	make func(endpoint string) http.RoundTripper // Config.PerEndpoint
	m    sync.Map                                // string to http.RoundTripper
}

func (e *endpoints) at(endpoint string) (http.RoundTripper, error) {
	if rt, ok := e.m.Load(endpoint); ok {
		return rt.(http.RoundTripper), nil
	}
	var fresh http.RoundTripper
	switch {
	case e.make != nil:
		fresh = e.make(endpoint)
	case e.base != nil:
		fresh = pinned(e.base, endpoint)
	default:
		return nil, &backstay.Error{Class: backstay.Permanent, NotSent: true, Err: fmt.Errorf("httpcall: cannot connect to the endpoint %s: the Base is no *http.Transport; set Config.PerEndpoint", endpoint)}
	}
	rt, _ := e.m.LoadOrStore(endpoint, fresh)
	return rt.(http.RoundTripper), nil
}

// pinned returns a copy of base that connects to the endpoint only. A proxy
// would choose where to connect to, so there is none.
func pinned(base *http.Transport, endpoint string) *http.Transport {
	leaf := base.Clone()
	leaf.Proxy = nil
	dial := base.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	leaf.DialContext = pin(dial, endpoint)
	if base.DialTLSContext != nil {
		leaf.DialTLSContext = pin(base.DialTLSContext, endpoint)
	}
	return leaf
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// pin returns dial with the address replaced. An endpoint without a port has
// that of the URL.
func pin(dial dialer, endpoint string) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to := endpoint
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			_, port, _ := net.SplitHostPort(address)
			to = net.JoinHostPort(endpoint, port)
		}
		return dial(ctx, network, to)
	}
}

func (e *endpoints) closeIdle() {
	e.m.Range(func(_, rt any) bool {
		closeIdle(rt.(http.RoundTripper))
		return true
	})
}

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
