package pgstore

import (
	"context"
	"time"
)

// cleanBatch is how many rows Clean deletes in one transaction: few enough that
// it takes milliseconds, where records are small, for which a claim of one of
// them has to wait.
const cleanBatch = 500

// Clean deletes the rows that have expired, and returns how many. Nothing but
// disk space depends on it: what has expired counts no more.
//
// It deletes in batches, each a transaction of its own, so that it neither locks
// many rows nor waits for any. Several processes may clean at the same time. If
// it fails, the number is of those deleted before.
func (s *Store) Clean(ctx context.Context) (int64, error) {
	var total int64
	for {
		var n int64
		err := untilDecided(func() (err error) {
			n, err = exec(ctx, s.db, s.sql.clean, cleanBatch)
			return err
		})
		total += n
		if err != nil || n < cleanBatch {
			return total, s.explain(ctx, "clean", err)
		}
	}
}

// CleanEvery cleans, and again after each interval, until ctx ends. It calls
// failed, which may be nil, with the error of each time that failed, and goes
// on. Run it in a goroutine of its own:
//
//	go store.CleanEvery(ctx, time.Minute, func(err error) { log.Print(err) })
//
// It panics if interval is not positive.
func (s *Store) CleanEvery(ctx context.Context, interval time.Duration, failed func(error)) {
	if interval <= 0 {
		panic("pgstore: CleanEvery needs an interval, such as time.Minute")
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for ctx.Err() == nil {
		if _, err := s.Clean(ctx); err != nil && ctx.Err() == nil && failed != nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
}
