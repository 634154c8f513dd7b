package httpcall_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// Each endpoint is an address, and its certificate has the name of the service
// only.
//
// H-47
func TestEndpointsShowTheCertificateOfTheService(t *testing.T) {
	a := newAuthority(t)
	for _, row := range []struct {
		proto string
		http2 bool
	}{{"HTTP/1.1", false}, {"HTTP/2.0", true}} {
		t.Run(row.proto, func(t *testing.T) {
			leak.Check(t)
			seen := map[string]int{}
			var addresses []string
			want := map[string]int{}
			for i := range 3 {
				srv := newReplica(t, func(_ http.ResponseWriter, r *http.Request) {
					seen[fmt.Sprint(i, r.Proto, r.Host, r.TLS.ServerName, r.URL)]++
				}, a.certifies(t, "api.example.com"))
				addresses = append(addresses, srv.address())
				want[fmt.Sprint(i, row.proto, "api.example.com", "api.example.com", "/orders/7?full")] = 2
			}
			rt := httpcall.NewTransport(balanced(addresses...), httpcall.Config{Base: a.trusted(t, row.http2)})
			defer rt.CloseIdleConnections()
			for range 6 {
				resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example.com/orders/7?full", ""))
				if got := answer(t, resp, err); got != "200 " {
					t.Fatalf("GET = %s, want 200", got)
				}
				if names := resp.TLS.PeerCertificates[0].DNSNames; len(names) != 1 || names[0] != "api.example.com" {
					t.Errorf("the response's certificate is for %v, want api.example.com", names)
				}
			}
			if !maps.Equal(seen, want) {
				t.Errorf("the endpoints saw %v, want %v", seen, want)
			}
		})
	}
}

// H-45, H-47
func TestEndpointWithAWrongCertificateIsPassedBy(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	for name, certifies := range map[string]func(*httptest.Server){
		"another name":      a.certifies(t, "old.example.com"),
		"another authority": stranger.certifies(t, "api.example.com"),
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", HTTP/2: ", http2), func(t *testing.T) {
				leak.Check(t)
				wrong := newReplica(t, func(http.ResponseWriter, *http.Request) { t.Error("the wrong endpoint was sent a request") }, certifies)
				well := newReplica(t, ok, a.certifies(t, "api.example.com"))
				b := loadbalance.New(loadbalance.RoundRobin(), wrong.address(), well.address())
				rt := httpcall.NewTransport(backstay.New(retry.New(retry.Config{}), b), httpcall.Config{Base: a.trusted(t, http2)})
				defer rt.CloseIdleConnections()
				for range 4 {
					resp, err := rt.RoundTrip(request(t, http.MethodPost, "https://api.example.com/", "work"))
					if got := answer(t, resp, err); got != "200 ok" {
						t.Errorf("POST with one endpoint that is wrong = %s, want 200 ok from the other", got)
					}
				}
				if got := failures(b, wrong.address()); got == 0 {
					t.Errorf("the wrong endpoint has %d failures, want those of the handshakes", got)
				}
				update(t, b, wrong)
				_, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example.com/", ""))
				_, otherName := errors.AsType[x509.HostnameError](err)
				_, otherAuthority := errors.AsType[x509.UnknownAuthorityError](err)
				if !otherName && !otherAuthority || !strings.Contains(err.Error(), wrong.address()) {
					t.Errorf("GET with no endpoint that is right = %v, want that the certificate is wrong and at which endpoint, %s", err, wrong.address())
				}
			})
		}
	}
}

// failures returns how many attempts have failed in a row at an endpoint.
func failures(b *loadbalance.Balancer, address string) int {
	for _, n := range b.Nodes() {
		if n.Address() == address {
			return n.Failures()
		}
	}
	return 0
}

// H-47
func TestEndpointMayBeAnIPv6Address(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback: %v", err)
	}
	a := newAuthority(t)
	on := func(s *httptest.Server) {
		s.Listener.Close()
		s.Listener = l
	}
	for _, http2 := range []bool{false, true} {
		srv := newReplica(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, " ", r.TLS.ServerName) }, a.certifies(t, "api.example.com"), on)
		rt := httpcall.NewTransport(balanced(srv.address()), httpcall.Config{Base: a.trusted(t, http2)})
		resp, err := rt.RoundTrip(request(t, http.MethodGet, "https://api.example.com/", ""))
		if got, want := answer(t, resp, err), "200 api.example.com api.example.com"; got != want || !strings.HasPrefix(srv.address(), "[::1]:") {
			t.Errorf("GET at %s = %s, want %s", srv.address(), got, want)
		}
		rt.CloseIdleConnections()
		srv.Close()
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
}
