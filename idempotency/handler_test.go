package idempotency

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// post sends a request with the key, unless it is "", and the body.
func post(h http.Handler, key, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/transfers", strings.NewReader(body))
	if key != "" {
		r.Header.Set("Idempotency-Key", quote(key))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// I-3
func TestTheWorkOfAKeyIsDoneOnceAndItsAnswerRepeated(t *testing.T) {
	done := 0
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done++
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Location", "/transfers/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%d: %s", done, body)
	}), HandlerConfig{Tenant: OneTenant})
	for i := range 3 {
		w := post(h, "k", "100")
		if w.Code != 201 || w.Body.String() != "1: 100" || w.Header().Get("Location") != "/transfers/1" {
			t.Errorf("attempt %d = %d %q %v, want the answer of the first", i+1, w.Code, w.Body, w.Header())
		}
		if replayed := w.Header().Get("Idempotent-Replayed") == "true"; replayed != (i > 0) {
			t.Errorf("attempt %d is a replay: %v, want %v", i+1, replayed, i > 0)
		}
	}
	if done != 1 {
		t.Errorf("the work was done %d times, want 1", done)
	}
	if w := post(h, "k", "200"); w.Code != 422 {
		t.Errorf("another body = %d %q, want 422", w.Code, w.Body)
	}
	if w := post(h, "", "100"); w.Code != 400 {
		t.Errorf("no key = %d %q, want 400", w.Code, w.Body)
	}
}

func TestATimeoutHandlerBelowIsRefused(t *testing.T) {
	defer func() {
		if said, _ := recover().(string); !strings.Contains(said, "put it above") {
			t.Errorf("Handler(http.TimeoutHandler) panicked with %q, want where to put it", said)
		}
	}()
	NewGuard(GuardConfig{}).Handler(http.TimeoutHandler(http.NotFoundHandler(), time.Second, ""), HandlerConfig{Tenant: OneTenant})
}
