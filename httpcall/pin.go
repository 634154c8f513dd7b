package httpcall

import (
	"context"
	"net"
	"net/http"
	"strings"
)

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
