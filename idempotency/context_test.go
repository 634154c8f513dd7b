package idempotency

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/backstay-go/backstay"
)

// I-7: RFC 6454, section 4.
func TestOrigin(t *testing.T) {
	for _, c := range []struct {
		url  *url.URL
		want string
	}{
		{&url.URL{Scheme: "http", Host: "a"}, "http://a:80"},
		{&url.URL{Scheme: "HTTPS", Host: "A.Example"}, "https://a.example:443"},
		{&url.URL{Scheme: "https", Host: "a:8443", Path: "/x", User: url.User("u")}, "https://a:8443"},
		{&url.URL{Scheme: "http", Host: "[::1]"}, "http://[::1]:80"},
		{&url.URL{Scheme: "unix", Host: "a"}, "unix://a:"},
		{nil, "target"},
	} {
		if got := originOf(&backstay.Call{Target: "target"}, &http.Request{URL: c.url}); got != c.want {
			t.Errorf("originOf(%v) = %q, want %q", c.url, got, c.want)
		}
	}
}

// I-7
func TestOtherCallsShareTheKeyOfTheContextByTarget(t *testing.T) {
	target := ""
	do, s := caller(backstay.New(Keys(KeysConfig{})), func(call *backstay.Call) {
		call.Target, call.Unsafe = target, true
	})
	place := func(ctx context.Context, to string) {
		target = to
		if err := do(ctx); err != nil {
			t.Errorf("Do(%s) = %v, want nil", to, err)
		}
	}
	ctx := NewContext(t.Context())
	place(ctx, "a")
	place(ctx, "b")
	place(ctx, "a")
	place(NewContext(t.Context()), "a")
	if k := s.keys; k[0] == k[1] || k[0] != k[2] || k[0] == k[3] {
		t.Errorf("calls to a, b, a and to a in another context had the keys %q, want only 1 and 3 the same", k)
	}
}
