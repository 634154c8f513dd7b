package httpcall_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// A replica is a server that counts its connections.
type replica struct {
	*httptest.Server

	mu     sync.Mutex
	open   map[net.Conn]bool
	opened int
	change chan struct{} // closed at the next
}

// newReplica serves h at a port of 127.0.0.1. ready may change the server.
func newReplica(t testing.TB, h http.HandlerFunc, ready ...func(*httptest.Server)) *replica {
	t.Helper()
	r := &replica{Server: httptest.NewUnstartedServer(h), open: map[net.Conn]bool{}, change: make(chan struct{})}
	r.Config.ConnState = r.count
	r.Config.ErrorLog = quiet
	for _, f := range ready {
		f(r.Server)
	}
	if r.TLS != nil {
		r.StartTLS()
	} else {
		r.Start()
	}
	t.Cleanup(r.Close)
	return r
}

func (r *replica) count(c net.Conn, s http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s {
	case http.StateNew:
		r.open[c] = true
		r.opened++
	case http.StateClosed, http.StateHijacked:
		delete(r.open, c)
	default:
		return
	}
	close(r.change)
	r.change = make(chan struct{})
}

// conns returns the number of connections that are open and that there were.
func (r *replica) conns() (open, opened int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open), r.opened
}

// await waits until so many connections are open.
func (r *replica) await(t testing.TB, want int, when string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		open, change := len(r.open), r.change
		r.mu.Unlock()
		if open == want {
			return
		}
		select {
		case <-change:
		case <-timeout:
			t.Errorf("%d connections are open %s, want %d", open, when, want)
			return
		}
	}
}

func (r *replica) address() string { return r.Listener.Addr().String() }

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(t, template, template, &a.key.PublicKey)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// certifies has a server show a certificate for the name and for no address.
func (a *authority) certifies(t testing.TB, name string) func(*httptest.Server) {
	key := newKey(t)
	cert := a.sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}, a.cert, &key.PublicKey)
	return func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	}
}

// trusted returns a transport that trusts the authority and no other.
func (a *authority) trusted(t testing.TB, http2 bool) *http.Transport {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	b := base(t)
	b.TLSClientConfig, b.ForceAttemptHTTP2 = &tls.Config{RootCAs: pool}, http2
	return b
}

// A network is a way to call replicas.
type network struct {
	name, url string
	replica   func(testing.TB, http.HandlerFunc) *replica
	base      func(testing.TB) *http.Transport
}

// networks returns those that there are: over HTTP/1, and over HTTP/2 with TLS.
func networks(t testing.TB) []network {
	a := newAuthority(t)
	secured := func(t testing.TB, h http.HandlerFunc) *replica {
		return newReplica(t, h, a.certifies(t, "api.example.com"))
	}
	return []network{
		{"HTTP/1", "http://api.example.com/", func(t testing.TB, h http.HandlerFunc) *replica { return newReplica(t, h) }, func(t testing.TB) *http.Transport { return base(t) }},
		{"HTTP/2", "https://api.example.com/", secured, func(t testing.TB) *http.Transport { return a.trusted(t, true) }},
	}
}

// halves answers with half a body, and with the rest once there is something to
// receive from more. A HEAD is answered at once.
func halves(more <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		select {
		case <-more:
			fmt.Fprint(w, " and half")
		case <-r.Context().Done():
		}
	}
}
