package httpcall_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/timeout"
)

// Which requests a condition has sent again.
type retried int

const (
	never      retried = iota
	repeatable         // idempotent or keyed
	anyMethod          // but CONNECT
)

// A kind of request, and what may be done with it.
type kind struct {
	method     string
	key        string // a header
	marked     bool   // with Idempotent
	repeatable bool
}

var kinds = []kind{
	{"GET", "", false, true},
	{"HEAD", "", false, true},
	{"OPTIONS", "", false, true},
	{"TRACE", "", false, true},
	{"PUT", "", false, true},
	{"DELETE", "", false, true},
	{"QUERY", "", false, true},
	{"POST", "", false, false},
	{"PATCH", "", false, false},
	{"FROBNICATE", "", false, false},
	{"POST", "Idempotency-Key", false, true},
	{"PATCH", "X-Idempotency-Key", false, true},
	{"POST", "", true, true},
	{"PATCH", "", true, true},
	{"CONNECT", "", false, false},
	{"CONNECT", "", true, false},
	{"CONNECT", "Idempotency-Key", false, false},
}

func (k kind) String() string {
	s := strings.TrimSpace(k.method + " " + k.key)
	if k.marked {
		s += " marked"
	}
	return s
}

func (k kind) request(t *testing.T, url, body string) *http.Request {
	req := request(t, k.method, url, body)
	if k.marked {
		req = req.WithContext(httpcall.Idempotent(req.Context()))
	}
	if k.key != "" {
		req.Header.Set(k.key, "k1")
	}
	return req
}

// sends returns how many attempts of 3 the kind of request has.
func (k kind) sends(r retried) int {
	if r == anyMethod && k.method != "CONNECT" || r == repeatable && k.repeatable && k.method != "CONNECT" {
		return 3
	}
	return 1
}

// A spy counts the attempts and keeps the last one's error.
type spy struct {
	mu   sync.Mutex
	sent int
	err  error
}

func (s *spy) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		err := next(ctx, call)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sent++
		s.err = err
		return err
	}
}

// H-8, H-11, H-14
func TestStatusesThatAreRetried(t *testing.T) {
	for _, row := range []struct {
		status  int
		headers []string
		config  httpcall.Config
		retried retried
		class   backstay.Class
	}{
		{status: 200, class: backstay.Success},
		{status: 204, class: backstay.Success},
		{status: 301, class: backstay.Success},
		{status: 304, class: backstay.Success},
		{status: 400, class: backstay.Success},
		{status: 404, class: backstay.Success},
		{status: 409, class: backstay.Success},
		{status: 413, headers: []string{"Retry-After: 1"}, class: backstay.Success},
		{status: 501, class: backstay.Success},
		{status: 505, class: backstay.Success},
		{status: 508, class: backstay.Broken},
		{status: 408, retried: repeatable, class: backstay.Throttled},
		{status: 421, retried: repeatable, class: backstay.Throttled},
		{status: 425, retried: repeatable, class: backstay.Throttled},
		{status: 429, retried: repeatable, class: backstay.Throttled},
		{status: 500, retried: repeatable, class: backstay.Transient},
		{status: 502, retried: repeatable, class: backstay.Transient},
		{status: 503, retried: repeatable, class: backstay.Transient},
		{status: 504, retried: repeatable, class: backstay.Transient},

		// H-11: all of it can be overridden.
		{status: 418, config: httpcall.Config{Classify: always(backstay.Transient)}, retried: repeatable, class: backstay.Transient},
		{status: 503, config: httpcall.Config{Classify: always(backstay.Success)}, class: backstay.Success},
		{status: 429, headers: []string{"Retry-After: 1"}, config: httpcall.Config{Classify: always(backstay.Success)}, class: backstay.Success},

		// H-12
		{status: 503, headers: []string{"Should-Retry: false"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, class: backstay.Broken},
		{status: 429, headers: []string{"Should-Retry: false"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, class: backstay.Permanent},
		{status: 404, headers: []string{"Should-Retry: false"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, class: backstay.Success},
		{status: 409, headers: []string{"Should-Retry: true"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, retried: repeatable, class: backstay.Throttled},
		{status: 501, headers: []string{"Should-Retry: TRUE"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, retried: repeatable, class: backstay.Throttled},
		{status: 503, headers: []string{"Should-Retry: true"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, retried: repeatable, class: backstay.Transient},
		{status: 200, headers: []string{"Should-Retry: true"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, class: backstay.Success},
		{status: 503, headers: []string{"Should-Retry: maybe"}, config: httpcall.Config{RetryHeader: "Should-Retry"}, retried: repeatable, class: backstay.Transient},
		{status: 503, headers: []string{"Should-Retry: false"}, retried: repeatable, class: backstay.Transient},
		{status: 429, headers: []string{"Ratelimited:"}, config: httpcall.Config{NoRetryHeader: "Ratelimited"}, class: backstay.Permanent},
		{status: 503, headers: []string{"Ratelimited: true"}, config: httpcall.Config{NoRetryHeader: "Ratelimited"}, class: backstay.Broken},
		{status: 503, headers: []string{"Ratelimited: 1", "Should-Retry: true"}, config: httpcall.Config{NoRetryHeader: "Ratelimited", RetryHeader: "Should-Retry"}, class: backstay.Broken},
		{status: 503, config: httpcall.Config{NoRetryHeader: "Ratelimited"}, retried: repeatable, class: backstay.Transient},
	} {
		for _, k := range kinds {
			s := serve(t, status(row.status, row.headers...))
			row.config.Base = base(t)
			var last spy
			rt := httpcall.NewTransport(backstay.New(attempts(3), &last), row.config)
			resp, err := rt.RoundTrip(k.request(t, s.url(), ""))
			if err != nil || resp.StatusCode != row.status {
				t.Errorf("%v %d %v: RoundTrip() = %v, %v, want the response", k, row.status, row.headers, resp, err)
				continue
			}
			resp.Body.Close()
			if got, want := len(s.arrived()), k.sends(row.retried); got != want {
				t.Errorf("%v %d %v: %d requests arrived, want %d", k, row.status, row.headers, got, want)
			}
			if got := backstay.Classify(last.err); got != row.class {
				t.Errorf("%v %d %v: the class is %v, want %v", k, row.status, row.headers, got, row.class)
			}
			if backstay.NotSent(last.err) {
				t.Errorf("%v %d %v: NotSent, want sent: it was answered", k, row.status, row.headers)
			}
		}
	}
}

func always(c backstay.Class) func(*http.Response) backstay.Class {
	return func(*http.Response) backstay.Class { return c }
}

// H-8: what other middleware is told, such as a hedge.
func TestCallsSayWhetherTheyMayBeRepeated(t *testing.T) {
	for _, k := range kinds {
		var unsafe, keyed bool
		see := backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
			return func(_ context.Context, call *backstay.Call) error {
				unsafe, keyed = call.Unsafe, call.IdempotencyKey != ""
				return errors.New("seen")
			}
		})
		over(t, see).RoundTrip(k.request(t, "http://orders.example", ""))
		if keyed != (k.key != "") || unsafe == (k.repeatable && k.key == "") {
			t.Errorf("%v: the call is unsafe: %v, with a key: %v, want %v and %v", k, unsafe, keyed, !(k.repeatable && k.key == ""), k.key != "")
		}
	}
}

// H-11: a 409 to a request with our key means that the first is in progress.
func TestConflictIsRetriedOnlyWithAKeyAndTheOption(t *testing.T) {
	for _, k := range kinds {
		s := serve(t, status(409), status(200))
		rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: base(t), RetryConflict: true})
		resp, err := rt.RoundTrip(k.request(t, s.url(), ""))
		answer(t, resp, err)
		want := 1
		if k.key != "" && k.method != "CONNECT" {
			want = 2
		}
		if got := len(s.arrived()); got != want {
			t.Errorf("%v with RetryConflict: %d requests arrived at a 409, want %d", k, got, want)
		}
	}
}

// H-11, I-9: whatever header the key is in.
func TestConflictIsRetriedWithAKeyOfAnyFormat(t *testing.T) {
	for header, f := range map[string]idempotency.Format{"Idempotency-Key": idempotency.Standard, "PayPal-Request-Id": idempotency.PayPal} {
		s := serve(t, status(409), status(409), status(200))
		policy := backstay.New(idempotency.Keys(idempotency.KeysConfig{Format: f}), attempts(3))
		rt := httpcall.NewTransport(policy, httpcall.Config{Base: base(t), RetryConflict: true})
		resp, err := rt.RoundTrip(request(t, "POST", s.url(), "text"))
		answer(t, resp, err)
		keys := map[string]bool{}
		for _, a := range s.arrived() {
			keys[a.Header.Get(header)] = true
		}
		if got := len(s.arrived()); got != 3 || len(keys) != 1 || keys[""] {
			t.Errorf("%s: a POST answered 409 twice sent %d requests with the keys %v, want 3 with one key", header, got, keys)
		}
	}
}

// H-11: a 421 goes to another connection.
func TestMisdirectedRequestTakesAnotherConnection(t *testing.T) {
	s := serve(t, status(421), status(200))
	resp, err := over(t, attempts(3)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if got := answer(t, resp, err); got != "200 OK" || s.connections() != 2 {
		t.Errorf("a 421, then 200 = %s over %d connections, want 200 OK over 2", got, s.connections())
	}

	misdirect := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusMisdirectedRequest) }
	var last spy
	srv := httptest.NewUnstartedServer(http.HandlerFunc(misdirect))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	rt := httpcall.NewTransport(backstay.New(attempts(3), &last), httpcall.Config{Base: srv.Client().Transport})
	resp, err = rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
	if got := answer(t, resp, err); got != "421 " || last.sent != 1 {
		t.Errorf("a 421 over HTTP/2 = %s after %d attempts, want it after 1: there is one connection", got, last.sent)
	}

	other := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	other.EnableHTTP2 = true
	other.TLS = srv.TLS.Clone()
	other.StartTLS()
	defer other.Close()
	for range 4 { // whichever is first
		rt = httpcall.NewTransport(
			backstay.New(attempts(3), loadbalance.New(loadbalance.RoundRobin(), srv.Listener.Addr().String(), other.Listener.Addr().String())),
			httpcall.Config{Base: srv.Client().Transport})
		resp, err = rt.RoundTrip(request(t, http.MethodGet, srv.URL, ""))
		if got := answer(t, resp, err); got != "200 ok" {
			t.Errorf("a 421 over HTTP/2 with another endpoint = %s, want 200 ok", got)
		}
		rt.CloseIdleConnections()
	}
}

// A condition is a way in which a request can fail.
type condition struct {
	name    string
	steps   []step          // of a script
	h2      []func(*h2conn) // or of an HTTP/2 server
	rude    bool            // the script resets connections before it reads
	url     string          // in place of a server's
	base    func(*http.Transport)
	stack   []backstay.Middleware // under retry
	edit    func(*http.Request)
	body    string
	own     func(t *testing.T) (url string, base *http.Transport)
	retried retried
	class   backstay.Class
	notSent bool
	typ     string
}

// dialing has every connection fail with err.
func dialing(err error) func(*http.Transport) {
	return func(b *http.Transport) {
		b.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
	}
}

// secured starts an HTTPS server and a transport that trusts it.
func secured(server, client func(*tls.Config)) func(*testing.T) (string, *http.Transport) {
	return func(t *testing.T) (string, *http.Transport) {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(ok))
		srv.Config.ErrorLog = quiet
		srv.TLS = &tls.Config{}
		server(srv.TLS)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		b := srv.Client().Transport.(*http.Transport)
		client(b.TLSClientConfig)
		return srv.URL, b
	}
}

func as(*tls.Config) {}

var conditions = []condition{
	{name: "refused", url: "vacant", retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_refused"},
	{name: "dial timeout", steps: []step{status(200)}, retried: anyMethod, class: backstay.Transient, notSent: true, typ: "timeout", base: func(b *http.Transport) {
		b.DialContext = (&net.Dialer{Timeout: 1}).DialContext
	}},
	{name: "name not found", url: "http://orders.example", base: dialing(&net.DNSError{Err: "no such host", IsNotFound: true}), retried: never, class: backstay.Broken, notSent: true, typ: "dns_not_found"},
	{name: "DNS timeout", url: "http://orders.example", base: dialing(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), retried: anyMethod, class: backstay.Transient, notSent: true, typ: "timeout"},
	{name: "DNS failure", url: "http://orders.example", base: dialing(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), retried: anyMethod, class: backstay.Transient, notSent: true, typ: "_OTHER"},

	{name: "unknown authority", own: secured(as, func(c *tls.Config) { c.RootCAs = nil }), retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "wrong name", own: secured(as, func(c *tls.Config) { c.ServerName = "wrong.test" }), retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "alert in the handshake", own: secured(needsCertificate, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "alert after the handshake", own: secured(needsCertificate, as), retried: never, class: backstay.Broken, typ: "tls"},
	{name: "no common version", own: secured(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }), retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "no version at all", own: secured(as, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 }), retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "HTTP on a TLS port", own: plainHTTP, retried: never, class: backstay.Broken, notSent: true, typ: "tls"},
	{name: "handshake timeout", url: "https://silent", base: func(b *http.Transport) { b.TLSHandshakeTimeout = 10 * time.Millisecond }, retried: anyMethod, class: backstay.Transient, notSent: true, typ: "timeout"},
	{name: "EOF in the handshake", url: "https://script", steps: []step{hangUp}, retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_reset"},
	{name: "reset in the handshake", url: "https://script", rude: true, steps: []step{hangUp}, retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_reset"},

	{name: "reset", steps: []step{reset}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "reset of a request with a body", steps: []step{reset}, body: "body", retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "EOF", steps: []step{hangUp}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "reset in the headers", steps: []step{then(raw("HTTP/1.1 200 OK\r\nContent-Le"), reset)}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "EOF in the headers", steps: []step{then(raw("HTTP/1.1 200 OK\r\nContent-Le"), hangUp)}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "reset in the second header", steps: []step{then(raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Ty"), reset)}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "EOF between headers", steps: []step{then(raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n"), hangUp)}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "EOF after early hints", steps: []step{then(raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), hangUp)}, retried: repeatable, class: backstay.Transient, typ: "connection_reset"},
	{name: "ResponseHeaderTimeout", steps: []step{stall}, base: func(b *http.Transport) { b.ResponseHeaderTimeout = 250 * time.Millisecond }, retried: repeatable, class: backstay.Transient, typ: "timeout"},
	{name: "attempt timeout", steps: []step{stall}, stack: []backstay.Middleware{timeout.Attempt(250 * time.Millisecond)}, retried: repeatable, class: backstay.Transient, typ: "timeout"},
	{name: "attempt timeout in the handshake", url: "https://silent", stack: []backstay.Middleware{timeout.Attempt(250 * time.Millisecond)}, retried: anyMethod, class: backstay.Transient, notSent: true, typ: "timeout"},

	{name: "h2 REFUSED_STREAM", h2: []func(*h2conn){h2Reset(refusedStream)}, body: "body", retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_reset"},
	{name: "h2 GOAWAY, not processed", h2: []func(*h2conn){h2GoAway(false, noError)}, body: "body", retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_reset"},
	{name: "h2 GOAWAY with an error, not processed", h2: []func(*h2conn){h2GoAway(false, internalError)}, body: "body", retried: anyMethod, class: backstay.Transient, notSent: true, typ: "connection_reset"},
	{name: "h2 GOAWAY, maybe processed", h2: []func(*h2conn){h2GoAway(true, noError)}, body: "body", retried: repeatable, class: backstay.Transient},
	{name: "h2 INTERNAL_ERROR", h2: []func(*h2conn){h2Reset(internalError)}, body: "body", retried: repeatable, class: backstay.Transient},
	{name: "h2 EOF", h2: []func(*h2conn){func(c *h2conn) { c.Close() }}, body: "body", retried: repeatable, class: backstay.Transient, typ: "connection_reset"},

	{name: "malformed response", steps: []step{raw("HELO\r\n\r\n")}, retried: never, class: backstay.Broken},
	{name: "malformed header", steps: []step{raw("HTTP/1.1 200 OK\r\n: no name\r\n\r\n")}, retried: never, class: backstay.Broken},
	{name: "malformed status", steps: []step{raw("HTTP/1.1 2OO OK\r\n\r\n")}, retried: never, class: backstay.Broken},
	{name: "malformed length", steps: []step{raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")}, retried: never, class: backstay.Broken},
	{name: "unknown transfer encoding", steps: []step{raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: zip\r\n\r\n")}, retried: never, class: backstay.Broken},
	{name: "malformed header with a text of net/http", steps: []step{raw("HTTP/1.1 200 OK\r\n: no Host in request URL\r\n\r\n")}, body: "body", retried: never, class: backstay.Broken},
	{name: "malformed response with a text of HTTP/2", steps: []step{raw("REFUSED_STREAM\r\n\r\n")}, body: "body", retried: never, class: backstay.Broken},
	{name: "transfer encoding REFUSED_STREAM", steps: []step{raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: REFUSED_STREAM\r\n\r\n")}, body: "body", retried: never, class: backstay.Broken},
	{name: "transfer encoding GOAWAY", steps: []step{raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: Transport received GOAWAY\r\n\r\n")}, body: "body", retried: never, class: backstay.Broken},
	{name: "length invalid port", steps: []step{raw("HTTP/1.1 200 OK\r\nContent-Length: invalid port\r\n\r\n")}, body: "body", retried: never, class: backstay.Broken},
	{name: "h2 GOAWAY, maybe processed, that says otherwise", h2: []func(*h2conn){h2GoAwayWith("graceful shutdown GOAWAY; REFUSED_STREAM")}, body: "body", retried: repeatable, class: backstay.Transient},
	{name: "too many headers", steps: []step{status(200, "Long: "+strings.Repeat("x", 9000))}, base: func(b *http.Transport) { b.MaxResponseHeaderBytes = 100 }, retried: never, class: backstay.Broken},
	{name: "bad scheme", url: "gopher://orders.example", retried: never, class: backstay.Permanent, notSent: true},
	{name: "no host", url: "http:///path", retried: never, class: backstay.Permanent, notSent: true},
	{name: "invalid header", url: "http://orders.example", edit: func(r *http.Request) { r.Header.Set("A", "b\nc") }, retried: never, class: backstay.Permanent, notSent: true},
	{name: "invalid method", url: "http://orders.example", edit: func(r *http.Request) { r.Method = "G T" }, retried: never, class: backstay.Permanent, notSent: true},
	{name: "invalid port", url: "http://127.0.0.1:99999", retried: never, class: backstay.Permanent, notSent: true},
}

func needsCertificate(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }

func plainHTTP(t *testing.T) (string, *http.Transport) {
	srv := httptest.NewServer(http.HandlerFunc(ok))
	srv.Config.ErrorLog = quiet
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "http", "https", 1), base(t)
}

// silent accepts connections and says nothing.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// start makes the condition hold. arrived is nil where requests do not arrive.
func (c *condition) start(t *testing.T) (address string, b *http.Transport, arrived func() int) {
	address, b = c.url, base(t)
	switch {
	case c.own != nil:
		address, b = c.own(t)
	case c.h2 != nil:
		s := serveH2(t, c.h2...)
		return s.url(), baseH2(t), s.arrived
	case c.steps != nil:
		s := &script{steps: c.steps}
		if c.rude {
			s.rude = 1000
		}
		start(t, s)
		address = s.url()
		if c.url != "" {
			address = "https://" + s.address()
		} else if c.name != "dial timeout" {
			arrived = func() int { return len(s.arrived()) }
		}
	case c.url == "vacant":
		address = "http://" + vacant(t)
	case c.url == "https://silent":
		address = "https://" + silent(t)
	}
	if c.base != nil {
		c.base(b)
	}
	return address, b, arrived
}

// H-8, H-9, H-10
func TestFailuresThatAreRetried(t *testing.T) {
	for _, c := range conditions {
		t.Run(c.name, func(t *testing.T) {
			var running sync.WaitGroup
			for _, k := range kinds {
				running.Go(func() { c.check(t, k) })
			}
			running.Wait()
		})
	}
}

func (c *condition) check(t *testing.T, k kind) {
	address, b, arrived := c.start(t)
	var last spy
	stack := append([]backstay.Middleware{attempts(3), &last}, c.stack...)
	// A copied body is one that net/http cannot send again by itself.
	rt := httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: b, BufferBody: 100})
	req := k.request(t, address, c.body)
	req.GetBody = nil
	if c.edit != nil {
		c.edit(req)
	}
	resp, err := rt.RoundTrip(req)
	if err == nil {
		t.Errorf("%v: RoundTrip() = %v, want an error", k, resp)
		return
	}
	want := k.sends(c.retried)
	if last.sent != want {
		t.Errorf("%v: %d attempts were made, want %d: %v", k, last.sent, want, err)
	}
	if arrived != nil && arrived() != want {
		t.Errorf("%v: %d requests arrived, want %d", k, arrived(), want)
	}
	if got := backstay.Classify(last.err); got != c.class {
		t.Errorf("%v: the class is %v, want %v: %v", k, got, c.class, err)
	}
	if got := backstay.NotSent(last.err); got != c.notSent {
		t.Errorf("%v: NotSent = %v, want %v: %v", k, got, c.notSent, err)
	}
	if got := backstay.TypeOf(last.err); c.typ != "" && got != c.typ {
		t.Errorf("%v: the type is %s, want %s: %v", k, got, c.typ, err)
	}
	rt.CloseIdleConnections()
}

// H-9: it is the caller's context that counts, and not what the error says.
func TestCallersCancelIsNotRetried(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(s *script, c *exchange) bool {
		cancel()
		return stall(s, c)
	})
	var last spy
	resp, err := over(t, attempts(3), &last).RoundTrip(request(t, http.MethodGet, s.url(), "").WithContext(ctx))
	if !errors.Is(err, context.Canceled) || len(s.arrived()) != 1 {
		t.Errorf("a cancelled call = %v, %v after %d requests, want context.Canceled after 1", resp, err, len(s.arrived()))
	}
	if got := backstay.Classify(last.err); got != backstay.Canceled {
		t.Errorf("the class is %v, want canceled", got)
	}

	var n atomic.Int32
	lying := roundTripper(func(r *http.Request) (*http.Response, error) {
		n.Add(1)
		return nil, context.DeadlineExceeded
	})
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: lying})
	_, err = rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", ""))
	if n.Load() != 3 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a base that says deadline while the caller waits: %d attempts and %v, want 3", n.Load(), err)
	}
}

// H-9, H-13
func TestBodyThatBreaksIsNotRetried(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	for _, s := range []*script{
		serve(t, then(raw(head+"half"), reset)),
		serve(t, then(raw(head+"half"), hangUp)),
		serve(t, then(raw(head), reset)),
		serve(t, then(raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), hangUp)),
	} {
		resp, err := over(t, attempts(3)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadAll(resp.Body); err == nil {
			t.Errorf("a body that breaks was read without an error")
		}
		resp.Body.Close()
		if got := len(s.arrived()); got != 1 {
			t.Errorf("%d requests arrived for a body that breaks, want 1", got)
		}
	}
	s := serveH2(t, func(c *h2conn) { h2Open(c); h2Reset(refusedStream)(c) })
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: baseH2(t)})
	resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))
	if got := answer(t, resp, err); !strings.HasPrefix(got, "200, then ") || s.arrived() != 1 {
		t.Errorf("an HTTP/2 body that breaks = %s after %d requests, want 200 and an error after 1", got, s.arrived())
	}
}

// H-12, H-13
func TestSwitchingProtocolsIsNotRetried(t *testing.T) {
	s := serve(t, then(raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nShould-Retry: true\r\nRetry-After: 1\r\n\r\n"), stall))
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{
		Base: base(t), RetryHeader: "Should-Retry", RetryAfterOn: []int{101}, Classify: always(backstay.Transient),
	})
	req := request(t, http.MethodGet, s.url(), "")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := rt.RoundTrip(req)
	if err != nil || resp.StatusCode != 101 || len(s.arrived()) != 1 {
		t.Fatalf("RoundTrip() = %v, %v after %d requests, want 101 after 1", resp, err, len(s.arrived()))
	}
	resp.Body.Close()
}

// H-10
func TestCallersTraceStillFires(t *testing.T) {
	s := serve(t, status(503), then(raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), status(200)))
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		seen[what]++
	}
	trace := &httptrace.ClientTrace{
		GetConn:              func(string) { note("GetConn") },
		GotConn:              func(httptrace.GotConnInfo) { note("GotConn") },
		WroteHeaders:         func() { note("WroteHeaders") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { note("WroteRequest") },
		GotFirstResponseByte: func() { note("GotFirstResponseByte") },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			note("Got1xxResponse")
			return nil
		},
	}
	before := *trace
	req := request(t, http.MethodGet, s.url(), "")
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	resp, err := over(t, attempts(2)).RoundTrip(req)
	answer(t, resp, err)
	mu.Lock()
	defer mu.Unlock()
	for what, want := range map[string]int{"GetConn": 2, "GotConn": 2, "WroteHeaders": 2, "WroteRequest": 2, "GotFirstResponseByte": 2, "Got1xxResponse": 1} {
		if seen[what] != want {
			t.Errorf("the caller's %s fired %d times in 2 attempts, want %d", what, seen[what], want)
		}
	}
	if before.DNSStart != nil || trace.DNSStart != nil || trace.TLSHandshakeStart != nil {
		t.Errorf("the caller's trace was changed")
	}
}

// H-10: without events nobody knows, and a server may have seen the request.
func TestBaseWithoutEventsMayHaveSent(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		var n int
		mute := roundTripper(func(*http.Request) (*http.Response, error) {
			n++
			return nil, errors.New("something went wrong")
		})
		var last spy
		rt := httpcall.NewTransport(backstay.New(attempts(3), &last), httpcall.Config{Base: mute})
		rt.RoundTrip(request(t, method, "http://orders.example", ""))
		want := map[string]int{http.MethodGet: 3, http.MethodPost: 1}[method]
		if n != want || backstay.NotSent(last.err) {
			t.Errorf("%s over a base without events: %d attempts, NotSent = %v, want %d and false", method, n, backstay.NotSent(last.err), want)
		}
	}
}

// H-10: WroteHeaders comes after the write, which may have arrived.
func TestWriteThatIsStuckMayHaveArrived(t *testing.T) {
	arrived := make(chan struct{}, 10)
	s := serveH2(t, func(c *h2conn) { arrived <- struct{}{} })
	b := baseH2(t)
	var dialer net.Dialer
	b.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w := &stuckHeaders{Conn: c, closed: make(chan struct{})}
		t.Cleanup(func() { w.Close() })
		return w, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last spy
	go func() {
		<-arrived
		cancel()
	}()
	rt := httpcall.NewTransport(backstay.New(&last), httpcall.Config{Base: b})
	_, err := rt.RoundTrip(request(t, http.MethodPost, s.url(), "").WithContext(ctx))
	if backstay.NotSent(last.err) || s.arrived() != 1 {
		t.Errorf("a request that arrived ended with %v, NotSent = %v, want false", err, backstay.NotSent(last.err))
	}
}

// A stuckHeaders connection delivers an HTTP/2 HEADERS frame, and does not
// return from that Write before it is closed.
type stuckHeaders struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (c *stuckHeaders) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if len(p) > 9 && p[3] == frameHeaders && err == nil {
		<-c.closed
	}
	return n, err
}

func (c *stuckHeaders) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// H-9, H-10: a connection that net/http took from its pool and lost may have
// carried the request, whatever became of the next.
func TestDialAfterALostConnectionProvesNothing(t *testing.T) {
	var seen httptrace.GotConnInfo
	flaky := roundTripper(func(r *http.Request) (*http.Response, error) {
		trace := httptrace.ContextClientTrace(r.Context())
		trace.GetConn("orders.example:80")
		trace.GotConn(seen)
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	})
	var last spy
	rt := httpcall.NewTransport(backstay.New(&last), httpcall.Config{Base: flaky})
	rt.RoundTrip(request(t, http.MethodPut, "http://orders.example", ""))
	if backstay.NotSent(last.err) || backstay.Classify(last.err) != backstay.Transient {
		t.Errorf("a dial that failed after GotConn: NotSent = %v, class %v, want false and transient", backstay.NotSent(last.err), backstay.Classify(last.err))
	}
}

// H-9: what net/http does not wrap for everybody, or other transports return.
func TestErrorsOfOtherTransports(t *testing.T) {
	for _, row := range []struct {
		err     error
		class   backstay.Class
		notSent bool
	}{
		{&tls.CertificateVerificationError{Err: errors.New("revoked")}, backstay.Broken, false},
		{x509.UnknownAuthorityError{}, backstay.Broken, false},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "orders.example"}, backstay.Broken, false},
		{x509.CertificateInvalidError{Reason: x509.Expired}, backstay.Broken, false},
		{tls.RecordHeaderError{Msg: "not TLS"}, backstay.Broken, false},
		{tls.AlertError(40), backstay.Broken, false},
		{&net.OpError{Op: "proxyconnect", Err: io.EOF}, backstay.Transient, true},
		{&net.OpError{Op: "socks connect", Err: io.EOF}, backstay.Transient, true},
		{&net.OpError{Op: "read", Err: io.EOF}, backstay.Transient, false},
	} {
		var last spy
		rt := httpcall.NewTransport(backstay.New(&last), httpcall.Config{Base: broken{err: fmt.Errorf("base: %w", row.err)}})
		rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", ""))
		if got := backstay.Classify(last.err); got != row.class || backstay.NotSent(last.err) != row.notSent {
			t.Errorf("%T is %v, NotSent %v, want %v, %v", row.err, got, backstay.NotSent(last.err), row.class, row.notSent)
		}
	}
}

// H-9: the text of a URL is no reason.
func TestTextOfURLIsNotTakenForTheFailure(t *testing.T) {
	inner := roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: "http://auth.example/malformed/REFUSED_STREAM/invalid port", Err: io.EOF}
	})
	var last spy
	rt := httpcall.NewTransport(backstay.New(&last), httpcall.Config{Base: inner})
	rt.RoundTrip(request(t, http.MethodGet, "http://orders.example", ""))
	if backstay.Classify(last.err) != backstay.Transient || backstay.NotSent(last.err) {
		t.Errorf("EOF under a curious URL is %v, NotSent %v, want transient, false", backstay.Classify(last.err), backstay.NotSent(last.err))
	}
}

// H-9, H-10: what a wrapper of errors says may quote the server.
func TestTextWithinAnErrorIsNoProof(t *testing.T) {
	for _, text := range []string{
		"gateway: stream error: stream ID 1; REFUSED_STREAM; received from peer",
		"gateway: http2: Transport received Server's graceful shutdown GOAWAY",
		"gateway: http: no Host in request URL",
		"gateway: invalid port",
	} {
		for _, err := range []error{errors.New(text), &url.Error{Op: "Post", URL: "http://other.example", Err: errors.New(strings.TrimPrefix(text, "gateway: "))}} {
			var last spy
			rt := httpcall.NewTransport(backstay.New(&last), httpcall.Config{Base: broken{err: err}})
			rt.RoundTrip(request(t, http.MethodPost, "http://orders.example", ""))
			if backstay.NotSent(last.err) {
				t.Errorf("%v: NotSent, want not", err)
			}
		}
	}
}

// H-14
func TestMaxAttemptsCountsTheFirst(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		s := serve(t, status(503))
		resp, err := over(t, attempts(n)).RoundTrip(request(t, http.MethodGet, s.url(), ""))
		answer(t, resp, err)
		if got := len(s.arrived()); got != n {
			t.Errorf("MaxAttempts %d sent %d requests, want %d", n, got, n)
		}
	}
}

// H-8: refused at first, a POST without a key arrives once.
func TestPostIsSentOnceWhereTheFirstConnectionWasRefused(t *testing.T) {
	s := serve(t, status(201))
	b, dials := base(t), 0
	nobody := vacant(t)
	var dialer net.Dialer
	b.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == 1 {
			address = nobody
		}
		return dialer.DialContext(ctx, network, address)
	}
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: b})
	resp, err := rt.RoundTrip(request(t, http.MethodPost, s.url(), "body"))
	if got := answer(t, resp, err); got != "201 Created" || len(s.arrived()) != 1 || s.arrived()[0].body != "body" {
		t.Errorf("a POST that was refused at first = %s after %d arrivals, want 201 Created after 1", got, len(s.arrived()))
	}
}

// H-8, H-9: a stream that the server has not looked at is sent again.
func TestPostIsSentAgainWhereTheStreamWasRefused(t *testing.T) {
	for name, refuse := range map[string]func(*h2conn){"REFUSED_STREAM": h2Reset(refusedStream), "GOAWAY": h2GoAway(false, noError)} {
		s := serveH2(t, refuse, h2OK)
		rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: baseH2(t), BufferBody: 100})
		req := request(t, http.MethodPost, s.url(), "body")
		req.GetBody = nil // net/http would send it again by itself
		resp, err := rt.RoundTrip(req)
		if got := answer(t, resp, err); got != "200 " || s.arrived() != 2 {
			t.Errorf("a POST after %s = %s after %d arrivals, want 200 after 2", name, got, s.arrived())
		}
	}
}
