package idempotency

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
)

// I-3, I-15
func TestWhichStatusesAreKept(t *testing.T) {
	released := []int{307, 308, 401, 403, 408, 409, 421, 425, 429, 502, 503, 504}
	for _, c := range []struct {
		name     string
		store    Store
		release  func(int) bool
		released func(status int) bool
	}{
		{"by default", nil, nil, func(s int) bool { return slices.Contains(released, s) }},
		{"with Release", nil, func(s int) bool { return s == 500 }, func(s int) bool { return s == 500 }},
		{"with a Transactor", &transactor{Memory: NewMemory(MemoryConfig{})}, nil, func(s int) bool { return s >= 500 || slices.Contains(released, s) }},
		{"with a Transactor and Release", &transactor{Memory: NewMemory(MemoryConfig{})}, func(s int) bool { return s == 404 }, func(s int) bool { return s == 404 }},
	} {
		ran, status := 0, 0
		h := NewGuard(GuardConfig{Store: c.store}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ran++
			w.WriteHeader(status)
			if hasBody(status) {
				fmt.Fprintf(w, "%d", ran)
			}
		}), HandlerConfig{Tenant: OneTenant, Release: c.release})
		for status = 200; status < 1000; status++ {
			ran = 0
			first, second := post(h, fmt.Sprint(status), ""), post(h, fmt.Sprint(status), "")
			want := 1
			if c.released(status) {
				want = 2
			}
			if first.Code != status || second.Code != status || ran != want {
				t.Errorf("%s: status %d twice = %d, %d, and ran %d times, want %d", c.name, status, first.Code, second.Code, ran, want)
			}
			if replayed := second.Header().Get("Idempotent-Replayed") == "true"; replayed != (want == 1) {
				t.Errorf("%s: the second answer with %d is a replay: %v, want %v", c.name, status, replayed, want == 1)
			}
		}
	}
}

// A transactor has transactions without effect, and counts how they end. A
// commit fails with err, if it is not nil.
type transactor struct {
	*Memory
	err                  error
	commits, rolledBacks int
}

func (m *transactor) Begin(ctx context.Context, c Claim) (context.Context, Tx) { return ctx, &tx{m, c} }

type tx struct {
	m *transactor
	c Claim
}

func (x *tx) Complete(ctx context.Context, record []byte) error {
	if x.m.err != nil {
		return x.m.err
	}
	x.m.commits++
	return x.m.Memory.Complete(ctx, x.c, record)
}

func (x *tx) Rollback() error {
	x.m.rolledBacks++
	return nil
}

// I-15: what an answer of the status says was not done is undone, and the answer
// is kept if another attempt would get it again.
func TestWhatIsNotDoneIsRolledBack(t *testing.T) {
	for _, c := range []struct {
		status  int
		commits bool
		kept    bool
	}{{200, true, true}, {303, true, true}, {400, false, true}, {404, false, true}, {422, false, true}, {409, false, false}, {500, false, false}, {503, false, false}} {
		store := &transactor{Memory: NewMemory(MemoryConfig{})}
		h := NewGuard(GuardConfig{Store: store}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
		}), HandlerConfig{Tenant: OneTenant})
		post(h, "k", "")
		if commits := store.commits == 1; commits != c.commits || (store.rolledBacks > 0) == c.commits || (store.Len() == 1) != c.kept {
			t.Errorf("status %d: %d commits, %d rollbacks, %d keys, want a commit: %v, kept: %v", c.status, store.commits, store.rolledBacks, store.Len(), c.commits, c.kept)
		}
	}
}

// What a caller has seen the beginning of did not come about: a broken
// connection says so.
func TestAStreamWhoseTransactionFailsIsBrokenOff(t *testing.T) {
	store := &transactor{Memory: NewMemory(MemoryConfig{}), err: errors.New("down")}
	h := NewGuard(GuardConfig{Store: store}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: done")
		w.(http.Flusher).Flush()
	}), HandlerConfig{Tenant: OneTenant})
	if got := recovered(func() { post(h, "k", "") }); got != http.ErrAbortHandler {
		t.Errorf("a stream whose transaction fails ends with %v, want %v", got, http.ErrAbortHandler)
	}
	if w := post(NewGuard(GuardConfig{Store: store}).Handler(transfer, HandlerConfig{Tenant: OneTenant}), "other", "100"); w.Code != 503 || !errors.Is(ResponseError(w.Result()), ErrUnavailable) {
		t.Errorf("an answer whose transaction fails = %d %q, want 503 and nothing of it", w.Code, w.Body)
	}
}

// I-15, I-16: handlers that leave it to net/http, and those that do it twice.
func TestStatusIsThatOfNetHTTP(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler func(http.ResponseWriter)
		status  int
		body    string
	}{
		{"nothing", func(http.ResponseWriter) {}, 200, ""},
		{"only a header", func(w http.ResponseWriter) { w.Header().Set("Location", "/1") }, 200, ""},
		{"an empty write", func(w http.ResponseWriter) { w.Write(nil) }, 200, ""},
		{"write before status", func(w http.ResponseWriter) { io.WriteString(w, "a"); w.WriteHeader(500) }, 200, "a"},
		{"two statuses", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(500) }, 201, ""},
		{"an invalid second status", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(0) }, 201, ""},
		{"103 first", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(201) }, 201, ""},
		{"103 alone", func(w http.ResponseWriter) { w.WriteHeader(103) }, 200, ""},
		{"100 late", func(w http.ResponseWriter) { w.WriteHeader(201); w.WriteHeader(100) }, 201, ""},
		{"204", func(w http.ResponseWriter) { w.WriteHeader(204) }, 204, ""},
		{"304", func(w http.ResponseWriter) { w.WriteHeader(304) }, 304, ""},
	} {
		h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.handler(w) }),
			HandlerConfig{Tenant: OneTenant})
		for i := range 2 {
			if w := post(h, "k", ""); w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("%s, attempt %d = %d %q, want %d %q", c.name, i+1, w.Code, w.Body, c.status, c.body)
			}
		}
	}
}

// I-15
func TestWriteFailsAsThatOfNetHTTP(t *testing.T) {
	for _, c := range []struct {
		name   string
		length string
		status int
		writes []string
		want   []error
	}{
		{"204", "", 204, []string{"a", ""}, []error{http.ErrBodyNotAllowed, nil}},
		{"304", "", 304, []string{"a"}, []error{http.ErrBodyNotAllowed}},
		{"200", "", 200, []string{"a"}, []error{nil}},
		{"more than the length", "3", 200, []string{"abc", "d"}, []error{nil, http.ErrContentLength}},
		{"more than the length at once", "3", 200, []string{"abcd"}, []error{http.ErrContentLength}},
		{"no length", "-3", 200, []string{"abcd"}, []error{nil}},
	} {
		inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.length != "" {
				w.Header().Set("Content-Length", c.length)
			}
			w.WriteHeader(c.status)
			for i, s := range c.writes {
				n, err := io.WriteString(w, s)
				if err != c.want[i] || (err == nil) != (n == len(s)) {
					t.Errorf("%s: Write %d = %d, %v, want %v", c.name, i+1, n, err, c.want[i])
				}
			}
		})
		for _, h := range []http.Handler{inner, NewGuard(GuardConfig{}).Handler(inner, HandlerConfig{Tenant: OneTenant})} {
			s := quietServer(h)
			if resp, err := s.Client().Do(keyed(t, s, "k", "")); err == nil {
				resp.Body.Close()
			}
			s.Close()
		}
	}
}

// I-15: the panic is that of the handler, and the key is in doubt or free.
func TestPanics(t *testing.T) {
	for _, value := range []any{"boom", http.ErrAbortHandler, errors.New("boom")} {
		for _, c := range []struct {
			on    OnLeaseExpiry
			again int
			ran   int
		}{{Fail, 409, 1}, {Reexecute, 200, 2}} {
			ran := 0
			h := NewGuard(GuardConfig{OnLeaseExpiry: c.on}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				ran++
				if ran == 1 {
					w.WriteHeader(201)
					panic(value)
				}
			}), HandlerConfig{Tenant: OneTenant})
			w := httptest.NewRecorder()
			got := recovered(func() { h.ServeHTTP(w, keyedRequest("k", "")) })
			if got != value || w.Body.Len() > 0 || len(w.Header()) > 0 {
				t.Errorf("panic(%v) came out as %v with the answer %v, want it unchanged and none", value, got, w)
			}
			again := post(h, "k", "")
			if again.Code != c.again || ran != c.ran {
				t.Errorf("OnLeaseExpiry %d: after panic(%v) = %d, ran %d, want %d, %d", c.on, value, again.Code, ran, c.again, c.ran)
			}
			if c.on == Fail {
				if err := ResponseError(again.Result()); !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("after panic(%v) = %v, want %v", value, err, ErrOutcomeUnknown)
				}
			}
		}
	}
}

func TestAnInvalidStatusPanicsAsThatOfNetHTTP(t *testing.T) {
	for _, status := range []int{-1, 0, 99, 1000} {
		inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		h := NewGuard(GuardConfig{}).Handler(inner, HandlerConfig{Tenant: OneTenant})
		want := recovered(func() { inner.ServeHTTP(httptest.NewRecorder(), keyedRequest("k", "")) })
		got := recovered(func() { h.ServeHTTP(httptest.NewRecorder(), keyedRequest("k", "")) })
		if got == nil || got != want {
			t.Errorf("WriteHeader(%d) panicked with %v, want %v", status, got, want)
		}
	}
}

// I-15: the server sees the panic, and the caller a broken connection.
func TestAHandlerThatDoesNotReturnBreaksTheConnection(t *testing.T) {
	for name, end := range map[string]func(){
		"panic":   func() { panic(http.ErrAbortHandler) },
		"Goexit":  runtime.Goexit,
		"neither": func() {},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			s := quietServer(NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, "half")
				end()
			}), HandlerConfig{Tenant: OneTenant}))
			defer s.Close()
			resp, err := s.Client().Do(keyed(t, s, "k", ""))
			if (err == nil) != (name == "neither") {
				t.Errorf("answer = %v, %v, want none after %s", resp, err, name)
			}
			if err == nil {
				resp.Body.Close()
				return
			}
			resp, err = s.Client().Do(keyed(t, s, "k", ""))
			if err != nil || !errors.Is(ResponseError(resp), ErrOutcomeUnknown) {
				t.Errorf("answer to the next attempt = %v, %v, want %v", resp, err, ErrOutcomeUnknown)
			}
		})
	}
}

func recovered(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return
}

// A down is a Store that nothing can be asked of, and says why with what nobody
// is to read.
type down struct{ Store }

func (down) Claim(context.Context, Claim) (Answer, error) {
	return Answer{}, errors.New("dial redis://user:password@10.0.0.1")
}

// I-20
func TestWithoutAStoreTheCallerIsAskedToComeBack(t *testing.T) {
	ran := 0
	work := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran++
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(201)
		io.WriteString(w, "done")
	})
	closed := post(NewGuard(GuardConfig{Store: down{}}).Handler(work, HandlerConfig{Tenant: OneTenant}), "k", "100")
	wantProblem(t, closed.Result(), 503, ErrUnavailable)
	if ran != 0 || closed.Header().Get("Retry-After") == "" || strings.Contains(closed.Body.String(), "redis") {
		t.Errorf("without a store, the handler ran %d times, and the answer is %v %s, want Retry-After and nothing of the store", ran, closed.Header(), closed.Body)
	}
	open := post(NewGuard(GuardConfig{Store: down{}, FailOpen: true}).Handler(work, HandlerConfig{Tenant: OneTenant}), "k", "100")
	if ran != 1 || open.Code != 201 || open.Body.String() != "done" || open.Header().Get("Set-Cookie") != "a=b" {
		t.Errorf("without a store and FailOpen = %d %v %q, ran %d, want the handler's answer", open.Code, open.Header(), open.Body, ran)
	}
}
