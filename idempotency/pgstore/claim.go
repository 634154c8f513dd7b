package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// Claim implements idempotency.Store. It is one statement, and another one where
// somebody else claims the same at the same time.
//
// Where the row stays locked for longer than LockTimeout it returns the error of
// the server, with SQLSTATE 55P03: perhaps its owner is just committing.
func (s *Store) Claim(ctx context.Context, c idempotency.Claim) (idempotency.Answer, error) {
	for range maxTries {
		answer, err := s.claim(ctx, c)
		switch {
		case err == nil:
			return answer, nil
		case !errors.Is(err, sql.ErrNoRows) && !undecided(err):
			return idempotency.Answer{}, s.explain(ctx, "claim", err)
		}
	}
	return idempotency.Answer{}, errBusy
}

// errBusy takes an extraordinary number of others that all come first.
var errBusy = errors.New("pgstore: claim: others change the record all the time")

// states are those that claimSQL returns.
var states = map[string]idempotency.State{}

func init() {
	for s := idempotency.Claimed; s <= idempotency.Abandoned; s++ {
		states[s.String()] = s
	}
}

// claim returns sql.ErrNoRows if another was quicker.
func (s *Store) claim(ctx context.Context, c idempotency.Claim) (idempotency.Answer, error) {
	var state string
	var record []byte
	var left float64
	err := s.db.QueryRowContext(ctx, s.sql.claim, c.ID[:], c.Fingerprint[:], c.Fence[:],
		c.Lease.Seconds(), c.TTL.Seconds(), c.Takeover, s.cfg.lockTimeout()).Scan(&state, &record, &left)
	a := idempotency.Answer{State: states[state], Record: record}
	if a.State == idempotency.InProgress {
		a.LeaseLeft = time.Duration(left * float64(time.Second))
	}
	return a, err
}
