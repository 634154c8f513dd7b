package transfers

import (
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

var (
	transfers = flag.Int("transfers", 300, "how many transfers the tests make")
	seed      = flag.Uint64("transfers.seed", 1, "what the transfers and the lost answers are drawn from")
)

const (
	clients = 16   // at the same time
	loss    = 0.10 // of the answers
	again   = 21   // one transfer in so many is sent twice at the same time
)

// Run sends the bank transfers. One answer in ten is lost after the effect, and
// some transfers are sent twice at the same time. It fails the test unless all
// clients are told that their transfer was made, and each was made once.
func Run(t *testing.T, b Bank) {
	l := &loser{next: b.Handler(), share: loss, seed: *seed}
	url := serve(t, l)
	c := newClient(t)
	began := time.Now()
	o := each(plan(*seed, *transfers), func(i int, tr Transfer) error {
		if i%again == 0 {
			return both(t.Context(), c, url, tr)
		}
		_, err := send(t.Context(), c, url, tr)
		return err
	})
	took := time.Since(began)
	found := audit(t, b.Ledger, o)
	t.Logf("%d transfers in %v, %d requests, %d answers lost: %d succeeded, %d made twice, %d lost (seed %d)",
		*transfers, took.Round(time.Millisecond), l.requests, l.lost, len(o.made), found.twice, found.lost, *seed)
	if len(o.made) < *transfers {
		t.Errorf("%d clients were told that their transfer was made, want all %d", len(o.made), *transfers)
	}
	if l.lost < *transfers/30 {
		t.Errorf("%d answers were lost, want about a tenth of %d", l.lost, *transfers)
	}
}

// serve serves h until the test ends.
func serve(t testing.TB, h http.Handler) (url string) {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// both sends the same request twice at the same time.
func both(ctx context.Context, c *http.Client, url string, t Transfer) error {
	ctx = idempotency.NewContext(ctx)
	other := make(chan error)
	go func() {
		_, err := send(ctx, c, url, t)
		other <- err
	}()
	_, err := send(ctx, c, url, t)
	if twin := <-other; err == nil {
		err = twin
	}
	return err
}

// each has clients make the transfers, several at the same time.
func each(all []Transfer, do func(int, Transfer) error) outcome {
	var o outcome
	var mu sync.Mutex
	var wg sync.WaitGroup
	for first := range clients {
		wg.Go(func() {
			for i := first; i < len(all); i += clients {
				err := do(i, all[i])
				mu.Lock()
				o.add(all[i], err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return o
}
