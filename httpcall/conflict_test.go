package httpcall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/problem"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// Problems of 409 responses.
const (
	drafts         = `{"type":"https://developer.example.com/idempotency","title":"A request is outstanding for this Idempotency-Key"}`
	oursInProgress = `{"type":"` + problem.Keys + `ErrInProgress","title":"A request is outstanding"}`
	unknown        = `{"type":"` + problem.OutcomeUnknown + `","title":"Idempotency"}`
	notKept        = `{"type":"` + problem.NotKept + `","title":"Idempotency"}`
	another        = `{"type":"about:blank","title":"Conflict","detail":"idempotency"}`
)

// conflictWith answers 409 with a body.
func conflictWith(contentType, body string, headers ...string) step {
	head := fmt.Sprintf("HTTP/1.1 409 Conflict\r\nContent-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	for _, h := range headers {
		head += h + "\r\n"
	}
	return func(s *script, c *exchange) bool {
		if c.Method == http.MethodHead {
			return raw(head+"\r\n")(s, c)
		}
		return raw(head+"\r\n"+body)(s, c)
	}
}

// H-11, I-9
func TestConflictOverAKeyIsRetriedIfInProgress(t *testing.T) {
	all := httpcall.Config{RetryConflict: true, RetryAfterOn: []int{409}, RetryHeader: "Should-Retry"}
	for _, row := range []struct {
		name, body string
		headers    []string
		config     httpcall.Config
		retried    bool
		class      backstay.Class
	}{
		{"the draft's", drafts, nil, httpcall.Config{}, true, backstay.Pending},
		{"ours", oursInProgress, nil, httpcall.Config{}, true, backstay.Pending},
		{"ours with the option", oursInProgress, nil, all, true, backstay.Pending},
		{"ours with a veto", oursInProgress, []string{"No-Retry: 1"}, httpcall.Config{NoRetryHeader: "No-Retry"}, false, backstay.Permanent},
		{"ours, which Classify calls a success", oursInProgress, nil, httpcall.Config{Classify: always(backstay.Success), RetryConflict: true}, false, backstay.Success},
		{"unknown outcome", unknown, nil, httpcall.Config{}, false, backstay.Success},
		{"unknown outcome with all options", unknown, []string{"Retry-After: 0", "Should-Retry: true"}, all, false, backstay.Success},
		{"unknown outcome, which Classify calls transient", unknown, nil, httpcall.Config{Classify: always(backstay.Transient)}, true, backstay.Transient},
		{"answer not kept", notKept, nil, httpcall.Config{}, false, backstay.Success},
		{"answer not kept with all options", notKept, []string{"Retry-After: 0", "Should-Retry: true"}, all, false, backstay.Success},
		{"another problem", another, nil, httpcall.Config{}, false, backstay.Success},
		{"another problem with the option", another, nil, all, true, backstay.Pending},
		{"no problem", "", nil, httpcall.Config{}, false, backstay.Success},
		{"no problem with the option", "", nil, all, true, backstay.Pending},
	} {
		s := serve(t, conflictWith(problem.MediaType, row.body, row.headers...))
		row.config.Base = base(t)
		var last spy
		rt := httpcall.NewTransport(backstay.New(attempts(3), &last), row.config)
		req := request(t, http.MethodPost, s.url(), "text")
		req.Header.Set("Idempotency-Key", `"k1"`)
		resp, err := rt.RoundTrip(req)
		if got := answer(t, resp, err); got != "409 "+row.body {
			t.Errorf("%s: RoundTrip() = %s, want the 409 as it was", row.name, got)
		}
		want := 1
		if row.retried {
			want = 3
		}
		if got := len(s.arrived()); got != want {
			t.Errorf("%s: %d requests arrived at a 409, want %d", row.name, got, want)
		}
		if got := backstay.Classify(last.err); got != row.class {
			t.Errorf("%s: the class is %v, want %v", row.name, got, row.class)
		}
	}
}

// H-11: whatever its body says.
func TestConflictWithoutAKeyIsNotRetried(t *testing.T) {
	for _, k := range kinds {
		s := serve(t, conflictWith(problem.MediaType, oursInProgress))
		resp, err := over(t, attempts(3)).RoundTrip(k.request(t, s.url(), ""))
		answer(t, resp, err)
		want := 1
		if k.key != "" && k.method != http.MethodConnect {
			want = 3
		}
		if got := len(s.arrived()); got != want {
			t.Errorf("%v: %d requests arrived at a 409, want %d", k, got, want)
		}
	}
}

// H-23: a body is the caller's to read, but for that of a problem with a key.
func TestOnlyAProblemWithTheKeyIsReadAhead(t *testing.T) {
	for _, row := range []struct {
		name        string
		key         string
		status      int
		contentType string
		config      httpcall.Config
		read        bool
	}{
		{"a conflict", "k1", 409, problem.MediaType, httpcall.Config{}, true},
		{"a conflict with the option", "k1", 409, problem.MediaType, httpcall.Config{RetryConflict: true}, true},
		{"no key", "", 409, problem.MediaType, httpcall.Config{RetryConflict: true}, false},
		{"no problem", "k1", 409, "application/json", httpcall.Config{}, false},
		{"another status", "k1", 422, problem.MediaType, httpcall.Config{RetryConflict: true}, false},
		{"success", "k1", 200, problem.MediaType, httpcall.Config{RetryConflict: true}, false},
		{"Classify", "k1", 409, problem.MediaType, httpcall.Config{Classify: always(backstay.Success)}, false},
	} {
		spied := &readSpy{RoundTripper: base(t)}
		s := serve(t, raw(fmt.Sprintf("HTTP/1.1 %d Some\r\nContent-Type: %s\r\nContent-Length: 2\r\n\r\n{}", row.status, row.contentType)))
		row.config.Base = spied
		req := request(t, http.MethodPost, s.url(), "text")
		if row.key != "" {
			req.Header.Set("Idempotency-Key", row.key)
		}
		resp, err := httpcall.NewTransport(backstay.New(attempts(3)), row.config).RoundTrip(req)
		if got := spied.reads.Load() > 0; got != row.read {
			t.Errorf("%s: the body was read from before the caller had it: %v, want %v", row.name, got, row.read)
		}
		if got, want := answer(t, resp, err), fmt.Sprint(row.status, " {}"); got != want {
			t.Errorf("%s: RoundTrip() = %s, want %s", row.name, got, want)
		}
	}
}

// I-9: the obvious code on both sides. The first answer is lost while the server
// is still at work, which tells the second attempt to wait and the third what
// came of it.
func TestAnAnswerThatWasLostIsFetchedWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paid := 0
		pay := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(1200 * time.Millisecond)
			paid++
			io.WriteString(w, "paid")
		})
		guarded := idempotency.NewGuard(idempotency.GuardConfig{}).Handler(pay, idempotency.HandlerConfig{Tenant: idempotency.OneTenant})
		var mu sync.Mutex
		var said []int
		keys := map[string]int{}
		m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := &statusSpy{ResponseWriter: w}
			guarded.ServeHTTP(s, r)
			mu.Lock()
			defer mu.Unlock()
			said = append(said, s.status)
			keys[r.Header.Get("Idempotency-Key")]++
		}), "orders.example:80")
		rt := m.transport(t, httpcall.Config{},
			idempotency.Keys(idempotency.KeysConfig{}),
			retry.New(retry.Config{}),
			timeout.Attempt(500*time.Millisecond),
		)
		resp, err := rt.RoundTrip(request(t, http.MethodPost, "http://orders.example/", "text"))
		if got := answer(t, resp, err); got != "200 paid" || paid != 1 {
			t.Errorf("RoundTrip() = %s after paying %d times, want 200 paid after 1", got, paid)
		}
		mu.Lock()
		defer mu.Unlock()
		if want := "[409 200 200]"; fmt.Sprint(said) != want { // the first attempt's answer comes after the second's
			t.Errorf("the server answered %v, want %s", said, want)
		}
		if len(keys) != 1 || keys[""] != 0 {
			t.Errorf("the attempts had the keys %v, want 3 of one key", keys)
		}
	})
}

// A statusSpy keeps the status of an answer.
type statusSpy struct {
	http.ResponseWriter
	status int
}

func (s *statusSpy) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// I-9
func TestACallInProgressIsAskedAgainAfterThePauseThatTheServerWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests++; requests == 3 {
				return
			}
			w.Header().Set("Content-Type", problem.MediaType)
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, drafts)
		}), "orders.example:80")
		rt := m.transport(t, httpcall.Config{}, idempotency.Keys(idempotency.KeysConfig{Format: idempotency.PayPal}), retry.New(retry.Config{}))
		start := time.Now()
		resp, err := rt.RoundTrip(request(t, http.MethodPost, "http://orders.example/", "text"))
		if got := answer(t, resp, err); got != "200 " || requests != 3 {
			t.Errorf("RoundTrip() = %s after %d requests, want 200 after 3", got, requests)
		}
		if took := time.Since(start); took < 14*time.Second || took > 15*time.Second {
			t.Errorf("RoundTrip() took %v, want the 2 pauses of 7s", took)
		}
	})
}

// The bubble also checks that nothing is left of it.
func TestAConflictWhoseBodyHangsEndsWithItsLimit(t *testing.T) {
	type want struct {
		answer   string
		err      error
		requests int32
		took     time.Duration
	}
	for _, row := range []struct {
		name   string
		stack  []backstay.Middleware
		idle   time.Duration
		caller time.Duration // 0 means no limit
		want   want
	}{
		{"of the attempt", []backstay.Middleware{attempts(2), timeout.Attempt(time.Second)}, 0, 0, want{"200 ok", nil, 2, time.Second}},
		{"of the whole attempt", []backstay.Middleware{attempts(2), timeout.WholeAttempt(time.Second)}, 0, 0, want{`409 {"type":`, context.DeadlineExceeded, 1, time.Second}},
		{"of the call", []backstay.Middleware{timeout.Call(time.Second), attempts(2)}, 0, 0, want{`409 {"type":`, context.DeadlineExceeded, 1, time.Second}},
		{"of the body", []backstay.Middleware{attempts(2)}, time.Second, 0, want{`409 {"type":`, context.DeadlineExceeded, 1, time.Second}},
		{"of the caller", []backstay.Middleware{attempts(2)}, 0, time.Second, want{`409 {"type":`, context.DeadlineExceeded, 1, time.Second}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 2 {
						io.WriteString(w, "ok")
						return
					}
					w.Header().Set("Content-Type", problem.MediaType)
					w.WriteHeader(http.StatusConflict)
					io.WriteString(w, `{"type":`)
					w.(http.Flusher).Flush()
					io.Copy(io.Discard, r.Body) // or net/http does not see that the client goes
					<-r.Context().Done()
				}), "orders.example:80")
				rt := m.transport(t, httpcall.Config{BodyIdle: row.idle}, row.stack...)
				req := request(t, http.MethodPost, "http://orders.example/", "text")
				req.Header.Set("Idempotency-Key", `"k1"`)
				if row.caller > 0 {
					ctx, cancel := context.WithTimeout(req.Context(), row.caller)
					defer cancel()
					req = req.WithContext(ctx)
				}
				start := time.Now()
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatalf("RoundTrip() = %v, want a response", err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				got := want{fmt.Sprintf("%d %s", resp.StatusCode, body), nil, requests.Load(), time.Since(start)}
				if got.answer != row.want.answer || !errors.Is(err, row.want.err) || got.requests != row.want.requests || got.took != row.want.took {
					t.Errorf("RoundTrip() = %q, %v after %d requests and %v, want %+v", got.answer, err, got.requests, got.took, row.want)
				}
			})
		})
	}
}

func TestAConflictWhoseBodyBreaksIsLeftAsItWas(t *testing.T) {
	for _, option := range []bool{false, true} {
		s := serve(t, then(raw("HTTP/1.1 409 Conflict\r\nContent-Type: "+problem.MediaType+"\r\nContent-Length: 100\r\n\r\n"+`{"title":`), hangUp))
		rt := httpcall.NewTransport(backstay.New(attempts(2)), httpcall.Config{Base: base(t), RetryConflict: option})
		req := request(t, http.MethodPost, s.url(), "text")
		req.Header.Set("Idempotency-Key", `"k1"`)
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if option {
			want = 2
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != `{"title":` || !errors.Is(err, io.ErrUnexpectedEOF) || len(s.arrived()) != want {
			t.Errorf("RetryConflict %v: the body is %q, %v after %d requests, want what came and the error after %d", option, body, err, len(s.arrived()), want)
		}
	}
}
