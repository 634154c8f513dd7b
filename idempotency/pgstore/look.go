package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// A row is what lookSQL tells about a record.
type row struct {
	sameRequest, own, complete bool
	record                     []byte
	leaseLeft                  time.Duration
}

// look returns why the work is not c's. It reports false if c should ask again:
// the row has changed in between, and the work may be c's by now.
func (s *Store) look(ctx context.Context, c idempotency.Claim) (idempotency.Answer, bool, error) {
	var r row
	var seconds float64
	err := s.db.QueryRowContext(ctx, s.sql.look, c.ID[:], c.Fingerprint[:], c.Fence[:]).
		Scan(&r.sameRequest, &r.own, &r.complete, &r.record, &seconds)
	if errors.Is(err, sql.ErrNoRows) || undecided(err) {
		return idempotency.Answer{}, false, nil
	}
	r.leaseLeft = time.Duration(seconds * float64(time.Second))
	answer, ok := r.answer(c.Takeover)
	return answer, ok && err == nil, err
}

func (r row) answer(takeover bool) (_ idempotency.Answer, ok bool) {
	switch {
	case !r.sameRequest:
		return idempotency.Answer{State: idempotency.Mismatch}, true
	case r.complete:
		return idempotency.Answer{State: idempotency.Done, Record: r.record}, true
	case r.own:
		return idempotency.Answer{}, false
	case r.leaseLeft > 0:
		return idempotency.Answer{State: idempotency.InProgress, LeaseLeft: r.leaseLeft}, true
	case takeover:
		return idempotency.Answer{}, false
	}
	return idempotency.Answer{State: idempotency.Abandoned}, true
}
