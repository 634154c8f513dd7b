package transfers

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// An Interruption takes away what the bank depends on, and gives it back.
type Interruption struct {
	Name       string
	End, Begin func()
}

// Outage makes transfers while each interruption takes place. It fails the test
// unless a client without retries is told by a 503 to come back later while it
// lasts, and the others get to their end by themselves when it is over, with
// nothing made twice. Where effect and record are not one transaction, the
// outcome of what was under way may be unknown.
func Outage(t *testing.T, b Bank, interruptions ...Interruption) {
	b.Guard.Lease = 3 * time.Second
	url := serve(t, b.Handler())
	c := newClient(t)
	ctx := within(t)

	var o outcome
	var mu sync.Mutex
	var wg sync.WaitGroup
	var made, next atomic.Int64
	done := make(chan struct{})
	draw := func() Transfer { return nth(*seed, next.Add(1)) }
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				tr := draw()
				err := insist(ctx, c, url, tr)
				mu.Lock()
				o.add(tr, err)
				mu.Unlock()
				made.Add(1)
			}
		})
	}
	for _, i := range interruptions {
		await(t, &made, 50)
		i.End()
		began := time.Now()
		tr := draw()
		refused(t, url, tr, i.Name)
		mu.Lock()
		o.unknown = append(o.unknown, tr) // its client has not come back
		mu.Unlock()
		i.Begin()
		t.Logf("%s: away for %v", i.Name, time.Since(began).Round(time.Millisecond))
		await(t, &made, clients) // each has got through, or a few have often
	}
	await(t, &made, 50)
	close(done)
	wg.Wait()
	found := audit(t, b.Ledger, o)
	unknown := len(o.unknown) - len(interruptions)
	t.Logf("%d transfers made, %d unknown, %d made twice, %d lost (seed %d)",
		len(o.made), unknown, found.twice, found.lost, *seed)
	most := clients * len(interruptions) // what was under way
	if _, ok := b.Guard.Store.(idempotency.Transactor); ok {
		most = 0
	}
	if unknown > most {
		t.Errorf("of %d transfers the outcome is unknown, want at most %d", unknown, most)
	}
}

// await returns when n more have come to n.
func await(t testing.TB, counter *atomic.Int64, more int64) {
	t.Helper()
	enough := counter.Load() + more
	for end := time.Now().Add(patience); counter.Load() < enough; <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d transfers in %v, want %d", counter.Load(), patience, enough)
		}
	}
}

// refused has a client without retries send the transfer until it is told to
// come back later.
func refused(t testing.TB, url string, tr Transfer, outage string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx := within(t)
	for ctx.Err() == nil {
		req, _, err := newRequest(ctx, url, tr)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", `"`+tr.ID+`"`)
		resp, err := c.Do(req)
		if err != nil {
			break
		}
		says := idempotency.ResponseError(resp)
		resp.Body.Close()
		if errors.Is(says, idempotency.ErrUnavailable) {
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: status %d, Retry-After %q, want 503 and some", outage, resp.StatusCode, resp.Header.Get("Retry-After"))
			}
			return
		}
	}
	t.Errorf("%s: no request was refused with 503", outage)
}
