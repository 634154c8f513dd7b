package httpreq

import (
	"net/http"
	"net/url"
	"testing"
)

// I-1: the quotes belong to the header, not to the key.
func TestKeyIsWithoutItsQuotes(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"Idempotency-Key", `"abc"`, "abc"},
		{"Idempotency-Key", "abc", "abc"},
		{"Idempotency-Key", `"a\"c"`, `a"c`},
		{"Idempotency-Key", `"abc`, `"abc`},
		{"X-Idempotency-Key", `"abc"`, "abc"},
		{"Other", "abc", ""},
	} {
		r := &http.Request{Header: http.Header{c.name: {c.value}}}
		if got := Key(r); got != c.want {
			t.Errorf("Key(%s: %s) = %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

// H-8
func TestHarmlessMethods(t *testing.T) {
	for method, want := range map[string]bool{
		"": true, "GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true, "QUERY": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false,
	} {
		if got := Harmless(&http.Request{Method: method}); got != want {
			t.Errorf("Harmless(%q) = %v, want %v", method, got, want)
		}
	}
}

// H-1
func TestCopyLeavesTheOriginalAlone(t *testing.T) {
	r := &http.Request{URL: &url.URL{Path: "/a"}, Header: http.Header{"A": {"1"}}}
	c := Copy(r)
	c.URL.Path = "/b"
	c.Header.Set("A", "2")
	if r.URL.Path != "/a" || r.Header.Get("A") != "1" {
		t.Errorf("a change of the copy made the original %v %v, want it as it was", r.URL, r.Header)
	}
	if Copy(&http.Request{}).Header == nil {
		t.Error("Copy of a request without a header has none, want an empty one")
	}
}
