package idempotency

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
)

const mebibyte = 1024 * 1024

// I-18
func TestBodiesOfRequestsHaveAMebibyteByDefault(t *testing.T) {
	for _, as := range []string{"with a length", "chunked"} {
		for _, c := range []struct{ bytes, status int }{{mebibyte, 200}, {mebibyte + 1, 413}} {
			got := -1
			h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = len(body)
			}), HandlerConfig{Tenant: OneTenant})
			r := keyedRequest("k", strings.Repeat("a", c.bytes))
			if as == "chunked" {
				r.ContentLength = -1
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if c.status == 413 {
				wantProblem(t, w.Result(), 413, ErrTooLarge)
			}
			if w.Code != c.status || (got == c.bytes) != (c.status == 200) {
				t.Errorf("POST of %d bytes %s = %d, and the handler got %d, want %d", c.bytes, as, w.Code, got, c.status)
			}
		}
	}
}

// I-17
func TestBodiesOfAnswersHaveAMebibyteByDefault(t *testing.T) {
	for bytes, kept := range map[int]bool{mebibyte: true, mebibyte + 1: false} {
		want := strings.Repeat("a", bytes)
		ran := 0
		h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ran++
			_, _ = io.WriteString(w, want)
		}), HandlerConfig{Tenant: OneTenant})
		first, again := post(h, "k", ""), post(h, "k", "")
		if first.Code != 200 || first.Body.String() != want {
			t.Errorf("answer of %d bytes = %d with %d bytes, want 200 with all of them", bytes, first.Code, first.Body.Len())
		}
		if kept && (again.Code != 200 || again.Body.String() != want) || !kept && !errors.Is(ResponseError(again.Result()), ErrNotKept) || ran != 1 {
			t.Errorf("answer of %d bytes again = %d with %d bytes, ran %d, want it kept: %v, ran 1", bytes, again.Code, again.Body.Len(), ran, kept)
		}
	}
}

// An untouchable fails the test when it is read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read, want it left alone")
	return 0, io.EOF
}

// I-18: who says that a body is too long need not send it.
func TestABodyThatIsSaidToBeTooLongIsNotRead(t *testing.T) {
	h := NewGuard(GuardConfig{}).Handler(http.NotFoundHandler(), HandlerConfig{Tenant: OneTenant, MaxBody: 5})
	r := keyedRequest("k", "")
	r.Body, r.ContentLength = io.NopCloser(untouchable{t}), 6
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantProblem(t, w.Result(), 413, ErrTooLarge)
}

// I-18, and RFC 9110, section 10.1.1: a client that waits for 100 Continue is
// told at once, and keeps its body.
func TestABodyThatIsSaidToBeTooLongIsNotAskedFor(t *testing.T) {
	leak.Check(t)
	s := quietServer(NewGuard(GuardConfig{}).Handler(http.NotFoundHandler(), HandlerConfig{Tenant: OneTenant, MaxBody: 5}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: bank\r\nIdempotency-Key: \"k\"\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
		t.Errorf("Expect: 100-continue with 6 bytes of 5 = %q, %v, want 413 as the first answer", line, err)
	}
}
