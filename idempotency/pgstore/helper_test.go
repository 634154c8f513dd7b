package pgstore_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// open returns the database of server, by pgx with the options of its URL
// changed by the functions.
func open(t testing.TB, server *services.Server, change ...func(*pgx.ConnConfig)) *sql.DB {
	t.Helper()
	leak.Check(t)
	cfg, err := pgx.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["statement_timeout"] = "30s" // of a test that has locked itself out
	for _, c := range change {
		c(cfg)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { db.Close() })
	return db
}

// viaProxy has the connections go through the proxy.
func viaProxy(p *services.Proxy) func(*pgx.ConnConfig) {
	return func(cfg *pgx.ConnConfig) {
		dial := cfg.DialFunc
		cfg.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, network, p.Addr())
		}
	}
}

// newConfig returns a Config for a table in a schema of the test's own.
func newConfig(t testing.TB, db *sql.DB) pgstore.Config {
	t.Helper()
	schema := services.Name()
	run(t, db, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { _, _ = db.Exec("DROP SCHEMA " + schema + " CASCADE") })
	return pgstore.Config{Table: schema + ".keys"}
}

// newStore returns a Store whose table is there and empty.
func newStore(t testing.TB, db *sql.DB) (*pgstore.Store, pgstore.Config) {
	t.Helper()
	cfg := newConfig(t, db)
	s := pgstore.New(db, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate = %v, want nil", err)
	}
	return s, cfg
}

// newTransactional returns a Transactional, and the name of a table for effects
// in the same database.
func newTransactional(t testing.TB, db *sql.DB, change ...func(*pgstore.Config)) (*pgstore.Transactional, string) {
	t.Helper()
	_, cfg := newStore(t, db)
	schema, _, _ := strings.Cut(cfg.Table, ".")
	run(t, db, "CREATE TABLE "+schema+".effects (n int)")
	for _, c := range change {
		c(&cfg)
	}
	return pgstore.NewTransactional(db, cfg), schema + ".effects"
}

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func run(t testing.TB, db execer, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// number returns the only value that the query has.
func number(t testing.TB, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// newClaim returns a claim to a new ID.
func newClaim() idempotency.Claim {
	c := idempotency.Claim{Fingerprint: sha256.Sum256([]byte("a request")), Fence: idempotency.NewFence(), Lease: time.Minute, TTL: time.Hour}
	_, _ = rand.Read(c.ID[:])
	return c
}

// rival returns the claim of another to the same work, who would take over.
func rival(c idempotency.Claim) idempotency.Claim {
	c.Fence, c.Takeover = idempotency.NewFence(), true
	return c
}

// claim fails the test unless the answer to c has the state.
func claim(t testing.TB, s idempotency.Store, c idempotency.Claim, want idempotency.State) idempotency.Answer {
	t.Helper()
	a, err := s.Claim(t.Context(), c)
	if err != nil || a.State != want {
		t.Fatalf("Claim = %v, %v, want %v", a.State, err, want)
	}
	return a
}

// expire lets the lease of c run out.
func expire(t testing.TB, s idempotency.Store, c idempotency.Claim) {
	t.Helper()
	c.Lease = 0
	if err := s.Renew(t.Context(), c); err != nil {
		t.Fatalf("Renew(lease 0) = %v, want nil", err)
	}
}

// lockRow returns a transaction that has the row of c locked.
func lockRow(t testing.TB, db *sql.DB, cfg pgstore.Config, c idempotency.Claim) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	run(t, tx, "SELECT FROM "+cfg.Table+" WHERE id = $1 FOR UPDATE", c.ID[:])
	return tx
}

// waiting returns when a statement that begins so waits for a lock.
func waiting(t testing.TB, db *sql.DB, table, statement string) {
	t.Helper()
	services.Eventually(t, func() error {
		if number(t, db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE '%' || $1 || '%' AND query LIKE '%' || $2 || '%'`, statement, strings.Split(table, ".")[0]) == 0 {
			return errors.New("none waits: " + statement)
		}
		return nil
	})
}

// A trace lists the statements that were sent, by their first word.
type trace struct {
	mu   sync.Mutex
	sent []string
	at   map[string]func() // what to do before one is sent
}

func (tr *trace) into(cfg *pgx.ConnConfig) { cfg.Tracer = tr }

func (tr *trace) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	word := strings.ToUpper(strings.Fields(q.SQL)[0])
	tr.mu.Lock()
	tr.sent = append(tr.sent, word)
	f := tr.at[word]
	tr.mu.Unlock()
	if f != nil {
		f()
	}
	return ctx
}

func (tr *trace) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns what was sent since the last time.
func (tr *trace) take() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	sent := strings.Join(tr.sent, " ")
	tr.sent = nil
	return sent
}

// doAt has f called before each statement that begins with the word, until it
// is nil.
func (tr *trace) doAt(word string, f func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.at = map[string]func(){word: f}
}
