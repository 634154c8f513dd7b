package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
	"github.com/backstay-go/backstay/internal/transfers"
)

// forms are the two ways to keep keys in PostgreSQL.
var forms = []struct {
	name          string
	transactional bool
}{{"plain", false}, {"transactional", true}}

func TestTransfers(t *testing.T) {
	leak.Check(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			store, l := newBank(t, services.Name(), f.transactional, database(t, services.Postgres(t)), database(t, services.Postgres(t)))
			transfers.Run(t, transfers.Bank{Guard: idempotency.GuardConfig{Store: store}, Ledger: l})
		})
	}
}

// I-14
func TestServerIsKilled(t *testing.T) {
	leak.Check(t)
	const before, between, uncommitted, committed, recorded = transfers.BeforeEffect, transfers.AfterEffect, transfers.BeforeCommit, transfers.AfterCommit, transfers.AfterRecord
	unknown := idempotency.ErrOutcomeUnknown
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		transfers.Killed(t, site(t, false), []transfers.Fate{
			{Step: before, Made: 0, Err: unknown},
			{Step: between, Made: 1, Err: unknown},
			{Step: recorded, Made: 1, Replayed: true},
		})
	})
	t.Run("plain, Reexecute", func(t *testing.T) {
		t.Parallel()
		s := site(t, false)
		s.OnLeaseExpiry = idempotency.Reexecute
		transfers.Killed(t, s, []transfers.Fate{
			{Step: before, Made: 1},
			{Step: between, Made: 2}, // what Reexecute accepts
			{Step: recorded, Made: 1, Replayed: true},
		})
	})
	t.Run("transactional", func(t *testing.T) {
		t.Parallel()
		transfers.Killed(t, site(t, true), []transfers.Fate{
			{Step: before, Made: 1},
			{Step: between, Made: 1},
			{Step: uncommitted, Made: 1},
			{Step: committed, Made: 1, Replayed: true},
			{Step: recorded, Made: 1, Replayed: true},
		})
	})
	t.Run("plain, often", func(t *testing.T) {
		t.Parallel()
		transfers.KilledOften(t, site(t, false), true, before, between, recorded, between)
	})
	t.Run("transactional, often", func(t *testing.T) {
		t.Parallel()
		transfers.KilledOften(t, site(t, true), false, before, between, uncommitted, committed, recorded)
	})
}

// I-20
func TestTransfersOutliveRestarts(t *testing.T) {
	leak.Check(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			server := services.OwnPostgres(t)
			store, l := newBank(t, services.Name(), f.transactional, database(t, server), database(t, server))
			transfers.Outage(t, transfers.Bank{Guard: idempotency.GuardConfig{Store: store}, Ledger: l},
				transfers.Interruption{Name: "killed", End: server.Kill, Begin: server.Start},
				transfers.Interruption{Name: "stopped", End: server.Stop, Begin: server.Start},
			)
		})
	}
}

func TestConnectionIsCutInTheMiddleOfATransfer(t *testing.T) {
	leak.Check(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			server := services.Postgres(t)
			proxy := services.NewProxy(t, server.Addr())
			store, l := newBank(t, services.Name(), f.transactional, database(t, server), database(t, server, through(proxy)))
			cuts := []transfers.Cut{
				{Match: "INSERT"}, // the claim
				{After: transfers.AfterEffect, Match: "UPDATE"}, // the record
			}
			if f.transactional {
				cuts = append(cuts,
					transfers.Cut{After: transfers.BeforeEffect, Match: "begin"},
					transfers.Cut{After: transfers.AfterEffect, Match: "commit"})
			}
			transfers.Cuts(t, transfers.Bank{Guard: idempotency.GuardConfig{Store: store}, Ledger: l}, proxy, cuts...)
		})
	}
}

// through has connections made by the proxy. A statement takes one round trip,
// with its text in it.
func through(p *services.Proxy) func(*pgx.ConnConfig) {
	return func(cfg *pgx.ConnConfig) {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
		dial := cfg.DialFunc
		cfg.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, network, p.Addr())
		}
	}
}

// site returns a store and a ledger in the PostgreSQL that tests share.
func site(t *testing.T, transactional bool) transfers.Site {
	server := services.Postgres(t)
	return transfers.Site{
		Env: []string{"BACKSTAY_TEST_POSTGRES=" + server.URL()},
		Open: func(t testing.TB, name string, at func(transfers.Step)) (idempotency.Store, transfers.Ledger) {
			tell := func(cfg *pgx.ConnConfig) { cfg.Tracer = commits{at} }
			return newBank(t, name, transactional, database(t, server), database(t, server, tell))
		},
	}
}

// commits tells of each commit of a connection.
type commits struct{ at func(transfers.Step) }

func (c commits) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if q.SQL == "commit" {
		c.at(transfers.BeforeCommit)
	}
	return ctx
}

func (c commits) TraceQueryEnd(_ context.Context, _ *pgx.Conn, q pgx.TraceQueryEndData) {
	if q.CommandTag.String() == "COMMIT" {
		c.at(transfers.AfterCommit)
	}
}

// database returns the one of server. Unlike open it is for subtests that run at
// the same time, whose goroutines cannot be told apart.
func database(t testing.TB, server *services.Server, change ...func(*pgx.ConnConfig)) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(cfg)
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxIdleConns(16) // as many as there are clients
	t.Cleanup(func() { db.Close() })
	return db
}

// newBank returns a ledger in money and a store in keys, which are the same
// database, in a schema of this name. The transactional form has both in the
// transactions of keys.
func newBank(t testing.TB, schema string, transactional bool, money, keys *sql.DB) (idempotency.Store, transfers.Ledger) {
	t.Helper()
	for _, statement := range []string{
		"CREATE SCHEMA IF NOT EXISTS " + schema,
		"CREATE TABLE IF NOT EXISTS " + schema + ".accounts (id int PRIMARY KEY, balance bigint NOT NULL)",
		// Not unique: whoever makes a transfer twice must be found out.
		"CREATE TABLE IF NOT EXISTS " + schema + ".entries (transfer text NOT NULL)",
	} {
		run(t, money, statement)
	}
	run(t, money, "INSERT INTO "+schema+".accounts SELECT n, $1 FROM generate_series(0, $2 - 1) n ON CONFLICT DO NOTHING", transfers.Opening, transfers.Accounts)
	t.Cleanup(func() { _, _ = money.Exec("DROP SCHEMA " + schema + " CASCADE") })

	cfg := pgstore.Config{Table: schema + ".keys"}
	store := pgstore.New(money, cfg)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate = %v, want nil", err)
	}
	if transactional {
		return pgstore.NewTransactional(keys, cfg), &books{nil, schema, money}
	}
	return pgstore.New(keys, cfg), &books{money, schema, money}
}

// books is a Ledger in PostgreSQL.
type books struct {
	own    *sql.DB // nil: the transaction of the request is used
	schema string
	db     *sql.DB
}

func (b *books) Apply(ctx context.Context, t transfers.Transfer) error {
	if b.own == nil {
		tx, err := pgstore.Tx(ctx)
		if err != nil {
			return err
		}
		return b.move(ctx, tx, t)
	}
	tx, err := b.own.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := b.move(ctx, tx, t); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return errors.Join(transfers.ErrInDoubt, err)
	}
	return nil
}

// move changes the account of the lower number first, since two transfers that
// lock each other's would wait for ever.
func (b *books) move(ctx context.Context, tx *sql.Tx, t transfers.Transfer) error {
	type change struct {
		account int
		by      int64
	}
	changes := []change{{t.From, -t.Amount}, {t.To, t.Amount}}
	if t.From > t.To {
		changes[0], changes[1] = changes[1], changes[0]
	}
	for _, c := range changes {
		if _, err := tx.ExecContext(ctx, "UPDATE "+b.schema+".accounts SET balance = balance + $2 WHERE id = $1", c.account, c.by); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO "+b.schema+".entries VALUES ($1)", t.ID)
	return err
}

func (b *books) Read(ctx context.Context) (transfers.Book, error) {
	book := transfers.NewBook()
	err := b.each(ctx, "SELECT id, balance FROM "+b.schema+".accounts", func(rows *sql.Rows) error {
		var id int
		var balance int64
		err := rows.Scan(&id, &balance)
		book.Balances[id] = balance
		return err
	})
	if err != nil {
		return book, err
	}
	err = b.each(ctx, "SELECT transfer, count(*) FROM "+b.schema+".entries GROUP BY transfer", func(rows *sql.Rows) error {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		book.Entries[id] = n
		return err
	})
	return book, err
}

func (b *books) each(ctx context.Context, query string, do func(*sql.Rows) error) error {
	rows, err := b.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
