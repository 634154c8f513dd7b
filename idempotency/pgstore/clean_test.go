package pgstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/services"
)

func TestCleanDeletesWhatHasExpiredInBatches(t *testing.T) {
	var sent trace
	db := open(t, services.Postgres(t), sent.into)
	s, cfg := newStore(t, db)
	run(t, db, "INSERT INTO "+cfg.Table+` (id, fingerprint, fence, lease_until, record, expires_at)
		SELECT int4send(n), '', '', now(), CASE WHEN n % 2 = 0 THEN '\x00'::bytea END,
			now() + CASE WHEN n < 1200 THEN -1 ELSE 1 END * interval '1 hour'
		FROM generate_series(0, 1209) n`)
	sent.take()
	if n, err := s.Clean(t.Context()); n != 1200 || err != nil {
		t.Errorf("Clean = %d, %v, want 1200, nil", n, err)
	}
	if got := sent.take(); got != "DELETE DELETE DELETE" {
		t.Errorf("Clean of 1200 rows sent %q, want 3 batches", got)
	}
	if n := number(t, db, "SELECT count(*) FROM "+cfg.Table); n != 10 {
		t.Errorf("%d rows left, want the 10 that have not expired", n)
	}
}

func TestCleanLeavesLockedRows(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	c := newClaim()
	c.TTL = 0
	claim(t, s, c, idempotency.Claimed)
	lock := lockRow(t, db, cfg, c)
	if n, err := s.Clean(t.Context()); n != 0 || err != nil {
		t.Errorf("Clean of a locked row = %d, %v, want 0, nil", n, err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Clean(t.Context()); n != 1 || err != nil {
		t.Errorf("Clean = %d, %v, want 1, nil", n, err)
	}
}

// Expired keys are claimed anew while they are deleted, by several processes.
func TestCleanTakesNothingFromItsOwner(t *testing.T) {
	s, _ := newStore(t, open(t, services.Postgres(t)))
	stop := make(chan struct{})
	var cleaners, owners sync.WaitGroup
	for range 2 {
		cleaners.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Clean(t.Context()); err != nil {
					t.Errorf("Clean = %v, want nil", err)
				}
			}
		})
	}
	for range 8 {
		owners.Go(func() {
			for range 50 {
				c := newClaim()
				c.Lease, c.TTL = 0, 0
				claim(t, s, c, idempotency.Claimed)
				c = rival(c)
				c.Lease, c.TTL = time.Minute, time.Hour
				claim(t, s, c, idempotency.Claimed)
				if err := s.Complete(t.Context(), c, nil); err != nil {
					t.Errorf("Complete = %v, want nil", err)
				}
			}
		})
	}
	owners.Wait()
	close(stop)
	cleaners.Wait()
}

func TestCleanEvery(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		s.CleanEvery(ctx, time.Millisecond, func(err error) { t.Errorf("CleanEvery failed with %v, want no error", err) })
	})
	for range 2 {
		c := newClaim()
		c.TTL = 0
		claim(t, s, c, idempotency.Claimed)
		services.Eventually(t, func() error {
			if number(t, db, "SELECT count(*) FROM "+cfg.Table) > 0 {
				return errors.New("the expired row is there")
			}
			return nil
		})
	}
	cancel()
	done.Wait()
	s.CleanEvery(ctx, time.Hour, nil)
}

func TestCleanEveryTellsAndGoesOn(t *testing.T) {
	db := open(t, services.Postgres(t))
	s := pgstore.New(db, newConfig(t, db))
	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	s.CleanEvery(ctx, time.Millisecond, func(err error) {
		if told = append(told, err.Error()); len(told) == 2 {
			cancel()
		}
	})
	if len(told) != 2 || !strings.Contains(told[0], "Migrate") {
		t.Errorf("CleanEvery told %q, want twice that there is no table", told)
	}
	if panicOf(func() { s.CleanEvery(ctx, 0, nil) }) == nil {
		t.Error("CleanEvery(0) did not panic")
	}
}
