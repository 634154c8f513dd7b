package httpcall

import (
	"context"
	"fmt"
	"net/http"

	"github.com/backstay-go/backstay"
)

// Check returns an active health check, for the Monitor of the balancer in the
// transport's policy: it sends a GET for url to the endpoint at the address
// that it is given, with the Host header and the name in the TLS handshake that
// url says, and over the connections that the calls use. The endpoint is well
// if the status is 2xx; redirects are not followed. The error is a *StatusError
// where there was a response.
//
//	go balancer.Monitor(ctx, loadbalance.MonitorConfig{Check: transport.Check("https://api.example.com/healthz")})
//
// The policy has no part in the check, and the body is read only as far as it
// takes to use the connection again.
//
// It panics if url is not an absolute http or https URL.
func (t *Transport) Check(url string) func(ctx context.Context, address string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		panic(fmt.Sprintf("httpcall: Check needs an absolute URL, such as \"https://api.example.com/healthz\", not %q", url))
	}
	return func(ctx context.Context, address string) error {
		status, err := t.ask(ctx, req, address)
		if err == nil && (status < 200 || status > 299) {
			err = locate(address, &StatusError{Status: status, Class: backstay.Transient})
		}
		if err != nil {
			return fmt.Errorf("httpcall: check: %w", err)
		}
		return nil
	}
}
