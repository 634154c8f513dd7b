package body

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// A source is a body that gives so many bytes, then waits to be closed if it
// hangs.
type source struct {
	left   int
	hangs  bool
	read   int
	closes atomic.Int32
	closed chan struct{}
}

func newSource(bytes int, hangs bool) *source {
	return &source{left: bytes, hangs: hangs, closed: make(chan struct{})}
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 && s.hangs {
		<-s.closed
		return 0, errors.New("closed")
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.left)
	s.left -= n
	s.read += n
	return n, nil
}

func (s *source) Close() error {
	if s.closes.Add(1) == 1 {
		close(s.closed)
	}
	return nil
}

// H-20
func TestDrainIsBounded(t *testing.T) {
	rows := []struct {
		name        string
		bytes, read int
		hangs       bool
		took        time.Duration
	}{
		{"empty", 0, 0, false, 0},
		{"short", 100, 100, false, 0},
		{"long", 1 << 20, 64 << 10, false, 0},
		{"hung", 100, 100, true, 50 * time.Millisecond},
	}
	for _, r := range rows {
		synctest.Test(t, func(t *testing.T) {
			s := newSource(r.bytes, r.hangs)
			began := time.Now()
			Drain(s)
			took := time.Since(began)
			<-time.After(time.Second)
			synctest.Wait()
			if s.read != r.read || took != r.took {
				t.Errorf("Drain(%s) read %d bytes in %v, want %d in %v", r.name, s.read, took, r.read, r.took)
			}
			if got := s.closes.Load(); got != 1 {
				t.Errorf("Drain(%s) closed %d times, want once", r.name, got)
			}
		})
	}
}

// A body of net/http that hangs is let go of, also where it is decompressed.
func TestDrainOfAHungResponse(t *testing.T) {
	leak.Check(t)
	for _, encoding := range []string{"", "gzip"} {
		release := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			w.WriteHeader(503)
			w.(http.Flusher).Flush()
			<-release
		}))
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		drained := make(chan struct{})
		go func() { Drain(resp.Body); close(drained) }()
		select {
		case <-drained:
		case <-time.After(5 * time.Second):
			t.Errorf("Drain of a hung body with encoding %q still reads after 5s, want 50ms", encoding)
		}
		close(release)
		server.Close()
	}
}

func TestHoldIsDoneOnce(t *testing.T) {
	broken := errors.New("broken")
	rows := []struct {
		name string
		body io.Reader
		use  func(b io.ReadCloser)
		want error
	}{
		{"closed", strings.NewReader("x"), func(b io.ReadCloser) { b.Close(); b.Close() }, nil},
		{"read to the end", strings.NewReader("x"), func(b io.ReadCloser) { _, _ = io.ReadAll(b); b.Close() }, nil},
		{"failed", io.MultiReader(strings.NewReader("x"), failing{broken}), func(b io.ReadCloser) { _, _ = io.ReadAll(b); _, _ = io.ReadAll(b); b.Close() }, broken},
	}
	for _, r := range rows {
		var got []error
		body := Hold(io.NopCloser(r.body), func(err error) { got = append(got, err) })
		if len(got) != 0 {
			t.Errorf("%s: done before the body was used", r.name)
		}
		r.use(body)
		if len(got) != 1 || got[0] != r.want {
			t.Errorf("%s: done was given %v, want [%v]", r.name, got, r.want)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestHoldIsDoneOnceWhenClosedWhileRead(t *testing.T) {
	for range 200 {
		var done atomic.Int32
		body := Hold(newSource(10, true), func(error) { done.Add(1) })
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.ReadAll(body) })
		wg.Go(func() { body.Close() })
		wg.Go(func() { body.Close() })
		wg.Wait()
		if got := done.Load(); got != 1 {
			t.Fatalf("done ran %d times, want once", got)
		}
	}
}

type duplex struct {
	io.ReadCloser
	io.Writer
}

// The body of a 101 response is written to as well, and over when it is closed.
// H-21
func TestHoldKeepsTheWriter(t *testing.T) {
	var out strings.Builder
	done := 0
	body := Hold(duplex{io.NopCloser(strings.NewReader("in")), &out}, func(error) { done++ })
	w, ok := body.(io.Writer)
	if !ok {
		t.Fatal("Hold(io.ReadWriteCloser) is no io.Writer")
	}
	in, _ := io.ReadAll(body)
	if string(in) != "in" || done != 0 {
		t.Errorf("read %q, done %d times at the end of one direction, want in and not yet", in, done)
	}
	if _, err := io.WriteString(w, "out"); err != nil || out.String() != "out" {
		t.Errorf("wrote %q (%v), want out", out.String(), err)
	}
	body.Close()
	if done != 1 {
		t.Errorf("done %d times after Close, want once", done)
	}
	if _, ok := Hold(io.NopCloser(strings.NewReader("")), func(error) {}).(io.Writer); ok {
		t.Error("Hold(io.ReadCloser) is an io.Writer, want none")
	}
}
