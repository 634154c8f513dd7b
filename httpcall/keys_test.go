package httpcall_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/race"
)

type key = func(ctx context.Context, call *backstay.Call) string

// inCall has look called within the call of req.
func inCall(t testing.TB, req *http.Request, look func(ctx context.Context, call *backstay.Call)) {
	t.Helper()
	see := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			look(ctx, call)
			return next(ctx, call)
		}
	})
	rt := httpcall.NewTransport(backstay.New(see), httpcall.Config{
		Base: roundTripper(func(*http.Request) (*http.Response, error) { return respond(200), nil }),
	})
	if _, err := rt.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
}

// keyOf returns the key of a call that sends req.
func keyOf(t testing.TB, k key, req *http.Request) (got string) {
	t.Helper()
	inCall(t, req, func(ctx context.Context, call *backstay.Call) { got = k(ctx, call) })
	return got
}

var keyRows = []struct {
	name string
	key  key
	edit func(*http.Request)
	want string
}{
	{"header", httpcall.ByHeader("X-User"), func(r *http.Request) { r.Header.Set("X-User", "ada") }, "ada"},
	{"header in lower case", httpcall.ByHeader("x-user"), func(r *http.Request) { r.Header.Set("X-User", "ada") }, "ada"},
	{"first of two headers", httpcall.ByHeader("X-User"), func(r *http.Request) { r.Header["X-User"] = []string{"ada", "bob"} }, "ada"},
	{"no header", httpcall.ByHeader("X-User"), func(*http.Request) {}, ""},
	{"no headers at all", httpcall.ByHeader("X-User"), func(r *http.Request) { r.Header = nil }, ""},
	{"host of the URL", httpcall.ByHeader("host"), func(r *http.Request) { r.Host = "" }, "api.example.com"},
	{"host", httpcall.ByHeader("Host"), func(r *http.Request) { r.Host = "shop.example.com" }, "shop.example.com"},

	{"cookie", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", "a=1; seat=7; b=2") }, "7"},
	{"cookie in a second line", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header["Cookie"] = []string{"a=1", "seat=7"} }, "7"},
	{"cookie in quotes", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", `seat="7 8"`) }, "7 8"},
	{"cookie with an equals sign", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", "seat=a=b==") }, "a=b=="},
	{"cookie with spaces around", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", " a=1 ;\tseat=7 ;;") }, "7"},
	{"empty cookie", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", "seat=; seat=7") }, "7"},
	{"cookie without a value", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", "seat") }, ""},
	{"cookie of a longer name", httpcall.ByCookie("seat"), func(r *http.Request) { r.Header.Set("Cookie", "seats=7; myseat=7; SEAT=7") }, ""},
	{"no cookie", httpcall.ByCookie("seat"), func(*http.Request) {}, ""},

	{"path", httpcall.ByPath(0), func(*http.Request) {}, "/users/7/orders"},
	{"one segment", httpcall.ByPath(1), func(*http.Request) {}, "/users"},
	{"two segments", httpcall.ByPath(2), func(*http.Request) {}, "/users/7"},
	{"as many segments as there are", httpcall.ByPath(3), func(*http.Request) {}, "/users/7/orders"},
	{"more segments than there are", httpcall.ByPath(9), func(*http.Request) {}, "/users/7/orders"},
	{"slash at the end", httpcall.ByPath(1), func(r *http.Request) { r.URL.Path = "/users/" }, "/users"},
	{"root", httpcall.ByPath(2), func(r *http.Request) { r.URL.Path = "/" }, "/"},
	{"no path", httpcall.ByPath(2), func(r *http.Request) { r.URL.Path = "" }, ""},

	{"client", httpcall.ByClientAddr, func(r *http.Request) { r.RemoteAddr = "203.0.113.9:4711" }, "203.0.113.9"},
	{"client with IPv6", httpcall.ByClientAddr, func(r *http.Request) { r.RemoteAddr = "[2001:db8::9]:4711" }, "2001:db8::9"},
	{"client without a port", httpcall.ByClientAddr, func(r *http.Request) { r.RemoteAddr = "203.0.113.9" }, "203.0.113.9"},
	{"client with IPv6 without a port", httpcall.ByClientAddr, func(r *http.Request) { r.RemoteAddr = "2001:db8::9" }, "2001:db8::9"},
	{"client at a Unix socket", httpcall.ByClientAddr, func(r *http.Request) { r.RemoteAddr = "@" }, ""},
	{"no client", httpcall.ByClientAddr, func(*http.Request) {}, ""},
}

func keyRequest(t testing.TB, edit func(*http.Request)) *http.Request {
	req := request(t, http.MethodGet, "http://api.example.com/users/7/orders?all", "")
	edit(req)
	return req
}

// L-15
func TestKeysOfRequests(t *testing.T) {
	for _, row := range keyRows {
		if got := keyOf(t, row.key, keyRequest(t, row.edit)); got != row.want {
			t.Errorf("%s: the key is %q, want %q", row.name, got, row.want)
		}
	}
}

// L-7
func TestKeysAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, row := range keyRows {
		if strings.HasPrefix(row.name, "client ") && strings.HasSuffix(row.name, "port") || row.name == "client at a Unix socket" {
			continue // net.SplitHostPort makes an error
		}
		inCall(t, keyRequest(t, row.edit), func(ctx context.Context, call *backstay.Call) {
			if got := testing.AllocsPerRun(100, func() { row.key(ctx, call) }); got != 0 {
				t.Errorf("%s: the key allocates %v times, want 0", row.name, got)
			}
		})
	}
}

// L-15
func TestOtherCallsHaveNoKey(t *testing.T) {
	keys := map[string]key{"header": httpcall.ByHeader("Host"), "cookie": httpcall.ByCookie("seat"), "path": httpcall.ByPath(0), "client": httpcall.ByClientAddr}
	see := backstay.MiddlewareFunc(func(backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			for name, k := range keys {
				if got := k(ctx, call); got != "" {
					t.Errorf("the key by %s of a call that is no request = %q, want none", name, got)
				}
			}
			if !httpcall.IsWrite(ctx, call) {
				t.Error("IsWrite(a call that is no request) = false, want true")
			}
			return nil
		}
	})
	if _, err := backstay.Do(t.Context(), backstay.New(see), "other", func(context.Context) (int, error) { return 0, nil }); err != nil {
		t.Fatal(err)
	}
}

// L-15
func TestReverseProxyTellsTheClient(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(ok))
	defer backend.Close()
	to, _ := url.Parse(backend.URL)
	var got string
	see := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			got = httpcall.ByClientAddr(ctx, call)
			return next(ctx, call)
		}
	})
	rt := over(t, attempts(2), see)
	for name, proxy := range map[string]*httputil.ReverseProxy{
		"Rewrite":  {Transport: rt, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }},
		"Director": {Transport: rt, Director: func(r *http.Request) { r.URL.Scheme, r.URL.Host = to.Scheme, to.Host }},
	} {
		got = ""
		in := httptest.NewRequest(http.MethodGet, "http://shop.example.com/", nil)
		in.RemoteAddr = "203.0.113.9:4711"
		proxy.ServeHTTP(httptest.NewRecorder(), in)
		if want := "203.0.113.9"; got != want {
			t.Errorf("the key by client behind a proxy with %s = %q, want %q", name, got, want)
		}
	}
}

// FuzzByCookie compares with net/http, which leaves cookies out whose values it
// finds invalid: a key may be anything.
func FuzzByCookie(f *testing.F) {
	f.Add("a=1; b=2", "seat", "7")
	f.Add("seat=", "seat", "x y,z")
	f.Add(` seat = ""; ;=`, "seat", `a"b`)
	f.Fuzz(func(t *testing.T, line, name, value string) {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Cookie", line)
		if keyOf(t, httpcall.ByCookie(name), req) != "" || strings.ContainsAny(line, "\r\n") {
			return
		}
		for _, c := range req.CookiesNamed(name) {
			if c.Value != "" {
				t.Errorf("ByCookie(%q) of %q finds none, and net/http finds %q", name, line, c.Value)
			}
		}
		c := &http.Cookie{Name: name, Value: value}
		if c.Valid() != nil {
			return
		}
		req.Header.Del("Cookie")
		req.AddCookie(c)
		req.Header["Cookie"] = append([]string{line}, req.Header["Cookie"]...)
		if got := keyOf(t, httpcall.ByCookie(name), req); got != value {
			t.Errorf("ByCookie(%q) of %q = %q, want %q", name, req.Header["Cookie"], got, value)
		}
	})
}
