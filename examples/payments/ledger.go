package main

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/backstay-go/backstay/idempotency/pgstore"
)

// A ledger has the payments that were made.
type ledger interface {
	add(context.Context, payment) error
	from(ctx context.Context, account string) ([]payment, error)
}

// inDatabase is a ledger in PostgreSQL.
type inDatabase struct{ db *sql.DB }

// add writes the payment in the transaction in which the record of its key will
// be written. That is all it takes: both are committed, or neither.
func (l inDatabase) add(ctx context.Context, p payment) error {
	tx, err := pgstore.Tx(ctx)
	switch {
	case errors.Is(err, pgstore.ErrNoTransaction): // the request has no key
		return insert(ctx, l.db, p)
	case err != nil:
		return err
	}
	return insert(ctx, tx, p)
}

// insert takes a *sql.DB or a *sql.Tx.
func insert(ctx context.Context, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, p payment) error {
	_, err := db.ExecContext(ctx, "INSERT INTO ledger (payer, payee, amount, purpose) VALUES ($1, $2, $3, $4)", p.From, p.To, p.Amount, p.For)
	return err
}

func (l inDatabase) from(ctx context.Context, account string) (all []payment, err error) {
	rows, err := l.db.QueryContext(ctx, "SELECT payer, payee, amount, purpose FROM ledger WHERE payer = $1 ORDER BY nr", account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p payment
		if err := rows.Scan(&p.From, &p.To, &p.Amount, &p.For); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// open returns the database, with the schema as the place of all tables.
func open(address, schema string) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["search_path"] = schema
	return stdlib.OpenDB(*cfg), nil
}

// migrate makes the tables.
func migrate(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, `CREATE TABLE ledger (
		nr      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		payer   text NOT NULL,
		payee   text NOT NULL,
		amount  bigint NOT NULL,
		purpose text NOT NULL
	)`)
	if err != nil {
		return err
	}
	return keysIn(db).Migrate(ctx)
}

// keysIn is the store of idempotency keys, beside the ledger.
func keysIn(db *sql.DB) *pgstore.Transactional {
	return pgstore.NewTransactional(db, pgstore.Config{})
}

// inMemory is a ledger for those who have no PostgreSQL.
type inMemory struct {
	mu  sync.Mutex
	all []payment
}

func (l *inMemory) add(_ context.Context, p payment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, p)
	return nil
}

func (l *inMemory) from(_ context.Context, account string) ([]payment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(p payment) bool { return p.From != account }), nil
}
