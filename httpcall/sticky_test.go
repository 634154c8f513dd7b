package httpcall_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// seats starts a proxy in front of n replicas, each of which answers its number
// and the value of the cookie.
func seats(t *testing.T, n int, start func(*httptest.Server)) *httptest.Server {
	var addresses []string
	for i := range n {
		addresses = append(addresses, newReplica(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := r.Cookie("seat")
			fmt.Fprint(w, i, " ", c, " ", err)
		}).address())
	}
	rt := over(t,
		httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}),
		retry.New(retry.Config{}),
		loadbalance.New(loadbalance.Hash(loadbalance.HashConfig{Key: httpcall.ByCookie("seat")}), addresses...),
	)
	to := &url.URL{Scheme: "http", Host: "api.example.com"}
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{Transport: rt, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	start(proxy)
	t.Cleanup(proxy.Close)
	return proxy
}

// visitor returns a client that keeps cookies, as a browser does.
func visitor(t *testing.T, proxy *httptest.Server) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: proxy.Client().Transport, Jar: jar}
}

// L-15
func TestStickyClientsStayAtOneEndpoint(t *testing.T) {
	leak.Check(t)
	proxy := seats(t, 3, (*httptest.Server).Start)
	visited := map[string]bool{}
	for range 30 {
		client := visitor(t, proxy)
		answers := map[string]bool{}
		for i := range 5 {
			resp := must(t)(client.Get(proxy.URL))
			if set := len(resp.Cookies()); set != 0 && i > 0 {
				t.Errorf("the response to visit %d sets %d cookies, want none", i+1, set)
			}
			answers[answer(t, resp, nil)] = true
		}
		if len(answers) != 1 {
			t.Errorf("a visitor was answered %v, want the same each time: one endpoint and one cookie", answers)
		}
		for a := range maps.Keys(answers) {
			visited[a[:len("200 0")]] = true
		}
	}
	if len(visited) != 3 {
		t.Errorf("30 visitors were answered by %v, want all three endpoints", visited)
	}
}

// L-15
func TestStickyCookieIsForTheServerOnly(t *testing.T) {
	a := newAuthority(t)
	for _, row := range []struct {
		name   string
		start  func(*httptest.Server)
		secure bool
	}{
		{"http", (*httptest.Server).Start, false},
		{"https", func(s *httptest.Server) { a.certifies(t, "example.com")(s); s.StartTLS() }, true},
	} {
		proxy := seats(t, 1, row.start)
		client := &http.Client{Transport: a.trusted(t, true)}
		defer client.CloseIdleConnections()
		req := request(t, http.MethodGet, proxy.URL, "")
		if row.secure {
			client.Transport.(*http.Transport).TLSClientConfig.ServerName = "example.com"
		}
		resp := must(t)(client.Do(req))
		resp.Body.Close()
		set := resp.Header["Set-Cookie"]
		if len(set) != 1 {
			t.Fatalf("the response over %s has %q, want one cookie", row.name, set)
		}
		c := resp.Cookies()[0]
		value := c.Value
		c.Value, c.Raw = "", ""
		want := http.Cookie{Name: "seat", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: row.secure}
		if len(value) < 20 || c.String() != want.String() {
			t.Errorf("the cookie over %s is %s with a value of %d letters, want %s with 20 or more", row.name, c, len(value), &want)
		}
	}
}

// L-15
func TestStickyKeepsToItsConfig(t *testing.T) {
	s := serve(t, status(200))
	rt := over(t, httpcall.Sticky(httpcall.StickyConfig{Name: "seat", MaxAge: 90 * time.Second, Secure: true}))
	resp := must(t)(rt.RoundTrip(request(t, http.MethodGet, s.url(), "")))
	resp.Body.Close()
	got := resp.Header.Get("Set-Cookie")
	_, got, _ = strings.Cut(got, ";")
	if want := " Path=/; Max-Age=90; HttpOnly; Secure; SameSite=Lax"; got != want {
		t.Errorf("the cookie is seat=...;%s, want seat=...;%s", got, want)
	}
}

// H-1, L-15
func TestStickyIsOneCookieForAllAttempts(t *testing.T) {
	s := serve(t, status(503), status(503), status(200))
	rt := over(t, httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}), attempts(3))
	req := request(t, http.MethodPut, s.url(), "body")
	req.Header.Set("Cookie", "a=1")
	resp := must(t)(rt.RoundTrip(req))
	if got := answer(t, resp, nil); got != "200 OK" {
		t.Fatal(got)
	}
	want := "a=1; seat=" + resp.Cookies()[0].Value
	for i, a := range s.arrived() {
		if got := a.Header.Get("Cookie"); got != want || a.body != "body" {
			t.Errorf("attempt %d had the cookies %q and the body %q, want %q and the body", i+1, got, a.body, want)
		}
	}
	if got := req.Header.Get("Cookie"); got != "a=1" || resp.Request != req {
		t.Errorf("the caller's request has the cookies %q, want it as it was", got)
	}
}

// L-15
func TestStickyLeavesTheClientsCookieAlone(t *testing.T) {
	s := serve(t, status(200))
	rt := over(t, httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}))
	for _, cookies := range []string{"seat=mine", `a=1; seat="my own"`, "seat=mine; seat=other"} {
		req := request(t, http.MethodGet, s.url(), "")
		req.Header.Set("Cookie", cookies)
		resp := must(t)(rt.RoundTrip(req))
		resp.Body.Close()
		if set, sent := resp.Header["Set-Cookie"], s.arrived()[len(s.arrived())-1].Header.Get("Cookie"); len(set) != 0 || sent != cookies {
			t.Errorf("with the cookies %q the endpoint got %q and the response sets %q, want them as they were and none set", cookies, sent, set)
		}
	}
}

// L-15
func TestStickySetsTheCookieOnAFailureToo(t *testing.T) {
	s := serve(t, status(503), status(503), hangUp)
	rt := over(t, httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}), attempts(2))
	resp := must(t)(rt.RoundTrip(request(t, http.MethodGet, s.url(), "")))
	resp.Body.Close()
	if resp.StatusCode != 503 || len(resp.Cookies()) != 1 {
		t.Errorf("RoundTrip() = %d with %d cookies, want a 503 with one", resp.StatusCode, len(resp.Cookies()))
	}
	if resp, err := rt.RoundTrip(request(t, http.MethodGet, s.url(), "")); err == nil {
		t.Errorf("RoundTrip() = %v, want the error of a connection that broke", resp)
	}
}

func TestStickyStandsAboveRetry(t *testing.T) {
	sticky := httpcall.Sticky(httpcall.StickyConfig{Name: "seat"})
	want := "backstay: sticky(seat) is under retry(3), which would give every attempt one of its own; move it above"
	if err := backstay.Check(retry.New(retry.Config{}), sticky); text(err) != want {
		t.Errorf("Check(retry, sticky) = %v, want %s", err, want)
	}
	if err := backstay.Check(sticky, retry.New(retry.Config{})); err != nil {
		t.Errorf("Check(sticky, retry) = %v, want nil", err)
	}
}

func TestStickyConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]httpcall.StickyConfig{
		"httpcall: Sticky needs the Name of a cookie, the same that ByCookie is given":            {},
		`httpcall: "my seat" cannot be the Name of a cookie; take letters, digits and hyphens`:    {Name: "my seat"},
		"httpcall: MaxAge is -1s; give a second at least, or 0 for as long as the browser runs":   {Name: "seat", MaxAge: -time.Second},
		"httpcall: MaxAge is 500ms; give a second at least, or 0 for as long as the browser runs": {Name: "seat", MaxAge: 500 * time.Millisecond},
	} {
		if err := cfg.Validate(); text(err) != want {
			t.Errorf("Validate(%+v) = %v, want %s", cfg, err, want)
		}
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("Sticky(%+v) panicked with %v, want %s", cfg, got, want)
				}
			}()
			httpcall.Sticky(cfg)
		}()
	}
}
