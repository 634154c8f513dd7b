package idempotency

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
