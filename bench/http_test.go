package bench

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	failsafetimeout "github.com/failsafe-go/failsafe-go/timeout"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/timeout"
)

// limits are the time for a call and for each of its attempts.
type limits struct{ call, attempt time.Duration }

var usual = limits{call: callLimit, attempt: 500 * time.Millisecond}

// An httpStack is a client made with one library, for which base sends the
// requests.
type httpStack struct {
	library string
	client  func(base http.RoundTripper, l limits) *http.Client
}

var httpStacks = []httpStack{
	{"bare", func(base http.RoundTripper, _ limits) *http.Client { return &http.Client{Transport: base} }},
	{"http.Client.Timeout", func(base http.RoundTripper, l limits) *http.Client {
		return &http.Client{Transport: base, Timeout: l.call}
	}},
	{"backstay", backstayClient},
	{"failsafehttp", failsafeClient},
	{"go-retryablehttp", retryableClient},
}

func backstayClient(base http.RoundTripper, l limits) *http.Client {
	policy := backstay.New(timeout.Call(l.call), ourRetry(), ourBreaker(), timeout.Attempt(l.attempt))
	return &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{Base: base})}
}

func failsafeClient(base http.RoundTripper, l limits) *http.Client {
	// Unless told, its breaker takes every response for a success.
	failed := func(resp *http.Response, err error) bool { return err != nil || resp.StatusCode >= 500 }
	return &http.Client{Transport: failsafehttp.NewRoundTripper(base,
		failsafetimeout.New[*http.Response](l.call),
		failsafehttp.NewRetryPolicyBuilder().WithMaxAttempts(attempts).WithBackoff(firstPause, maxPause).Build(),
		circuitbreaker.NewBuilder[*http.Response]().HandleIf(failed).WithFailureRateThreshold(rate, minCalls, window).Build(),
		failsafetimeout.New[*http.Response](l.attempt),
	)}
}

// retryableClient has no breaker: go-retryablehttp has none.
func retryableClient(base http.RoundTripper, l limits) *http.Client {
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = attempts-1, firstPause, maxPause
	c.HTTPClient = &http.Client{Transport: base, Timeout: l.attempt}
	client := c.StandardClient()
	client.Timeout = l.call
	return client
}

// newBase returns a transport of a test's own.
func newBase(tb testing.TB) *http.Transport {
	base := &http.Transport{MaxIdleConnsPerHost: 100}
	tb.Cleanup(base.CloseIdleConnections)
	return base
}

// serve starts a server on loopback and returns its URL.
func serve(tb testing.TB, h http.HandlerFunc) string {
	srv := httptest.NewServer(h)
	tb.Cleanup(func() {
		srv.CloseClientConnections() // those that a peer has not given back too
		srv.Close()
	})
	return srv.URL
}

// fetch makes a request and returns the status and the body.
func fetch(ctx context.Context, c *http.Client, method, url string, body io.Reader) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

const hello = "hello"

func greet(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, hello) }

func BenchmarkHTTP(b *testing.B) {
	url := serve(b, greet)
	for _, s := range httpStacks {
		b.Run(s.library, func(b *testing.B) {
			client := s.client(newBase(b), usual)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := fetch(b.Context(), client, http.MethodGet, url, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHTTPParallel(b *testing.B) {
	url := serve(b, greet)
	for _, s := range httpStacks {
		b.Run(s.library, func(b *testing.B) {
			client := s.client(newBase(b), usual)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, _, err := fetch(b.Context(), client, http.MethodGet, url, nil); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
