package idempotency

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// allBytes has each value of a byte.
var allBytes = func() string {
	var b [256]byte
	for i := range b {
		b[i] = byte(i)
	}
	return string(b[:])
}()

// answers are handlers whose answers are as good behind a Guard as without it.
var answers = []struct {
	name   string
	handle func(w http.ResponseWriter, r *http.Request)
	unkept bool // whoever asks again is told that it was done
}{
	{"nothing", func(http.ResponseWriter, *http.Request) {}, false},
	{"text", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "done") }, false},
	{"HTML", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, false},
	{"HTML in pieces", func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range "<html><body>" {
			fmt.Fprintf(w, "%c", c)
		}
	}, false},
	{"all bytes", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, allBytes) }, false},
	{"a picture", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "\x89PNG\r\n\x1a\n"+allBytes) }, false},
	{"1 MiB", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat(allBytes, 4096)) }, false},
	{"1 MiB in pieces", func(w http.ResponseWriter, _ *http.Request) {
		for range 4096 {
			io.WriteString(w, allBytes)
		}
	}, false},
	{"1 MiB and a byte", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat(allBytes, 4096))
		io.WriteString(w, "!")
	}, true},
	{"1 MiB and a byte at once", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat(allBytes, 4096)+"!") }, true},
	{"3 MiB in pieces", func(w http.ResponseWriter, _ *http.Request) {
		for range 3 * 4096 {
			io.WriteString(w, allBytes)
		}
	}, true},
	{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, false},
	{"not modified", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"1"`)
		w.WriteHeader(304)
	}, false},
	{"an error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnprocessableEntity) }, false},
	{"a failure", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }, false},
	{"a redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/transfers/1?a=<b>", http.StatusSeeOther)
	}, false},
	{"a file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.csv", time.Unix(1, 0), strings.NewReader("a,b"))
	}, false},
	{"a length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		io.WriteString(w, "abc")
	}, false},
	{"no type", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>")
	}, false},
	{"an encoding", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "\x1f\x8b")
	}, false},
	{"no date", func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }, false},
	{"headers with several values", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Link"] = []string{"</a>; rel=next", "</b>; rel=\"last\"", "<>"}
		w.Header().Add("Vary", "Origin")
		w.Header().Add("Set-Cookie", "a=b")
		w.Header().Add("Set-Cookie", "c=d")
	}, false},
	{"a header that is late", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		w.Header().Set("Location", "/late")
		io.WriteString(w, "a")
		w.Header().Set("Etag", `"late"`)
	}, false},
	{"the outer header changed", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Outer", w.Header().Get("X-Outer")+"b") }, false},
	{"the outer header deleted", func(w http.ResponseWriter, _ *http.Request) { w.Header().Del("X-Outer") }, false},
	{"an outer header that is kept deleted", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Del("Cache-Control")
		io.WriteString(w, "a")
	}, false},
	{"declared trailers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-None")
		w.Header().Add("Trailer", "X-Other")
		io.WriteString(w, "a")
		w.Header().Set("X-Sum", "1")
		w.Header().Set("X-Other", "2")
		w.Header().Set("X-Undeclared", "3")
	}, false},
	{"trailers with a prefix", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(http.TrailerPrefix+"X-Early", "0")
		io.WriteString(w, "a")
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}, false},
	{"flushed trailers with a prefix", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}, false},
	{"trailers of a long answer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, strings.Repeat("a", 2<<20))
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Other", "2")
	}, true},
	{"flushed", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "a")
		w.(http.Flusher).Flush()
		w.Header().Set("Location", "/late")
		io.WriteString(w, "b")
		_ = http.NewResponseController(w).Flush()
	}, false},
	{"flushed first", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.(http.Flusher).Flush()
		w.WriteHeader(500)
		io.WriteString(w, "a")
	}, false},
	{"a stream", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		io.WriteString(w, "data: 2\n\n")
	}, true},
	{"a stream that is not flushed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
	}, false},
	{"hijacked", func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err == nil {
			rw.WriteString("HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\na")
			rw.Flush()
			conn.Close()
		}
	}, true},
	{"hijacked after a status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		w.WriteHeader(201)
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err == nil {
			rw.WriteString("b")
			rw.Flush()
			conn.Close()
		}
	}, true},
	{"switching protocols", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "x")
		w.WriteHeader(101)
		if _, err := io.WriteString(w, "a"); err != http.ErrBodyNotAllowed {
			panic(err)
		}
	}, true},
}

// outer is a handler above a Guard's that sets headers.
func outer(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Outer", "a")
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// I-16, I-17: the first caller gets what the handler answers without a Guard,
// and later ones the same status and body, and the headers about them.
func TestAnAnswerIsWhatItWouldBeWithoutAGuard(t *testing.T) {
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) {
			leak.Check(t)
			ran := 0
			bare := quietServer(outer(c.handle))
			defer bare.Close()
			guarded := quietServer(outer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ran++
				c.handle(w, r)
			}), HandlerConfig{Tenant: OneTenant, Headers: []string{"x-outer"}}).ServeHTTP))
			defer guarded.Close()
			raw := strings.Replace(rawRequest("", Standard, []string{`"k"`}, "", "", ""), "\r\n", "\r\nConnection: close\r\n", 1)
			want, _ := exchange(t, bare, raw)
			first, _ := exchange(t, guarded, raw)
			again, _ := exchange(t, guarded, raw)
			for errors.Is(ResponseError(again), ErrInProgress) { // a caller can be quicker than a handler that has hijacked
				again, _ = exchange(t, guarded, raw)
			}
			for _, r := range []*http.Response{want, first, again} {
				r.Header.Del("Date")
			}
			wantBody, body, bodyAgain := bodyOf(want), bodyOf(first), bodyOf(again)
			if first.StatusCode != want.StatusCode || body != wantBody || !reflect.DeepEqual(first.Header, want.Header) || !reflect.DeepEqual(first.Trailer, want.Trailer) {
				t.Errorf("answer = %d %v %.40q of %d %v,\nwant %d %v %.40q of %d %v", first.StatusCode, first.Header, body, len(body), first.Trailer,
					want.StatusCode, want.Header, wantBody, len(wantBody), want.Trailer)
			}
			if ran != 1 {
				t.Errorf("the handler ran %d times, want 1", ran)
			}
			if c.unkept {
				if err := ResponseError(again); !errors.Is(err, ErrNotKept) {
					t.Errorf("the next answer = %d %.80q, want %v", again.StatusCode, bodyAgain, ErrNotKept)
				}
				return
			}
			if again.StatusCode != want.StatusCode || bodyAgain != wantBody || again.Header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("replay = %d %v %.40q, want %d %.40q", again.StatusCode, again.Header, bodyAgain, want.StatusCode, wantBody)
			}
			for _, name := range append([]string{"X-Outer"}, kept...) {
				if !reflect.DeepEqual(again.Header[name], want.Header[name]) {
					t.Errorf("replay has %s: %q, want %q", name, again.Header[name], want.Header[name])
				}
			}
		})
	}
}

func bodyOf(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

// I-17: of a stream, the caller has what was flushed before the handler goes on;
// and of another answer nothing, since it is not kept yet.
func TestAFlushSendsAStreamAtOnce(t *testing.T) {
	leak.Check(t)
	for _, flush := range []struct {
		name string
		do   func(http.ResponseWriter)
	}{
		{"Flusher", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }},
		{"ResponseController", func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }},
	} {
		for _, media := range []string{"text/event-stream", "application/x-ndjson", "application/json-seq", "multipart/x-mixed-replace; boundary=x"} {
			seen := make(chan struct{})
			s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", media)
				io.WriteString(w, "1")
				flush.do(w)
				<-seen
				io.WriteString(w, "2") // needs no flush to go out
			}), HandlerConfig{Tenant: OneTenant}))
			resp, err := s.Client().Do(keyed(t, s, "k", ""))
			if err != nil {
				t.Fatal(err)
			}
			var b [1]byte
			if _, err := io.ReadFull(resp.Body, b[:]); err != nil || b[0] != '1' {
				t.Errorf("%s of %s sent %q, %v, want 1", flush.name, media, b, err)
			}
			close(seen)
			rest, err := io.ReadAll(resp.Body)
			if err != nil || string(rest) != "2" {
				t.Errorf("%s of %s and then %q, %v, want 2", flush.name, media, rest, err)
			}
			resp.Body.Close()
			s.Close()
		}
	}
	w := httptest.NewRecorder()
	NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(rec http.ResponseWriter, _ *http.Request) {
		io.WriteString(rec, "1")
		if err := http.NewResponseController(rec).Flush(); err != nil || w.Flushed || w.Body.Len() > 0 {
			t.Errorf("Flush of text = %v and sent %q, want nothing before it is kept", err, w.Body)
		}
	}), HandlerConfig{Tenant: OneTenant}).ServeHTTP(w, keyedRequest("k", ""))
	if w.Body.String() != "1" {
		t.Errorf("answer = %q, want 1", w.Body)
	}
}

// I-17
func TestTheLimitOfAnswers(t *testing.T) {
	for _, c := range []struct {
		limit  int
		writes []string
		kept   bool
	}{
		{3, []string{"abc"}, true}, {3, []string{"a", "bc"}, true}, {3, []string{"a", "b", "c", ""}, true},
		{3, []string{"abcd"}, false}, {3, []string{"abc", "d"}, false}, {3, []string{"a", "bcde", "f"}, false},
	} {
		h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for _, s := range c.writes {
				if n, err := io.WriteString(w, s); n != len(s) || err != nil {
					t.Errorf("Write(%q) = %d, %v, want all of it", s, n, err)
				}
			}
		}), HandlerConfig{Tenant: OneTenant, MaxAnswer: c.limit})
		want := strings.Join(c.writes, "")
		if w := post(h, "k", ""); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%q with a limit of %d = %d %q, want 200 and all of it", c.writes, c.limit, w.Code, w.Body)
		}
		again := post(h, "k", "")
		if kept := again.Body.String() == want; kept != c.kept || !kept && !errors.Is(ResponseError(again.Result()), ErrNotKept) {
			t.Errorf("%q with a limit of %d again = %d %q, want it kept: %v", c.writes, c.limit, again.Code, again.Body, c.kept)
		}
	}
}

// The first caller sees by the length that something is missing. A replay, which
// has the length of what there is, would hide it.
func TestAnAnswerThatIsTooShortIsNotKept(t *testing.T) {
	s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		io.WriteString(w, "abc")
	}), HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	resp, err := s.Client().Do(keyed(t, s, "k", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err != io.ErrUnexpectedEOF {
		t.Errorf("reading 3 bytes of 4 = %v, want %v", err, io.ErrUnexpectedEOF)
	}
	resp.Body.Close()
	resp, err = s.Client().Do(keyed(t, s, "k", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := ResponseError(resp); !errors.Is(err, ErrNotKept) {
		t.Errorf("the next answer = %v, want %v", err, ErrNotKept)
	}
	resp.Body.Close()
}

// I-17: what is not of the answer passes through.
func TestTheConnectionsDeadlinesCanBeSet(t *testing.T) {
	s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		if err := errors.Join(c.SetReadDeadline(time.Now().Add(time.Hour)), c.SetWriteDeadline(time.Now().Add(time.Hour))); err != nil {
			t.Errorf("setting deadlines = %v, want nil", err)
		}
	}), HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	resp, err := s.Client().Do(keyed(t, s, "k", ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestAWriterWithoutFlushAndHijackSaysSo(t *testing.T) {
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Hijack = %v, want %v", err, http.ErrNotSupported)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("Flush = %v, want %v", err, http.ErrNotSupported)
		}
	}), HandlerConfig{Tenant: OneTenant})
	h.ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, keyedRequest("k", ""))
}
