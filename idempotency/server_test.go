package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// quietServer starts a server that logs nothing.
func quietServer(h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	return s
}

// keyed returns a request to the server with the key.
func keyed(t *testing.T, s *httptest.Server, key, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/transfers", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", quote(key))
	return r
}

// keyedRequest returns a request to a handler with the key.
func keyedRequest(key, body string) *http.Request {
	r := httptest.NewRequest("POST", "/transfers", strings.NewReader(body))
	r.Header.Set("Idempotency-Key", quote(key))
	return r
}

// answer sends the request and returns the response and its body.
func answer(t *testing.T, s *httptest.Server, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatalf("%s %s = %v, want a response", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body of %s %s: %v", r.Method, r.URL, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, string(body)
}

// I-19: what a caller who goes away has begun is brought to its end, and the
// next attempt gets the answer.
func TestACallerWhoGoesAwayDoesNotEndTheWork(t *testing.T) {
	leak.Check(t)
	working, goneAway := make(chan struct{}), make(chan context.Context, 1)
	work := make(chan error, 1)
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(working)
		<-(<-goneAway).Done()
		work <- r.Context().Err()
		io.WriteString(w, "done")
	}), HandlerConfig{Tenant: OneTenant})
	s := quietServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case goneAway <- r.Context(): // of the connection
		default:
		}
		h.ServeHTTP(w, r)
	}))
	defer s.Close()

	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /transfers HTTP/1.1\r\nHost: bank\r\nIdempotency-Key: \"k\"\r\nContent-Length: 3\r\n\r\n100")
	<-working
	conn.Close()
	if err := <-work; err != nil {
		t.Errorf("the context of the work when the caller has gone = %v, want nil", err)
	}
	for {
		resp, body := answer(t, s, keyed(t, s, "k", "100"))
		if errors.Is(ResponseError(resp), ErrInProgress) {
			continue // the server may not have kept it yet
		}
		if body != "done" || resp.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("the next attempt = %d %q, want the answer that the first did not get", resp.StatusCode, body)
		}
		return
	}
}

// I-19
func TestShutdownWaitsForTheWork(t *testing.T) {
	leak.Check(t)
	working, release := make(chan struct{}), make(chan struct{})
	s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(working)
		<-release
		io.WriteString(w, "done")
	}), HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	got := make(chan string, 1)
	go func() {
		_, body := answer(t, s, keyed(t, s, "k", ""))
		got <- body
	}()
	<-working
	down := make(chan error, 1)
	go func() { down <- s.Config.Shutdown(context.Background()) }()
	select {
	case err := <-down:
		t.Fatalf("Shutdown = %v while the work goes on, want it to wait", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if err, body := <-down, <-got; err != nil || body != "done" {
		t.Errorf("Shutdown = %v, and the caller got %q, want nil, done", err, body)
	}
}

// The server and handlers above find in their request what the handler's own
// leaves in it: the files of a form are removed, the pattern can be logged.
func TestTheRequestAboveKnowsTheFormAndThePattern(t *testing.T) {
	var file, pattern string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /files/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Errorf("ParseMultipartForm = %v, want nil", err)
			return
		}
		f, err := r.MultipartForm.File["f"][0].Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if osFile, ok := f.(*os.File); ok {
			file = osFile.Name()
		}
		io.WriteString(w, r.PathValue("name"))
	})
	h := NewGuard(GuardConfig{}).Handler(mux, HandlerConfig{Tenant: OneTenant, MaxBody: 30 << 20})
	over := make(chan struct{}, 1)
	s := quietServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		pattern = r.Pattern
		over <- struct{}{}
	}))
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	part, _ := m.CreateFormFile("f", "a.bin")
	_, _ = part.Write(make([]byte, 11<<20)) // 10 MiB are kept in memory beside what is asked for
	m.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/files/a.bin", &form)
	r.Header.Set("Content-Type", m.FormDataContentType())
	r.Header.Set("Idempotency-Key", `"k"`)
	if resp, body := answer(t, s, r); resp.StatusCode != 200 || body != "a.bin" {
		t.Errorf("POST of a form = %d %q, want 200 a.bin", resp.StatusCode, body)
	}
	<-over
	s.Close() // waits for the server's part
	if pattern != "POST /files/{name}" {
		t.Errorf("pattern seen above = %q, want that of the route", pattern)
	}
	if file == "" {
		t.Fatal("the form has no file on disk, so that the test shows nothing")
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("%s after the request: %v, want it removed", file, err)
	}
}

// I-19: a timeout above is that of the caller, not of the work.
func TestATimeoutAboveDoesNotEndTheWork(t *testing.T) {
	leak.Check(t)
	release, ended := make(chan struct{}), make(chan struct{})
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		if err := r.Context().Err(); err != nil {
			t.Errorf("context of the work after the timeout = %v, want nil", err)
		}
		io.WriteString(w, "done")
	}), HandlerConfig{Tenant: OneTenant})
	impatient := quietServer(http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		h.ServeHTTP(w, r)
	}), 20*time.Millisecond, "late"))
	defer impatient.Close()
	if resp, body := answer(t, impatient, keyed(t, impatient, "k", "")); resp.StatusCode != 503 || body != "late" {
		t.Errorf("answer of slow work = %d %q, want 503 late", resp.StatusCode, body)
	}
	close(release)
	<-ended
	if w := post(h, "k", ""); w.Code != 200 || w.Body.String() != "done" {
		t.Errorf("the next attempt = %d %q, want 200 done", w.Code, w.Body)
	}
}

// I-17: a proxy flushes answers that have no length, which are kept all the
// same.
func TestAProxysAnswersAreKept(t *testing.T) {
	leak.Check(t)
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		kept   bool
	}{
		{"with a length", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "done") }, true},
		{"chunked", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "do")
			w.(http.Flusher).Flush()
			io.WriteString(w, "ne")
		}, true},
		{"with trailers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "done")
			w.Header().Set("X-Sum", "1")
		}, true},
		{"with trailers that were not declared", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "done")
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}, true},
		{"events", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "done")
		}, false},
	} {
		ran := 0
		backend := quietServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ran++
			c.answer(w, r)
		}))
		at, _ := url.Parse(backend.URL)
		proxy := httputil.NewSingleHostReverseProxy(at)
		transport := &http.Transport{}
		proxy.Transport = transport
		s := quietServer(NewGuard(GuardConfig{}).Handler(proxy, HandlerConfig{Tenant: OneTenant}))
		plain := quietServer(proxy)
		want, _ := answer(t, plain, keyed(t, plain, "k", "100"))
		ran = 0
		first, body := answer(t, s, keyed(t, s, "k", "100"))
		if body != "done" || fmt.Sprint(first.Trailer, first.ContentLength) != fmt.Sprint(want.Trailer, want.ContentLength) {
			t.Errorf("answer %s = %q %v, length %d, want done %v, length %d", c.name, body, first.Trailer, first.ContentLength, want.Trailer, want.ContentLength)
		}
		again, body := answer(t, s, keyed(t, s, "k", "100"))
		if kept := body == "done"; kept != c.kept || !kept && !errors.Is(ResponseError(again), ErrNotKept) || ran != 1 {
			t.Errorf("answer %s again = %d %q, and the backend was asked %d times, want it kept: %v, asked once", c.name, again.StatusCode, body, ran, c.kept)
		}
		plain.Close()
		s.Close()
		transport.CloseIdleConnections()
		backend.Close()
	}
}

// A backend that breaks off half-way has done who knows what.
func TestAProxysAnswerThatBreaksOffIsInDoubt(t *testing.T) {
	leak.Check(t)
	ran := 0
	backend := quietServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran++
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
	}))
	defer backend.Close()
	at, _ := url.Parse(backend.URL)
	proxy := httputil.NewSingleHostReverseProxy(at)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy.Transport = transport
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	s := quietServer(NewGuard(GuardConfig{}).Handler(proxy, HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	if resp, err := s.Client().Do(keyed(t, s, "k", "")); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			t.Error("an answer that broke off was read to its end, want an error")
		}
	}
	if resp, body := answer(t, s, keyed(t, s, "k", "")); !errors.Is(ResponseError(resp), ErrOutcomeUnknown) || ran != 1 {
		t.Errorf("the next attempt = %d %q, and the backend was asked %d times, want %v, once", resp.StatusCode, body, ran, ErrOutcomeUnknown)
	}
}

// I-3, I-12: of many at the same time, one does the work, and the others get
// its answer or are asked to wait.
func TestAStormWithOneKeyDoesTheWorkOnce(t *testing.T) {
	leak.Check(t)
	const callers = 64
	var ran, refused atomic.Int32
	late := make(chan struct{})
	s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran.Add(1)
		<-late
		io.WriteString(w, "done")
	}), HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	// wait returns when all but the one who does the work have been refused.
	wait := func() {
		if refused.Add(1) == callers-1 {
			close(late)
		}
		<-late
	}
	ask := func() (done bool) {
		resp, err := s.Client().Do(keyed(t, s, "k", "100"))
		if err != nil {
			t.Error(err)
			return true
		}
		defer resp.Body.Close()
		if errors.Is(ResponseError(resp), ErrInProgress) && resp.Header.Get("Retry-After") == "1" {
			return false
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "done" {
			t.Errorf("answer = %d %v %q, want done, or 409 with Retry-After", resp.StatusCode, resp.Header, body)
		}
		return true
	}
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if ask() {
				return
			}
			wait()
			for !ask() {
			}
		})
	}
	all.Wait()
	if n := ran.Load(); n != 1 {
		t.Errorf("%d callers with one key ran the handler %d times, want 1", callers, n)
	}
}
