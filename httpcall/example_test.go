package httpcall_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

// A GET that may take 2 s, to the end of its body, and 500 ms an attempt. Up to
// 3 retries, on 5xx and connection errors only, with pauses of up to 50 ms,
// 100 ms, 200 ms, and longer ones where Retry-After asks for them. A breaker
// that opens when half of at least 20 attempts within 10 s have failed, and
// spans of the call and its attempts.
func Example() {
	server := httptest.NewServer(failThen(2, http.StatusServiceUnavailable, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "this is "+r.URL.Path)
	}))
	defer server.Close()

	policy := telemetry.Observe(backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{
			MaxAttempts: 4,
			Backoff:     retry.Exponential(50*time.Millisecond, time.Second),
			If:          func(err error) bool { return backstay.Classify(err) == backstay.Transient },
		}),
		breaker.New(breaker.Config{Name: "orders", FailureRate: 0.5, MinCalls: 20, Window: 10 * time.Second}),
		timeout.Attempt(500*time.Millisecond),
	), telemetry.Config{})
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	resp, err := client.Get(server.URL + "/orders/7")

	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	order, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(order), err)
	// Output: 200 this is /orders/7 <nil>
}

// The URL names the service and the balancer the replica: the Host header and
// the certificate's name are the service's.
func Example_endpoints() {
	var replicas []string
	for _, name := range []string{"one", "two"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if name == "one" {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintf(w, "%s answers for %s", name, r.Host)
		}))
		defer server.Close()
		replicas = append(replicas, server.Listener.Addr().String())
	}

	policy := backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{}),
		loadbalance.New(loadbalance.PeakEWMA(), replicas...),
		breaker.NewGroup(breaker.Config{Name: "orders"}, breaker.ByEndpoint),
		timeout.Attempt(500*time.Millisecond),
	)
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	for range 3 {
		resp, err := client.Get("http://orders.example/7")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Println(resp.StatusCode, string(body))
	}
	// Output:
	// 200 two answers for orders.example
	// 200 two answers for orders.example
	// 200 two answers for orders.example
}

// A POST is sent once, unless the caller says that twice does no harm.
func ExampleIdempotent() {
	server := httptest.NewServer(failThen(1, http.StatusServiceUnavailable, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	defer server.Close()
	policy := backstay.New(retry.New(retry.Config{}))
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}

	ctx := httpcall.Idempotent(context.Background())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/search", strings.NewReader("a long query"))
	resp, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	found, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(found))
	// Output: 200 a long query
}

// A reverse proxy that has each visitor served by one replica, as long as that
// is well.
func ExampleSticky() {
	var replicas []string
	for _, name := range []string{"one", "two", "three"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, name)
		}))
		defer server.Close()
		replicas = append(replicas, server.Listener.Addr().String())
	}

	policy := backstay.New(
		httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}),
		retry.New(retry.Config{}),
		loadbalance.New(loadbalance.Hash(loadbalance.HashConfig{Key: httpcall.ByCookie("seat")}), replicas...),
	)
	shop, _ := url.Parse("http://shop.example")
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: httpcall.NewTransport(policy, httpcall.Config{}),
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(shop) },
	})
	defer proxy.Close()

	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	servedBy := map[string]bool{}
	for range 10 {
		resp, err := browser.Get(proxy.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		name, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		servedBy[string(name)] = true
	}
	fmt.Println(len(servedBy), "replica has served all 10 visits")
	// Output: 1 replica has served all 10 visits
}
