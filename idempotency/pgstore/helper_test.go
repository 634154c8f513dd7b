package pgstore_test

import (
	"bytes"
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
	for _, c := range change {
		c(cfg)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { db.Close() })
	return db
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
	eventually(t, func() error {
		if number(t, db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
			AND query LIKE '%' || $1 || '%' AND query LIKE '%' || $2 || '%'`, statement, strings.Split(table, ".")[0]) == 0 {
			return errors.New("none waits: " + statement)
		}
		return nil
	})
}

// eventually tries f until it returns nil, for half a minute at most.
func eventually(t testing.TB, f func() error) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after 30 s still: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// A trace lists the statements that were sent, by their first word.
type trace struct {
	mu   sync.Mutex
	sent []string
}

func (tr *trace) into(cfg *pgx.ConnConfig) { cfg.Tracer = tr }

func (tr *trace) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sent = append(tr.sent, strings.ToUpper(strings.Fields(q.SQL)[0]))
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

// A wire is the connections that are dialled with it. The next statement that
// is armed breaks one: it is not sent, or its answer is lost.
type wire struct {
	mu     sync.Mutex
	armed  string
	unsent bool // the statement itself is lost
	before func()
}

func (w *wire) into(cfg *pgx.ConnConfig) {
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &wireConn{Conn: c, wire: w}, err
	}
}

// breakAt breaks the connection on which the statement is sent next.
func (w *wire) breakAt(statement string, unsent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.unsent = statement, unsent
}

// doAt calls f before the statement is sent next.
func (w *wire) doAt(statement string, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed, w.before = statement, f
}

type wireConn struct {
	net.Conn
	wire *wire

	mu   sync.Mutex
	lost bool
}

var errCut = errors.New("the connection is cut")

func (c *wireConn) Write(p []byte) (int, error) {
	w := c.wire
	w.mu.Lock()
	hit := w.armed != "" && bytes.Contains(p, []byte(w.armed))
	unsent, before := w.unsent, w.before
	if hit {
		w.armed, w.before = "", nil
	}
	w.mu.Unlock()
	switch {
	case !hit:
		return c.Conn.Write(p)
	case before != nil:
		before()
		return c.Conn.Write(p)
	case unsent:
		c.Conn.Close()
		return 0, errCut
	}
	c.mu.Lock()
	c.lost = true
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// Read waits for the answer that is lost, so that the server has done what it
// was told.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost && n > 0 {
		c.Conn.Close()
		return 0, errCut
	}
	return n, err
}
