package httpcall_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
)

// A script is a server on loopback that answers requests with its steps in
// order, the last one over and over, and keeps what has arrived.
type script struct {
	net.Listener
	steps []step
	hello []byte // what each connection is greeted with, if anything
	rude  int    // so many connections are reset before anything is read

	mu       sync.Mutex
	arrivals []arrival
	conns    int
	open     map[net.Conn]bool
}

// An arrival is a request that has come in whole.
type arrival struct {
	*http.Request
	body string
	conn int
}

// A step answers a request, and reports whether the connection may be used for
// another.
type step func(s *script, c *exchange) bool

// An exchange is a request and the connection it came on.
type exchange struct {
	net.Conn
	arrival
	in *bufio.Reader
}

// serve starts a script, which ends with the test.
func serve(t testing.TB, steps ...step) *script {
	t.Helper()
	return start(t, &script{steps: steps})
}

func start(t testing.TB, s *script) *script {
	t.Helper()
	var err error
	if s.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.open = map[net.Conn]bool{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.converse(c) })
		}
	})
	t.Cleanup(func() {
		s.Close()
		s.mu.Lock()
		for c := range s.open {
			c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *script) converse(c net.Conn) {
	number, ok := s.enter(c)
	defer s.leave(c)
	if !ok {
		sever(c)
		return
	}
	c.Write(s.hello)
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		var body []byte
		if r.Header.Get("Upgrade") == "" {
			if body, err = io.ReadAll(r.Body); err != nil {
				return
			}
		}
		x := &exchange{c, arrival{r, string(body), number}, in}
		if !s.next(x.arrival)(s, x) {
			return
		}
	}
}

func (s *script) enter(c net.Conn) (number int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns++
	s.open[c] = true
	return s.conns, s.conns > s.rude
}

func (s *script) leave(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	c.Close()
}

func (s *script) next(a arrival) step {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, a)
	return s.steps[min(len(s.arrivals), len(s.steps))-1]
}

// arrived returns the requests so far.
func (s *script) arrived() []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals
}

// connections returns how many there have been.
func (s *script) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *script) address() string { return s.Addr().String() }
func (s *script) url() string     { return "http://" + s.address() + "/path" }

// status answers with a status, headers such as "Retry-After: 1" and a body
// that says the status.
func status(code int, headers ...string) step {
	return func(_ *script, c *exchange) bool {
		var b bytes.Buffer
		text := http.StatusText(code)
		fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", code, text)
		for _, h := range headers {
			b.WriteString(h + "\r\n")
		}
		switch {
		case code == http.StatusNoContent || code == http.StatusNotModified:
			text = ""
		default:
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(text))
		}
		if c.Method == http.MethodHead {
			text = ""
		}
		b.WriteString("\r\n" + text)
		_, err := c.Write(b.Bytes())
		return err == nil
	}
}

// raw sends bytes as they are.
func raw(text string) step {
	return func(_ *script, c *exchange) bool {
		_, err := io.WriteString(c, text)
		return err == nil
	}
}

// reset breaks the connection: the client reads ECONNRESET.
func reset(_ *script, c *exchange) bool {
	sever(c.Conn)
	return false
}

// hangUp closes the connection: the client reads EOF.
func hangUp(*script, *exchange) bool { return false }

// stall says nothing until the client has gone.
func stall(_ *script, c *exchange) bool {
	io.Copy(io.Discard, c.in)
	return false
}

// then does one step after the other for the same request.
func then(steps ...step) step {
	return func(s *script, c *exchange) bool {
		for _, next := range steps {
			if !next(s, c) {
				return false
			}
		}
		return true
	}
}

// sever closes c so that the other side is sent a reset.
func sever(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// vacant returns an address at which connections are refused.
func vacant(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// base returns a transport of the test's own.
func base(t testing.TB) *http.Transport {
	rt := &http.Transport{DisableCompression: true}
	t.Cleanup(rt.CloseIdleConnections)
	return rt
}

// over returns a Transport over a base of its own, with the stack.
func over(t testing.TB, stack ...backstay.Middleware) *httpcall.Transport {
	return httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: base(t)})
}

// request returns a request; a body has a GetBody.
func request(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, r)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// answer reads and closes a response: "200 OK".
func answer(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Sprintf("%d, then %v", resp.StatusCode, err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}
