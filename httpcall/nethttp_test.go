package httpcall_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/timeout"
)

// countAttempts counts the attempts.
func countAttempts(n *int) backstay.Middleware {
	return backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			*n++
			return next(ctx, call)
		}
	})
}

// readRequest reads a request with its body, or reports that there is none.
func readRequest(c net.Conn, r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		c.Close()
		return false
	}
	io.Copy(io.Discard, req.Body)
	return true
}

// reuse serves connections of which the first answers one request and takes
// another, to close 300 ms later without a word. What comes on the connections
// after it is left to next. The function returned counts the requests.
func reuse(conns <-chan net.Conn, next func(net.Conn)) (requests func() int) {
	var n int
	go func() {
		c := <-conns
		r := bufio.NewReader(c)
		for i := 0; readRequest(c, r); i++ {
			n++
			if i > 0 {
				<-time.After(300 * time.Millisecond)
				c.Close()
				break
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		c, r = <-conns, nil
		if readRequest(c, bufio.NewReader(c)) {
			n++
			next(c)
		}
	}()
	return func() int { synctest.Wait(); return n }
}

// net/http sends a request again by itself where a connection that it reused
// was closed under it.
//
// H-39
func TestResendOfNetHTTPIsPartOfTheAttempt(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, hangs := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, nil)
				over := make(chan struct{})
				defer close(over)
				requests := reuse(m.listen(orders), func(c net.Conn) {
					if !hangs {
						io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
					}
					<-over
					c.Close()
				})
				attempts := 0
				rt := m.transport(t, httpcall.Config{}, timeout.Attempt(500*time.Millisecond), countAttempts(&attempts))
				if _, _, err := fetch(t.Context(), rt); err != nil {
					t.Fatal(err)
				}
				attempts = 0
				req, _ := http.NewRequestWithContext(t.Context(), method, "http://"+orders, strings.NewReader("work"))
				req.Header.Set("Idempotency-Key", `"7"`) // net/http knows it too
				start := time.Now()
				resp, err := rt.RoundTrip(req)
				took := time.Since(start)
				if attempts != 1 || requests() != 3 {
					t.Errorf("%s: %d attempts and %d requests on the wire with the one before, want 1 and 3", method, attempts, requests())
				}
				switch {
				case hangs && (!errors.Is(err, context.DeadlineExceeded) || took != 500*time.Millisecond):
					t.Errorf("%s that was sent again and hangs = %v after %v, want DeadlineExceeded after 500ms in all", method, err, took)
				case !hangs && (err != nil || resp.StatusCode != 201 || took != 300*time.Millisecond):
					t.Errorf("%s that was sent again = %v, %v after %v, want 201 after 300ms", method, resp, err, took)
				}
			})
		}
	}
}

// spied knows when it was first read.
type spied struct {
	io.Reader
	at time.Time
}

func (s *spied) Read(p []byte) (int, error) {
	if s.at.IsZero() {
		s.at = time.Now()
	}
	return s.Reader.Read(p)
}

// RFC 9110, section 10.1.1.
//
// H-40
func TestExpectContinuePassesThrough(t *testing.T) {
	for _, row := range []struct {
		name   string
		cfg    httpcall.Config
		server http.HandlerFunc
		status int
		read   bool
	}{
		{"accepted", httpcall.Config{}, func(w http.ResponseWriter, r *http.Request) {
			<-time.After(200 * time.Millisecond)
			b, err := io.ReadAll(r.Body) // which sends the 100
			if string(b) != "work" || err != nil {
				w.WriteHeader(500)
			}
		}, 200, true},
		{"refused", httpcall.Config{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) }, 417, false},
		{"refused, with a copy to be kept", httpcall.Config{BufferBody: 10}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(417) }, 417, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if e := r.Header.Get("Expect"); e != "100-continue" {
						t.Errorf("the server saw Expect: %q, want 100-continue", e)
					}
					row.server(w, r)
				}), orders)
				cfg := row.cfg
				cfg.Base = &http.Transport{DialContext: m.DialContext, ExpectContinueTimeout: time.Minute}
				rt := httpcall.NewTransport(backstay.New(timeout.Attempt(time.Second)), cfg)
				defer rt.CloseIdleConnections()
				body := &spied{Reader: strings.NewReader("work")}
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+orders, body)
				req.ContentLength = 4
				req.Header.Set("Expect", "100-continue")
				start := time.Now()
				resp, err := rt.RoundTrip(req)
				if err != nil || resp.StatusCode != row.status {
					t.Fatalf("RoundTrip = %v, %v, want %d", resp, err, row.status)
				}
				resp.Body.Close()
				switch {
				case !row.read && !body.at.IsZero():
					t.Errorf("the body was read %v after the start, want it left alone", body.at.Sub(start))
				case row.read && body.at.Sub(start) != 200*time.Millisecond:
					t.Errorf("the body was read %v after the start, want 200ms, when the server asked for it", body.at.Sub(start))
				}
			})
		})
	}
}
