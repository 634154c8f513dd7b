package httpcall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// warmAtOnce is how many connections Warm opens at a time: TLS handshakes are
// work for this process too.
const warmAtOnce = 16

// Warm opens a connection to each endpoint of the policy's balancer, for the
// first calls to find it open. Without a balancer it opens one to the host of
// url.
//
// Each server sees one HEAD request for url, with no header but those of
// net/http, and may answer it as it likes. The policy has no part in it: nothing
// is tried again, counted or limited, so ctx should have a deadline.
//
// The error joins those of the endpoints that could not be reached, and names
// them. Endpoints that come later are not warmed.
func (t *Transport) Warm(ctx context.Context, url string) error {
	endpoints, known := []string{""}, true
	if t.balanced {
		endpoints, known = t.endpoints.addresses()
	}
	switch {
	case !known:
		return errors.New("httpcall: cannot warm the endpoints, for the balancer has no Addresses method")
	case len(endpoints) == 0:
		return errors.New("httpcall: there is no endpoint to warm; wait until the balancer has some")
	}
	req, err := http.NewRequest(http.MethodHead, url, nil)
	if err != nil {
		return fmt.Errorf("httpcall: warm: %w", redact(err))
	}
	errs := make([]error, len(endpoints))
	slots := make(chan struct{}, warmAtOnce)
	var all sync.WaitGroup
	for i, endpoint := range endpoints {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if _, err := t.ask(ctx, req, endpoint); err != nil {
				errs[i] = fmt.Errorf("httpcall: warm: %w", err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
