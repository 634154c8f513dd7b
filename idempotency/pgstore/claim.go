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
	var answer idempotency.Answer
	err := untilDecided(func() (err error) {
		answer, err = s.claim(ctx, c)
		return err
	})
	if err != nil {
		return idempotency.Answer{}, s.explain(ctx, "claim", err)
	}
	return answer, nil
}

// errOvertaken is the answer of a statement that could not see what another has
// just committed.
var errOvertaken = errors.New("another changes the record all the time")

// stateOf returns the state that claimSQL calls so.
func stateOf(name string) idempotency.State {
	for s := idempotency.Claimed; s <= idempotency.Abandoned; s++ {
		if s.String() == name {
			return s
		}
	}
	return 0
}

func (s *Store) claim(ctx context.Context, c idempotency.Claim) (idempotency.Answer, error) {
	var state string
	var record []byte
	var left float64
	err := s.db.QueryRowContext(ctx, s.sql.claim, c.ID[:], c.Fingerprint[:], c.Fence[:],
		c.Lease.Seconds(), c.TTL.Seconds(), c.Takeover, s.cfg.lockTimeout()).Scan(&state, &record, &left)
	if errors.Is(err, sql.ErrNoRows) {
		err = errOvertaken
	}
	a := idempotency.Answer{State: stateOf(state), Record: record}
	if a.State == idempotency.InProgress {
		a.LeaseLeft = time.Duration(left * float64(time.Second))
	}
	return a, err
}
