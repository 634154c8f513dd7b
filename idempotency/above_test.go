package idempotency

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// postTo sends a request with the key to the server.
func postTo(t *testing.T, server *httptest.Server, key string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL, strings.NewReader("100"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", quote(key))
	resp, err := server.Client().Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

type zipping struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (z zipping) Write(p []byte) (int, error) { return z.to.Write(p) }

// Handlers that compress say so before they know what will be written.
func TestWhatIsCompressedAboveCanBeRead(t *testing.T) {
	once := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("paid ", 1000))
	}), HandlerConfig{Tenant: OneTenant})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		once.ServeHTTP(zipping{w, z}, r)
	}))
	defer server.Close()
	for _, c := range []struct{ key, want string }{
		{"k", "paid "}, {"k", "paid "}, {"", `{"type":`},
	} {
		resp, body, err := postTo(t, server, c.key)
		if err != nil || !strings.HasPrefix(body, c.want) {
			t.Errorf("answer = %v %.20q, %v, want %q", resp, body, err, c.want)
		}
	}
}

func TestAGuardTwiceOnTheWayDoesNoHarm(t *testing.T) {
	ran := 0
	g := NewGuard(GuardConfig{})
	h := g.Handler(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran++
		_, _ = io.WriteString(w, "paid")
	}), HandlerConfig{Tenant: OneTenant}), HandlerConfig{Tenant: OneTenant})
	for range 2 {
		if w := post(h, "k", ""); w.Code != 200 || w.Body.String() != "paid" {
			t.Errorf("answer = %d %q, want 200 paid", w.Code, w.Body)
		}
	}
	if ran != 1 {
		t.Errorf("the handler ran %d times, want 1", ran)
	}
}
