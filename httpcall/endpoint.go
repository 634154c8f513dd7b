package httpcall

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
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
	m    sync.Map                                // string to leaf
}

// A leaf returns the transport of one endpoint, which it makes once.
type leaf = func() (http.RoundTripper, error)

func (e *endpoints) at(endpoint string) (http.RoundTripper, error) {
	v, ok := e.m.Load(endpoint)
	if !ok {
		v, _ = e.m.LoadOrStore(endpoint, sync.OnceValues(func() (http.RoundTripper, error) { return e.connect(endpoint) }))
	}
	return v.(leaf)()
}

func (e *endpoints) connect(endpoint string) (http.RoundTripper, error) {
	switch {
	case e.make != nil:
		if rt := e.make(endpoint); rt != nil {
			return rt, nil
		}
		return nil, unreachable(endpoint, "PerEndpoint returned nil for it")
	case e.base != nil:
		return pinned(e.base, endpoint), nil
	}
	return nil, unreachable(endpoint, "the Base is no *http.Transport; set Config.PerEndpoint")
}

func unreachable(endpoint, why string) error {
	return &backstay.Error{Class: backstay.Permanent, NotSent: true, Err: fmt.Errorf("httpcall: cannot connect to the endpoint %s: %s", endpoint, why)}
}

// pinned returns a copy of base that connects to the endpoint only. A proxy
// would choose where to connect to, so there is none.
func pinned(base *http.Transport, endpoint string) *http.Transport {
	t := base.Clone()
	t.Proxy = nil
	//lint:ignore SA1019 people still set Dial
	dial := dialerOf(base.DialContext, base.Dial)
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	t.DialContext = pin(dial, endpoint)
	//lint:ignore SA1019 and DialTLS
	if dial := dialerOf(base.DialTLSContext, base.DialTLS); dial != nil {
		t.DialTLSContext = pin(dial, endpoint)
	}
	if base.TLSNextProto["h2"] != nil {
		// The dial function above would turn HTTP/2 off, though the copied TLS
		// config still offers it. And where it was set up by x/net/http2, the
		// copied map leads to connections that all the copies share.
		t.TLSNextProto, t.ForceAttemptHTTP2 = nil, true
	}
	return t
}

type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// dialerOf returns what net/http uses of two functions that a transport has for
// the same purpose.
func dialerOf(dial dialer, old func(network, address string) (net.Conn, error)) dialer {
	if dial != nil || old == nil {
		return dial
	}
	return func(_ context.Context, network, address string) (net.Conn, error) { return old(network, address) }
}

// pin returns dial with the address replaced. An endpoint without a port has
// that of the URL.
func pin(dial dialer, endpoint string) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to := endpoint
		if _, _, err := net.SplitHostPort(endpoint); err != nil {
			_, port, _ := net.SplitHostPort(address)
			to = net.JoinHostPort(strings.Trim(endpoint, "[]"), port)
		}
		return dial(ctx, network, to)
	}
}

func (e *endpoints) closeIdle() {
	e.m.Range(func(_, v any) bool {
		if rt, err := v.(leaf)(); err == nil {
			closeIdle(rt)
		}
		return true
	})
}

func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
