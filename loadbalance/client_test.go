package loadbalance_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A client makes calls to some backends.
type client struct {
	name     string
	http     *http.Client
	url      func() (url string, done func())
	attempts *attempts
	balancer *loadbalance.Balancer // nil if it has none
}

// limits returns how long a call and an attempt may take: on a busy machine
// much longer than they do where one measures.
func limits() (call, attempt time.Duration) {
	if *full {
		return 5 * time.Second, 1500 * time.Millisecond
	}
	return 20 * time.Second, 2 * time.Second
}

// under returns what makes a client with the standard stack.
func under(strategy loadbalance.Strategy) func([]*backend) *client {
	return func(backends []*backend) *client {
		callLimit, attemptLimit := limits()
		attempts := newAttempts(backends)
		balancer := loadbalance.New(strategy, backendAddresses(backends)...)
		policy := backstay.New(
			timeout.Call(callLimit),
			retry.New(retry.Config{}),
			balancer,
			breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint),
			attempts,
			timeout.Attempt(attemptLimit),
		)
		return &client{
			name:     strategy.String(),
			http:     &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})},
			url:      func() (string, func()) { return "http://orders.example/", func() {} },
			attempts: attempts,
			balancer: balancer,
		}
	}
}

// naive is an http.Client and a count of the calls at each backend, as people
// write it.
func naive(backends []*backend) *client {
	callLimit, _ := limits()
	var mu sync.Mutex
	attempts := newAttempts(backends)
	inFlight := make([]int, len(backends))
	return &client{
		name:     "http.Client, least connections",
		http:     &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
		attempts: attempts,
		url: func() (string, func()) {
			mu.Lock()
			defer mu.Unlock()
			least := rand.IntN(len(inFlight))
			for i, n := range inFlight {
				if n < inFlight[least] {
					least = i
				}
			}
			inFlight[least]++
			attempts.count(backends[least].address)
			return "http://" + backends[least].address, func() {
				mu.Lock()
				defer mu.Unlock()
				inFlight[least]--
			}
		},
	}
}

// call makes a call and reads the answer to its end.
func (c *client) call() error {
	url, done := c.url()
	defer done()
	resp, err := c.http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

// finish checks that nothing is left of the calls.
func (c *client) finish(t *testing.T) {
	if c.balancer != nil {
		for _, n := range c.balancer.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("InFlight of %s after the calls = %d, want 0", n.Address(), n.InFlight())
			}
		}
		if err := c.balancer.Close(t.Context()); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
	}
	c.http.CloseIdleConnections()
}

// attempts counts what is sent to each backend, by the time at which it is. In
// a policy it stands under the breakers.
type attempts struct {
	began  time.Time
	counts map[string]*[400]atomic.Int64
}

// slot is how long attempts are counted together.
const slot = 100 * time.Millisecond

func newAttempts(backends []*backend) *attempts {
	a := &attempts{began: time.Now(), counts: map[string]*[400]atomic.Int64{}}
	for _, b := range backends {
		a.counts[b.address] = new([400]atomic.Int64)
	}
	return a
}

func (a *attempts) count(address string) {
	counts := a.counts[address]
	counts[min(int(time.Since(a.began)/slot), len(counts)-1)].Add(1)
}

// Wrap counts attempts in a policy.
func (a *attempts) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		a.count(call.Endpoint)
		return next(ctx, call)
	}
}

// at returns how many attempts b got between two times, and how many all of the
// backends got.
func (a *attempts) at(b *backend, from, to time.Duration) (its, all int64) {
	for address, counts := range a.counts {
		n := int64(0)
		for i := from / slot; i < to/slot; i++ {
			n += counts[i].Load()
		}
		if all += n; address == b.address {
			its = n
		}
	}
	return its, all
}

// share returns which part of the attempts between two times b got.
func (a *attempts) share(b *backend, from, to time.Duration) float64 {
	its, all := a.at(b, from, to)
	return float64(its) / float64(max(all, 1))
}
