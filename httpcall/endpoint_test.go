package httpcall_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/httpcall/testdata/otelhttp"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// secure starts a server with a certificate for name and for no address, and
// returns it with the pool that trusts it.
func secure(t *testing.T, name string, h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv, pool
}

func balanced(endpoints ...string) *backstay.Policy {
	return backstay.New(loadbalance.New(loadbalance.RoundRobin(), endpoints...))
}

// H-47
func TestEndpointKeepsHostAndNames(t *testing.T) {
	leak.Check(t)
	type seen struct{ proto, host, sni, url string }
	asked := make(chan seen, 1)
	srv, pool := secure(t, "orders.example", func(w http.ResponseWriter, r *http.Request) {
		asked <- seen{r.Proto, r.Host, r.TLS.ServerName, r.URL.String()}
	})
	automatic := &http.Transport{}
	automatic.Clone() // by which it turns HTTP/2 on, and gets a TLS config
	automatic.TLSClientConfig.RootCAs = pool
	for _, row := range []struct {
		name, proto string
		base        *http.Transport
	}{
		{"HTTP/1", "HTTP/1.1", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		{"HTTP/2", "HTTP/2.0", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}},
		{"HTTP/2 by itself", "HTTP/2.0", automatic},
		{"a proxy is passed by", "HTTP/1.1", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Proxy: func(*http.Request) (*url.URL, error) {
			return nil, errors.New("the proxy was asked for")
		}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			rt := httpcall.NewTransport(balanced(srv.Listener.Addr().String()), httpcall.Config{Base: row.base})
			defer rt.CloseIdleConnections()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://orders.example/orders/7?full", nil)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got, want := <-asked, (seen{row.proto, "orders.example", "orders.example", "/orders/7?full"}); got != want {
				t.Errorf("the endpoint saw %v, want %v", got, want)
			}
			if resp.Request != req || req.URL.Host != "orders.example" {
				t.Errorf("resp.Request is for %s, want the caller's own for orders.example", resp.Request.URL)
			}
		})
	}
	t.Run("a certificate for another name", func(t *testing.T) {
		rt := httpcall.NewTransport(balanced(srv.Listener.Addr().String()), httpcall.Config{Base: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}})
		_, err := (&http.Client{Transport: rt}).Get("https://other.example/")
		if wrong, ok := errors.AsType[x509.HostnameError](err); !ok || wrong.Host != "other.example" {
			t.Errorf("Get(other.example) = %v, want the certificate refused for that name", err)
		}
	})
}

// H-47
func TestEndpointIsDialled(t *testing.T) {
	for _, row := range []struct{ endpoint, url, want string }{
		{"10.0.0.1:8080", "http://orders.example/", "10.0.0.1:8080"},
		{"10.0.0.1", "http://orders.example/", "10.0.0.1:80"},
		{"10.0.0.1", "https://orders.example/", "10.0.0.1:443"},
		{"10.0.0.1", "http://orders.example:99/", "10.0.0.1:99"},
		{"10.0.0.1:1", "http://orders.example:99/", "10.0.0.1:1"},
		{"replica-3", "http://orders.example/", "replica-3:80"},
		{"replica-3:7", "http://[::1]/", "replica-3:7"},
		{"fd00::1", "http://orders.example/", "[fd00::1]:80"},
		{"[fd00::1]", "http://orders.example/", "[fd00::1]:80"},
		{"[fd00::1]:7", "http://orders.example/", "[fd00::1]:7"},
	} {
		errDial := errors.New("far enough")
		got := make(chan string, 1)
		dial := func(_ context.Context, _, address string) (net.Conn, error) { got <- address; return nil, errDial }
		old := func(_, address string) (net.Conn, error) { got <- address; return nil, errDial }
		bases := map[string]*http.Transport{"DialContext": {DialContext: dial}, "Dial": {Dial: old}}
		if strings.HasPrefix(row.url, "https") {
			bases["DialTLSContext"] = &http.Transport{DialTLSContext: dial}
			//lint:ignore SA1019 people still set it
			bases["DialTLS"] = &http.Transport{DialTLS: old}
		}
		for name, base := range bases {
			rt := httpcall.NewTransport(balanced(row.endpoint), httpcall.Config{Base: base})
			_, err := (&http.Client{Transport: rt}).Get(row.url)
			if address := <-got; address != row.want || !errors.Is(err, errDial) {
				t.Errorf("%s: %s at %s dialled %s (%v), want %s", name, row.url, row.endpoint, address, err, row.want)
			}
		}
	}
}

// H-45
func TestEachAttemptHasAnEndpointOfItsOwn(t *testing.T) {
	for _, row := range []struct {
		attempts int
		took     time.Duration
	}{{2, 0}, {3, 0}, {4, time.Second}, {5, 2 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			var at []string
			m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				at = append(at, servedAt(r))
				w.WriteHeader(503)
			}), "a:80", "b:80", "c:80")
			rt := m.transport(t, httpcall.Config{},
				retry.New(retry.Config{MaxAttempts: row.attempts, Backoff: retry.Constant(time.Second)}),
				loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80", "c:80"))
			start := time.Now()
			status, _, err := fetch(t.Context(), rt)
			if took := time.Since(start); status != 503 || err != nil || took != row.took {
				t.Errorf("%d attempts at 3 endpoints = %d, %v after %v, want a 503 after %v: pauses only before an endpoint that was tried", row.attempts, status, err, took, row.took)
			}
			first := min(row.attempts, 3)
			if len(at) != row.attempts || len(slices.Compact(slices.Sorted(slices.Values(at[:first])))) != first {
				t.Errorf("attempts went to %v, want %d, the first %d to different endpoints", at, row.attempts, first)
			}
		})
	}
}

// A refused connection and a hanging endpoint are passed by at once, a POST's
// too where nothing was sent.
//
// H-45
func TestEndpointThatRefusesIsPassedBy(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, http.HandlerFunc(ok), "up:80")
			rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{}), loadbalance.New(loadbalance.RoundRobin(), "down:80", "up:80"))
			for range 4 {
				start := time.Now()
				req, _ := http.NewRequestWithContext(t.Context(), method, "http://orders.example", strings.NewReader("work"))
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 || time.Since(start) != 0 {
					t.Fatalf("%s with one of two endpoints refusing = %v, %v after %v, want 200 at once", method, resp, err, time.Since(start))
				}
				resp.Body.Close()
			}
		})
	}
}

// H-46
func TestEndpointIsInFlightToTheEndOfTheBody(t *testing.T) {
	for name, end := range map[string]func(*http.Response){
		"end of the body": func(r *http.Response) { io.Copy(io.Discard, r.Body) },
		"close":           func(r *http.Response) { r.Body.Close() },
		"close twice":     func(r *http.Response) { r.Body.Close(); r.Body.Close() },
		"end and close":   func(r *http.Response) { io.Copy(io.Discard, r.Body); r.Body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, failThen(1, 503, drip(time.Second)), "a:80", "b:80")
				b := loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80")
				rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{}), b, timeout.Attempt(time.Minute))
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://orders.example", nil)
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				}
				if n := inFlight(b); n != 1 {
					t.Errorf("before the %s, after one discarded 503, %d in flight, want 1", name, n)
				}
				end(resp)
				if n := inFlight(b); n != 0 {
					t.Errorf("after the %s %d in flight, want 0", name, n)
				}
				resp.Body.Close()
			})
		})
	}
}

// H-46
func TestEndpointIsNotInFlightAfterAFailure(t *testing.T) {
	errDown := errors.New("down")
	for name, answer := range map[string]roundTripper{
		"error":   func(*http.Request) (*http.Response, error) { return nil, errDown },
		"panic":   func(*http.Request) (*http.Response, error) { panic(errDown) },
		"no body": func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 204}, nil },
		"no content": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
		},
		"nothing": func(*http.Request) (*http.Response, error) { return nil, nil },
	} {
		b := loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80")
		during := 0
		rt := httpcall.NewTransport(backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), b), httpcall.Config{
			PerEndpoint: func(string) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					during = inFlight(b)
					return answer(r)
				})
			},
		})
		func() {
			defer func() { _ = recover() }()
			fetch(t.Context(), rt)
		}()
		if during != 1 || inFlight(b) != 0 {
			t.Errorf("%s: %d in flight during the attempt and %d after the call, want 1 and 0", name, during, inFlight(b))
		}
	}
}

func inFlight(b *loadbalance.Balancer) (n int) {
	for _, e := range b.Nodes() {
		n += e.InFlight()
	}
	return n
}

// H-6
func TestCloseIdleConnectionsReachesEveryEndpoint(t *testing.T) {
	leak.Check(t)
	closed := make(chan string, 10)
	var endpoints []string
	for range 3 {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(ok))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed {
				closed <- srv.Listener.Addr().String()
			}
		}
		srv.Start()
		defer srv.Close()
		endpoints = append(endpoints, srv.Listener.Addr().String())
	}
	rt := httpcall.NewTransport(balanced(endpoints...), httpcall.Config{Base: &http.Transport{}})
	for range endpoints {
		if _, _, err := fetch(t.Context(), rt); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case a := <-closed:
		t.Errorf("the connection to %s was closed, want it idle", a)
	default:
	}
	(&http.Client{Transport: rt}).CloseIdleConnections()
	got := map[string]bool{}
	for range endpoints {
		select {
		case a := <-closed:
			got[a] = true
		case <-time.After(5 * time.Second):
		}
	}
	if len(got) != len(endpoints) {
		t.Errorf("CloseIdleConnections closed connections to %v, want to each of %v", slices.Collect(maps.Keys(got)), endpoints)
	}
}

func TestPerEndpointIsAskedOnceForEach(t *testing.T) {
	var mu sync.Mutex
	asked, served := map[string]int{}, map[string]int{}
	rt := httpcall.NewTransport(balanced("a", "b", "c"), httpcall.Config{PerEndpoint: func(endpoint string) http.RoundTripper {
		mu.Lock()
		defer mu.Unlock()
		asked[endpoint]++
		return roundTripper(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			served[endpoint]++
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
	}})
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if _, _, err := fetch(t.Context(), rt); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if want := map[string]int{"a": 1, "b": 1, "c": 1}; !maps.Equal(asked, want) {
		t.Errorf("PerEndpoint was asked %v times, want %v", asked, want)
	}
	if want := map[string]int{"a": 10, "b": 10, "c": 10}; !maps.Equal(served, want) {
		t.Errorf("the endpoints' transports served %v, want %v", served, want)
	}
}

func TestEndpointThatCannotBeConnectedToIsRefused(t *testing.T) {
	base := roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("the base was used, want no request sent past the balancer's pick")
		return nil, errors.New("unreachable")
	})
	func() {
		defer func() {
			want := "httpcall: the policy has a balancer, but a httpcall_test.roundTripper cannot be told where to connect to; give an *http.Transport as Base, or PerEndpoint"
			if got := recover(); got != want {
				t.Errorf("NewTransport(balancer, other base) panicked with %v, want %s", got, want)
			}
		}()
		httpcall.NewTransport(balanced("a:80"), httpcall.Config{Base: base})
	}()

	// One that does not say that it picks is found out later.
	silent := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			call.Try("a:80", nil)
			return next(ctx, call)
		}
	})
	for _, row := range []struct {
		cfg  httpcall.Config
		want string
	}{
		{httpcall.Config{Base: base}, "httpcall: cannot connect to the endpoint a:80: the Base is no *http.Transport; set Config.PerEndpoint"},
		{httpcall.Config{Base: base, PerEndpoint: func(string) http.RoundTripper { return nil }}, "httpcall: cannot connect to the endpoint a:80: PerEndpoint returned nil for it"},
	} {
		_, _, err := fetch(t.Context(), httpcall.NewTransport(backstay.New(silent), row.cfg))
		if err == nil || err.Error() != row.want || backstay.Classify(err) != backstay.Permanent || !backstay.NotSent(err) {
			t.Errorf("RoundTrip = %v (%v, not sent: %v), want %s (permanent, not sent)", err, backstay.Classify(err), backstay.NotSent(err), row.want)
		}
	}
}

func TestBaseThatMakesSpansIsRecognised(t *testing.T) {
	answer := roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	for _, row := range []struct {
		base http.RoundTripper
		want bool
	}{
		{&otelhttp.Transport{RoundTripper: answer}, true},
		{answer, false},
	} {
		var traced bool
		see := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				traced = call.Traced
				return next(ctx, call)
			}
		})
		if _, _, err := fetch(t.Context(), httpcall.NewTransport(backstay.New(see), httpcall.Config{Base: row.base})); err != nil {
			t.Fatal(err)
		}
		if traced != row.want {
			t.Errorf("Call.Traced over %s = %v, want %v", fmt.Sprintf("%T", row.base), traced, row.want)
		}
	}
}
