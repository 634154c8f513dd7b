package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// TestPeers keeps the benchmarks honest: each stack makes its call, or turns it
// away where that is what is measured.
func TestPeers(t *testing.T) {
	leak.Check(t)
	for _, s := range funcStacks() {
		n, err := s.call(t.Context(), 7)
		if s.rejects && err == nil {
			t.Errorf("%s/%s: call(7) = %d, nil, want an error", s.what, s.library, n)
		}
		if !s.rejects && (n != 7 || err != nil) {
			t.Errorf("%s/%s: call(7) = %d, %v, want 7, nil", s.what, s.library, n, err)
		}
	}
	server := serve(t, greet)
	for _, s := range httpStacks {
		status, body, err := fetch(t.Context(), s.client(newBase(t), usual), http.MethodGet, server, nil)
		if status != http.StatusOK || body != hello || err != nil {
			t.Errorf("%s: GET = %d, %q, %v, want 200, %q, nil", s.library, status, body, err, hello)
		}
	}
}

// TestRetries shows that the stacks that are said to retry do, each as often: one
// that does not would be cheap.
func TestRetries(t *testing.T) {
	for library, stack := range map[string]func(function) function{
		"backstay": whole, "failsafe": failsafeWhole, "backoff+gobreaker": byHand, "backoff": backedOff, "retry-go": retryGo,
	} {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			calls := 0
			call := stack(func(_ context.Context, n int) (int, error) {
				if calls++; calls < attempts {
					return 0, errors.New("busy")
				}
				return n, nil
			})
			if n, err := call(t.Context(), 7); n != 7 || err != nil || calls != attempts {
				t.Errorf("call(7) = %d, %v after %d attempts, want 7, nil after %d", n, err, calls, attempts)
			}
		})
	}
}

// A seam is a place where two parts of a stack meet and the libraries differ.
type seam struct {
	what string
	want string // of backstay; what the others do is told
	look func(t *testing.T, s httpStack) string
}

var seams = []seam{
	{"a POST without a key, answered 503: how often it arrives", "1", func(t *testing.T, s httpStack) string {
		return arrivals(t, s, busy(80))
	}},
	{"a POST without a key, whose answer is lost: how often it arrives", "1", func(t *testing.T, s httpStack) string {
		return arrivals(t, s, hangUp)
	}},
	{"a GET that is always answered 503: what the caller gets", "the 503 and its body", func(t *testing.T, s httpStack) string {
		status, body, err := fetch(t.Context(), s.client(newBase(t), usual), http.MethodGet, serve(t, busy(80)), nil)
		return result(status, body, err)
	}},
	{"a 503 with Retry-After: 10, 1 s before the deadline: what the caller gets", "the 503 and its body", retryAfter},
	{"15 GETs, of which 10 get a 503 with 80 bytes: how many connections", "1", func(t *testing.T, s httpStack) string {
		return connections(t, s, busy(80))
	}},
	{"15 GETs, of which 10 get a 503 with 8000 bytes: how many connections", "1", func(t *testing.T, s httpStack) string {
		return connections(t, s, busy(8000))
	}},
	{"a body slower than an attempt may be: what is read", "all", func(t *testing.T, s httpStack) string {
		return slowBody(t, s, limits{call: 10 * time.Second, attempt: 600 * time.Millisecond})
	}},
	{"a body slower than the call may be: what is read", "up to the limit", func(t *testing.T, s httpStack) string {
		return slowBody(t, s, limits{call: 600 * time.Millisecond, attempt: 500 * time.Millisecond})
	}},
}

// TestSeams tells what each library does at the seams; go test -v shows it. It
// fails only if backstay does not keep its own promises.
func TestSeams(t *testing.T) {
	leak.Check(t)
	for _, seam := range seams {
		t.Run(seam.what, func(t *testing.T) {
			t.Parallel()
			got := make([]string, len(httpStacks))
			took := make([]time.Duration, len(httpStacks))
			var wg sync.WaitGroup
			for i, s := range httpStacks {
				wg.Go(func() {
					begun := time.Now()
					got[i] = seam.look(t, s)
					took[i] = time.Since(begun)
				})
			}
			wg.Wait()
			for i, s := range httpStacks {
				t.Logf("%-20s %s (%d ms)", s.library, got[i], took[i].Milliseconds())
				if s.library == "backstay" && got[i] != seam.want {
					t.Errorf("%s: %s, want %s", seam.what, got[i], seam.want)
				}
			}
		})
	}
}

// TestCallersWhoGiveUp tells whether a breaker takes them for a sick callee.
func TestCallersWhoGiveUp(t *testing.T) {
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(ctx context.Context, n int) (int, error) { return n, ctx.Err() }
	for _, row := range []struct {
		library string
		call    function
	}{
		{"backstay", wrap(ask, ourBreaker())},
		{"failsafe", failsafed(ask, failsafeBreaker())},
		{"gobreaker", broken(ask, bareBreaker())},
	} {
		for range 2 * minCalls {
			_, _ = row.call(gaveUp, 1)
		}
		_, err := row.call(t.Context(), 1)
		t.Logf("%-20s after %d callers gave up, the next call: %v", row.library, 2*minCalls, err)
		if row.library == "backstay" && err != nil {
			t.Errorf("after %d callers gave up, call(1) = %v, want nil", 2*minCalls, err)
		}
	}
}

// arrivals counts how often a POST arrives that h answers.
func arrivals(t *testing.T, s httpStack, h http.HandlerFunc) string {
	var n atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	})
	_, _, _ = fetch(t.Context(), s.client(newBase(t), usual), http.MethodPost, server, strings.NewReader("pay"))
	return fmt.Sprint(n.Load())
}

// connections counts those used by 5 calls of 3 attempts, of which fail answers
// the first 2. Each call has a client of its own, or the breakers would open;
// the clients share base.
func connections(t *testing.T, s httpStack, fail http.HandlerFunc) string {
	var mu sync.Mutex
	used, arrived := map[string]bool{}, 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		used[r.RemoteAddr] = true
		arrived++
		last := arrived%attempts == 0
		mu.Unlock()
		if last {
			greet(w, r)
			return
		}
		fail(w, r)
	})
	base := newBase(t)
	for range 5 {
		client := s.client(base, usual)
		for range attempts { // by hand where the client does not retry
			if status, _, err := fetch(t.Context(), client, http.MethodGet, server, nil); err == nil && status == http.StatusOK {
				break
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if arrived != 5*attempts {
		return fmt.Sprintf("%d for %d requests", len(used), arrived)
	}
	return fmt.Sprint(len(used))
}

// retryAfter has the server ask for more time than the caller has.
func retryAfter(t *testing.T, s httpStack) string {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "10")
		busy(80)(w, r)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	status, body, err := fetch(ctx, s.client(newBase(t), usual), http.MethodGet, server, nil)
	return result(status, body, err)
}

// slowBody has the second half of a body follow the first after 1.5 s.
func slowBody(t *testing.T, s httpStack, l limits) string {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, hello)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(1500 * time.Millisecond):
			_, _ = io.WriteString(w, hello)
		case <-r.Context().Done():
		}
	})
	_, body, err := fetch(t.Context(), s.client(newBase(t), l), http.MethodGet, server, nil)
	switch {
	case err == nil && body == hello+hello:
		return "all"
	case body == hello && errors.Is(err, context.DeadlineExceeded):
		return "up to the limit"
	}
	return fmt.Sprintf("%q, %v", body, err)
}

// busy answers 503 with so many bytes.
func busy(size int) http.HandlerFunc {
	body := strings.Repeat(reason, size/len(reason))
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, body)
	}
}

const reason = "no time."

// hangUp loses the answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

// result puts what a caller got for a 503 into words.
func result(status int, body string, err error) string {
	switch {
	case err != nil:
		return kind(err)
	case status == http.StatusServiceUnavailable && strings.HasPrefix(body, reason):
		return "the 503 and its body"
	}
	return fmt.Sprintf("%d and %d bytes", status, len(body))
}

func kind(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "error: deadline exceeded"
	}
	return fmt.Sprintf("error: %.60s", err.Error())
}
