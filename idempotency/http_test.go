package idempotency

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/problem"
	"github.com/backstay-go/backstay/retry"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// A service is the servers of all hosts, in memory. It remembers the requests
// by host, and answers with answer.
type service struct {
	mu     sync.Mutex
	got    map[string][]http.Header
	answer func(n int, w http.ResponseWriter, req *http.Request) // n counts from 1
}

func (s *service) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if s.got == nil {
		s.got = map[string][]http.Header{}
	}
	s.got[req.URL.Host] = append(s.got[req.URL.Host], req.Header)
	n := len(s.got[req.URL.Host])
	s.mu.Unlock()
	rec := httptest.NewRecorder()
	s.answer(n, rec, req)
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// sent returns the values of the header in the requests to host.
func (s *service) sent(host, header string) []string {
	var all []string
	for _, h := range s.got[host] {
		all = append(all, strings.Join(h[header], " and "))
	}
	return all
}

// client returns a client whose requests to s go under p, made as a protocol
// adapter does it.
func client(p *backstay.Policy, s *service) *http.Client {
	do := backstay.Bind(p, backstay.Op[*http.Request, *http.Response]{
		Name: "HTTP",
		Prepare: func(call *backstay.Call, req *http.Request) {
			call.Target = req.URL.Host
			call.Unsafe = !slices.Contains([]string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}, req.Method)
		},
		Copy: func(req *http.Request) (*http.Request, error) { return req.Clone(req.Context()), nil },
		Do: func(_ context.Context, _ *backstay.Call, req *http.Request) (*http.Response, error) {
			return s.RoundTrip(req)
		},
		Check: func(resp *http.Response) error {
			if resp.StatusCode >= 500 {
				return errors.New(resp.Status)
			}
			return ResponseError(resp)
		},
		Discard: func(resp *http.Response) { resp.Body.Close() },
	})
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		return do(req.Context(), req)
	})}
}

// request returns one that the test may send again.
func request(t *testing.T, ctx context.Context, method, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("tea"))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func send(t *testing.T, c *http.Client, req *http.Request) *http.Response {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s = %v, want a response", req.Method, req.URL, err)
	}
	return resp
}

// failTwice answers 503 to the first two of every three requests.
func failTwice(n int, w http.ResponseWriter, _ *http.Request) {
	if n%3 != 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// I-1, I-5, H-8
func TestAllAttemptsOfAPostHaveOneKeyAndTheNextPostAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, method := range []string{"POST", "PATCH"} {
			s := &service{answer: failTwice}
			c := client(backstay.New(Keys(KeysConfig{}), retry.New(retry.Config{})), s)
			req := request(t, t.Context(), method, "http://shop/orders")
			for range 2 {
				if resp := send(t, c, req); resp.StatusCode != 200 {
					t.Errorf("%s = %d, want 200", method, resp.StatusCode)
				}
			}
			k := s.sent("shop", "Idempotency-Key")
			if len(k) != 6 || k[0] != k[1] || k[1] != k[2] || k[3] != k[4] || k[4] != k[5] || k[0] == k[3] {
				t.Fatalf("two calls %s sent %q, want 3 of one key and 3 of another", method, k)
			}
			if key, err := Unquote(k[0]); err != nil || !isUUID(key, "4") {
				t.Errorf("%s sent Idempotency-Key: %s, want a quoted UUID of version 4", method, k[0])
			}
			if len(req.Header) != 0 {
				t.Errorf("the caller's header is now %v, want it untouched", req.Header)
			}
		}
	})
}

// H-8: without a key there is one attempt, so the test above proves something.
func TestAPostWithoutAKeyIsSentOnce(t *testing.T) {
	s := &service{answer: failTwice}
	send(t, client(backstay.New(retry.New(retry.Config{})), s), request(t, t.Context(), "POST", "http://shop/orders"))
	if n := len(s.got["shop"]); n != 1 {
		t.Errorf("POST without a key sent %d requests, want 1", n)
	}
}

// I-5
func TestOnlyPostAndPatchGetAKey(t *testing.T) {
	for _, always := range []bool{false, true} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "MOVE", "POST", "PATCH"} {
			s := &service{answer: func(int, http.ResponseWriter, *http.Request) {}}
			send(t, client(backstay.New(Keys(KeysConfig{Always: always})), s), request(t, WithKey(t.Context(), "mine"), method, "http://shop/"))
			want := ""
			if always || method == "POST" || method == "PATCH" {
				want = `"mine"`
			}
			if got := s.sent("shop", "Idempotency-Key"); got[0] != want {
				t.Errorf("%s, Always %v, sent the key %q, want %q", method, always, got[0], want)
			}
		}
	}
}

// I-4
func TestTheHeaderIsWrittenAsTheTargetWantsIt(t *testing.T) {
	const key = `mine "1"`
	for _, c := range []struct {
		host   string
		cfg    KeysConfig
		header string
		want   string
	}{
		{"shop", KeysConfig{}, "Idempotency-Key", `"mine \"1\""`},
		{"shop", KeysConfig{Format: Stripe}, "Idempotency-Key", key},
		{"shop", KeysConfig{Format: Adyen}, "Idempotency-Key", key},
		{"shop", KeysConfig{Format: PayPal}, "Paypal-Request-Id", key},
		{"shop", KeysConfig{Format: Format{Header: "x-key"}}, "X-Key", `"mine \"1\""`},
		{"pp", KeysConfig{Targets: map[string]Format{"pp": PayPal}}, "Paypal-Request-Id", key},
		{"PP", KeysConfig{Targets: map[string]Format{"pp": PayPal}}, "Paypal-Request-Id", key},
		{"shop", KeysConfig{Targets: map[string]Format{"pp": PayPal}}, "Idempotency-Key", `"mine \"1\""`},
	} {
		s := &service{answer: func(int, http.ResponseWriter, *http.Request) {}}
		send(t, client(backstay.New(Keys(c.cfg)), s), request(t, WithKey(t.Context(), key), "POST", "http://"+c.host+"/"))
		if got := s.got[c.host][0]; len(got) != 1 || got.Get(c.header) != c.want {
			t.Errorf("%+v to %s sent %v, want %s: %s alone", c.cfg, c.host, got, c.header, c.want)
		}
	}
}

// I-4
func TestTheCallersOwnHeaderIsSentVerbatim(t *testing.T) {
	for _, c := range []struct {
		format   Format
		header   string
		value    []string
		attempts int
	}{
		{Standard, "Idempotency-Key", []string{"not quoted"}, 3},
		{Standard, "Idempotency-Key", []string{`"quoted"`}, 3},
		{Adyen, "Idempotency-Key", []string{strings.Repeat("k", 65)}, 3},
		{PayPal, "Paypal-Request-Id", []string{"mine"}, 3},
		{Standard, "idempotency-key", []string{"mine"}, 3}, // put into the map as it is
		{Standard, "Idempotency-Key", []string{""}, 1},
		{Standard, "Idempotency-Key", nil, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &service{answer: failTwice}
			req := request(t, WithKey(t.Context(), "other"), "POST", "http://shop/")
			req.Header[c.header] = c.value
			send(t, client(backstay.New(Keys(KeysConfig{Format: c.format}), retry.New(retry.Config{})), s), req)
			got := s.sent("shop", c.header)
			for _, h := range s.got["shop"] {
				if len(h) != 1 {
					t.Errorf("POST with %s: %q sent the headers %v, want one key", c.header, c.value, h)
				}
			}
			if len(got) != c.attempts {
				t.Fatalf("POST with %s: %q sent %d requests, want %d", c.header, c.value, len(got), c.attempts)
			}
			for _, k := range got {
				if k != strings.Join(c.value, " and ") {
					t.Errorf("POST with %s: %q sent %q, want it as it is", c.header, c.value, k)
				}
			}
		})
	}
}

// redirect sends requests to /old on to url with status.
func redirect(status int, url string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/old" {
			http.Redirect(w, req, url, status)
		}
	}
}

// I-7, H-7
func TestAKeyInTheContextAndRedirects(t *testing.T) {
	policy := backstay.New(Keys(KeysConfig{}))
	plain := func(ctx context.Context) context.Context { return ctx }
	mine := func(ctx context.Context) context.Context { return WithKey(ctx, "mine") }
	for _, c := range []struct {
		name    string
		ctx     func(context.Context) context.Context
		from    string
		to      string
		follows bool
	}{
		{"no key in the context", plain, "http://a/old", "http://a/new", false},
		{"made, same origin", NewContext, "http://a/old", "http://a/new", true},
		{"made, same origin said otherwise", NewContext, "http://a/old", "HTTP://A:80/new", true},
		{"made, same origin said otherwise", NewContext, "https://a:443/old", "https://a/new", true},
		{"made, another host", NewContext, "http://a/old", "http://b/new", false},
		{"made, another port", NewContext, "http://a/old", "http://a:81/new", false},
		{"made, another scheme", NewContext, "http://a/old", "https://a/new", false},
		{"made, another scheme on one port", NewContext, "http://a:443/old", "https://a/new", false},
		{"the caller's, same origin", mine, "http://a/old", "http://a/new", true},
		{"the caller's, another host", mine, "http://a/old", "http://b/new", true},
	} {
		var keys []string
		s := &service{answer: func(n int, w http.ResponseWriter, req *http.Request) {
			keys = append(keys, req.Header.Get("Idempotency-Key"))
			redirect(http.StatusTemporaryRedirect, c.to)(n, w, req)
		}}
		send(t, client(policy, s), request(t, c.ctx(t.Context()), "POST", c.from))
		if len(keys) != 2 || keys[0] == "" || keys[1] == "" || (keys[0] == keys[1]) != c.follows {
			t.Errorf("%s: %s to %s sent %q, want the same key: %v", c.name, c.from, c.to, keys, c.follows)
		}
	}
}

// I-5, I-7
func TestARedirectThatTurnsAPostIntoAGetDropsTheKey(t *testing.T) {
	s := &service{answer: redirect(http.StatusSeeOther, "http://a/new")}
	send(t, client(backstay.New(Keys(KeysConfig{})), s), request(t, NewContext(t.Context()), "POST", "http://a/old"))
	if k := s.sent("a", "Idempotency-Key"); len(k) != 2 || k[0] == "" || k[1] != "" {
		t.Errorf("POST and its 303 sent %q, want a key and none", k)
	}
}

// I-7
func TestTheApplicationsOwnRetriesKeepTheKeyOfEachOrigin(t *testing.T) {
	s := &service{answer: redirect(http.StatusTemporaryRedirect, "http://b/new")}
	c := client(backstay.New(Keys(KeysConfig{})), s)
	ctx := NewContext(t.Context())
	for range 3 {
		send(t, c, request(t, ctx, "POST", "http://a/old"))
	}
	a, b := s.sent("a", "Idempotency-Key"), s.sent("b", "Idempotency-Key")
	if len(a) != 3 || a[0] != a[1] || a[1] != a[2] || len(b) != 3 || b[0] != b[1] || b[1] != b[2] || a[0] == b[0] {
		t.Errorf("3 tries sent %q to a and %q to b, want one key for each", a, b)
	}
}

// I-7
func TestCallsAtTheSameTimeShareTheKeyOfTheContext(t *testing.T) {
	s := &service{answer: func(int, http.ResponseWriter, *http.Request) {}}
	c := client(backstay.New(Keys(KeysConfig{})), s)
	ctx := NewContext(t.Context())
	var wg sync.WaitGroup
	for i := range 50 {
		req := request(t, ctx, "POST", fmt.Sprintf("http://%c/", 'a'+i%2))
		wg.Go(func() {
			resp, err := c.Do(req)
			if err != nil {
				t.Errorf("POST = %v, want a response", err)
				return
			}
			resp.Body.Close()
		})
	}
	wg.Wait()
	all := map[string]int{}
	for _, host := range []string{"a", "b"} {
		for _, k := range s.sent(host, "Idempotency-Key") {
			all[host+k]++
		}
	}
	if len(all) != 2 {
		t.Errorf("50 calls to 2 origins sent %v, want 25 of one key to each", all)
	}
}

// I-9
func TestInProgressIsTriedAgainWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(n int, w http.ResponseWriter, _ *http.Request) {
			if n < 3 {
				w.Header().Set("Content-Type", problem.MediaType)
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(http.StatusConflict)
				_, _ = io.WriteString(w, inProgress)
			}
		}}
		start := time.Now()
		resp := send(t, client(backstay.New(Keys(KeysConfig{}), retry.New(retry.Config{})), s), request(t, t.Context(), "POST", "http://shop/"))
		k := s.sent("shop", "Idempotency-Key")
		if resp.StatusCode != 200 || len(k) != 3 || k[0] == "" || k[0] != k[1] || k[1] != k[2] {
			t.Errorf("POST = %d after sending %q, want 200 after 3 of one key", resp.StatusCode, k)
		}
		if took := time.Since(start); took < 14*time.Second || took > 15*time.Second {
			t.Errorf("POST took %v, want the 2 pauses of 7s that the server asked for", took)
		}
	})
}

// I-9
func TestMissingAndMismatchAreTheEnd(t *testing.T) {
	for status, body := range map[int]string{http.StatusBadRequest: missing, http.StatusUnprocessableEntity: mismatch} {
		s := &service{answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", problem.MediaType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}}
		resp := send(t, client(backstay.New(Keys(KeysConfig{}), retry.New(retry.Config{})), s), request(t, t.Context(), "POST", "http://shop/"))
		if n := len(s.got["shop"]); n != 1 || resp.StatusCode != status {
			t.Errorf("POST answered %d sent %d requests, want 1", resp.StatusCode, n)
		}
		if err := ResponseError(resp); err == nil {
			t.Errorf("ResponseError(%d) of the caller = nil, want the error that the policy saw", status)
		}
	}
}
