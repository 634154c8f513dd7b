package httpcall_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
)

// A memory is a network inside the process, for tests in which time is virtual:
// unlike sockets, its connections are known to testing/synctest.
type memory struct {
	accept map[string]chan net.Conn
	dialed chan string // the addresses, if it has room
}

// newMemory serves h at each address until the test ends.
func newMemory(t *testing.T, h http.Handler, addresses ...string) *memory {
	m := &memory{accept: map[string]chan net.Conn{}, dialed: make(chan string, 100)}
	for _, a := range addresses {
		l := &listener{address: a, conns: m.listen(a), closed: make(chan struct{})}
		s := &http.Server{Handler: h}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
	}
	return m
}

// listen returns the connections that are made to an address.
func (m *memory) listen(address string) chan net.Conn {
	m.accept[address] = make(chan net.Conn)
	return m.accept[address]
}

func (m *memory) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	select {
	case m.dialed <- address:
	default:
	}
	conns, ok := m.accept[address]
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: io.ErrClosedPipe}
	}
	ours, theirs := net.Pipe()
	select {
	case conns <- theirs:
		return &named{ours, address}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// transport returns a Transport over the network. Its connections are closed
// when the test ends.
func (m *memory) transport(t *testing.T, cfg httpcall.Config, stack ...backstay.Middleware) *httpcall.Transport {
	cfg.Base = &http.Transport{DialContext: m.DialContext}
	rt := httpcall.NewTransport(backstay.New(stack...), cfg)
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

type listener struct {
	address string
	conns   chan net.Conn
	closed  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return &named{c, l.address}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	close(l.closed)
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.address) }

// A named connection knows at which address it was accepted.
type named struct {
	net.Conn
	at string
}

func (c *named) LocalAddr() net.Addr { return address(c.at) }

type address string

func (a address) Network() string { return "memory" }
func (a address) String() string  { return string(a) }

// servedAt returns the address that the request came in at.
func servedAt(r *http.Request) string {
	return r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()
}

// pause waits for d in virtual time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// fetch sends a GET to http://orders.example and reads the response.
func fetch(ctx context.Context, rt http.RoundTripper) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders.example/", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// quiet is a server's log of errors that a test provokes.
var quiet = log.New(io.Discard, "", 0)
