package idempotency_test

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// once returns work under a guard of its own.
func once(work http.Handler) http.Handler {
	return idempotency.NewGuard(idempotency.GuardConfig{}).Handler(work, idempotency.HandlerConfig{Tenant: idempotency.OneTenant})
}

// clientOver returns a client with keys and retries.
func clientOver(base http.RoundTripper) *http.Client {
	p := backstay.New(idempotency.Keys(idempotency.KeysConfig{}), retry.New(retry.Config{MaxAttempts: 6}))
	return &http.Client{Transport: httpcall.NewTransport(p, httpcall.Config{Base: base})}
}

// send posts the body, and returns the status and the body of the answer.
func send(ctx context.Context, client *http.Client, url, body string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// pipes are a network in which time is virtual.
type pipes chan net.Conn

func (p pipes) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.IPAddr{} }

// zipped compresses as many handlers do: it says so before it knows what will be
// written.
func zipped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		next.ServeHTTP(zippedWriter{w, z}, r)
	})
}

type zippedWriter struct {
	http.ResponseWriter
	to *gzip.Writer
}

func (z zippedWriter) Write(p []byte) (int, error) { return z.to.Write(p) }

// I-9: that the work is in progress can be read through a handler above that
// compresses, so that the client comes back for what it came to.
func TestACompressedAnswerThatWorkIsInProgressIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran, asked := 0, 0
		guarded := once(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ran++
			<-time.After(1500 * time.Millisecond)
			_, _ = io.WriteString(w, "paid")
		}))
		network := make(pipes)
		server := &http.Server{Handler: zipped(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if w.Header().Get("Content-Encoding") == "gzip" {
				asked++
			}
			guarded.ServeHTTP(w, r)
		}))}
		go func() { _ = server.Serve(network) }()
		defer server.Close()
		base := &http.Transport{DialContext: network.DialContext}
		defer base.CloseIdleConnections()
		client := clientOver(base)

		ctx := idempotency.WithKey(t.Context(), "k")
		first := make(chan string)
		go func() {
			_, body, _ := send(ctx, client, "http://bank.example/", "100")
			first <- body
		}()
		synctest.Wait() // for the work to begin
		status, body, err := send(ctx, client, "http://bank.example/", "100")
		if status != 200 || body != "paid" || err != nil {
			t.Errorf("POST while the work is in progress = %d %q, %v, want 200 paid", status, body, err)
		}
		if body := <-first; body != "paid" {
			t.Errorf("the first POST = %q, want paid", body)
		}
		if ran != 1 || asked < 3 {
			t.Errorf("the handler ran %d times for %d requests that were answered compressed, want once for 3 or more", ran, asked)
		}
	})
}

// I-7: the redirect of a mux below is not kept, so that a client which follows it
// with the same key has the work done, once.
func TestTheRedirectOfAMuxBelowIsFollowedAndTheWorkDoneOnce(t *testing.T) {
	leak.Check(t)
	for name, ctx := range map[string]context.Context{
		"WithKey":    idempotency.WithKey(t.Context(), "k"),
		"NewContext": idempotency.NewContext(t.Context()),
	} {
		ran := 0
		mux := http.NewServeMux()
		mux.HandleFunc("POST /transfers/", func(w http.ResponseWriter, _ *http.Request) {
			ran++
			w.WriteHeader(http.StatusCreated)
		})
		var got []string // path and key
		guarded := once(mux)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = append(got, r.URL.Path+" "+r.Header.Get("Idempotency-Key"))
			guarded.ServeHTTP(w, r)
		}))
		client := clientOver(server.Client().Transport)
		for _, path := range []string{"/transfers", "/transfers/"} {
			status, body, err := send(ctx, client, server.URL+path, "100")
			if status != 201 || err != nil {
				t.Errorf("%s: POST %s = %d %q, %v, want 201", name, path, status, body, err)
			}
		}
		server.Close()
		_, key, _ := strings.Cut(got[0], " ")
		want := []string{"/transfers " + key, "/transfers/ " + key, "/transfers/ " + key}
		if !slices.Equal(got, want) || key == "" || ran != 1 {
			t.Errorf("%s: the server got %q, and the handler ran %d times, want %q, once", name, got, ran, want)
		}
	}
}
