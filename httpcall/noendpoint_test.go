package httpcall_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// H-2, H-48
func TestCallWithoutAnEndpoint(t *testing.T) {
	const patience = time.Second
	for _, row := range []struct {
		name     string
		balancer func() *loadbalance.Balancer
		limit    time.Duration // of the caller's context; 0 for none
		took     time.Duration
		typed    bool
	}{
		{"all are gone", func() *loadbalance.Balancer {
			b := loadbalance.New(loadbalance.RoundRobin(), "a:80")
			update(t, b)
			return b
		}, 0, 0, true},
		{"closed", func() *loadbalance.Balancer {
			b := loadbalance.New(loadbalance.RoundRobin(), "a:80")
			b.Close(context.Background())
			return b
		}, 0, 0, true},
		{"there never was one", func() *loadbalance.Balancer {
			return loadbalance.NewBalancer(loadbalance.Config{Wait: patience})
		}, 0, patience, true},
		{"there was none in time", func() *loadbalance.Balancer {
			return loadbalance.NewBalancer(loadbalance.Config{Wait: patience})
		}, patience / 2, patience / 2, false},
	} {
		for _, stack := range [][]backstay.Middleware{nil, {retry.New(retry.Config{Backoff: retry.NoPause(), MaxAttempts: 5})}} {
			t.Run(row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rt := httpcall.NewTransport(backstay.New(append(stack, row.balancer())...), httpcall.Config{})
					ctx := t.Context()
					if row.limit > 0 {
						limited, cancel := context.WithTimeout(ctx, row.limit)
						defer cancel()
						ctx = limited
					}
					body := track(strings.NewReader("work"))
					req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders.example/", body)
					start := time.Now()
					resp, err := (&http.Client{Transport: rt}).Do(req)
					took := time.Since(start)
					if resp != nil || err == nil {
						t.Fatalf("Do() = %v, %v, want an error", resp, err)
					}
					none, typed := errors.AsType[*loadbalance.NoEndpointError](err)
					if typed != row.typed || typed && (none.Why == "" || !backstay.NotSent(err)) {
						t.Errorf("Do() = %v, want a NoEndpointError: %v, that says why and that nothing was sent", err, row.typed)
					}
					if !row.typed && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Do() = %v, want DeadlineExceeded", err)
					}
					if took != row.took {
						t.Errorf("Do() = %v after %v, want %v", err, took, row.took)
					}
					body.check(t, "the request body")
				})
			})
		}
	}
}
