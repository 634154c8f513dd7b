package pgstore

import (
	"context"
	"database/sql"

	"github.com/backstay-go/backstay/idempotency"
)

// A Store keeps idempotency keys in a table of PostgreSQL. It is safe for
// concurrent use; make one with New.
type Store struct {
	db    *sql.DB
	cfg   Config
	table table
	sql   statements
}

var _ idempotency.Store = (*Store)(nil)

// New returns a Store in db, whose driver may be any for PostgreSQL. The table
// must be there: see Migrate. The caller closes db.
//
// It panics if cfg is not valid.
func New(db *sql.DB, cfg Config) *Store {
	if db == nil {
		panic("pgstore: there is no database; open one with sql.Open")
	}
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	t, _ := parseTable(cfg.Table) // as Validate has
	return &Store{db: db, cfg: cfg, table: t, sql: statementsFor(t)}
}

// Renew implements idempotency.Store.
func (s *Store) Renew(ctx context.Context, c idempotency.Claim) error {
	return s.change(ctx, "renew", s.sql.renew, c.ID[:], c.Fence[:], c.Lease.Seconds(), c.TTL.Seconds())
}

// Complete implements idempotency.Store. A record is at most 1 GB.
func (s *Store) Complete(ctx context.Context, c idempotency.Claim, record []byte) error {
	return s.change(ctx, "complete", s.sql.complete, c.ID[:], c.Fence[:], present(record), c.TTL.Seconds())
}

// Release implements idempotency.Store.
func (s *Store) Release(ctx context.Context, c idempotency.Claim) error {
	return s.change(ctx, "release", s.sql.release, c.ID[:], c.Fence[:])
}

// change runs a statement that changes the owner's record.
func (s *Store) change(ctx context.Context, what, statement string, args ...any) error {
	var n int64
	err := untilDecided(func() (err error) {
		n, err = exec(ctx, s.db, statement, args...)
		return err
	})
	switch {
	case err != nil:
		return s.explain(ctx, what, err)
	case n == 0:
		return idempotency.ErrLeaseLost
	}
	return nil
}

// An execer is a *sql.DB or a *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// exec returns how many rows the statement has changed.
func exec(ctx context.Context, db execer, statement string, args ...any) (int64, error) {
	res, err := db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// present returns a record that is not nil, which drivers take for NULL.
func present(record []byte) []byte {
	if record == nil {
		return []byte{}
	}
	return record
}
