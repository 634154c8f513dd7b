package pgstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/lib/pq"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/idempotency/storetest"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// I-11, I-12, I-13
func TestConformance(t *testing.T) {
	server := services.OwnPostgres(t)
	db := open(t, server)
	s, cfg := newStore(t, db)
	plain := storetest.Config{
		Open:    func(*testing.T) idempotency.Store { return s },
		Restart: func(*testing.T) { server.Kill(); server.Start() },
	}
	t.Run("plain", func(t *testing.T) { storetest.Run(t, plain) })

	run(t, db, "CREATE TABLE "+cfg.Table+"_done (name text)")
	transactional := plain
	transactional.Open = func(*testing.T) idempotency.Store { return inTransaction{pgstore.NewTransactional(db, cfg)} }
	transactional.Work = func(ctx context.Context, name string) error {
		tx, err := pgstore.Tx(ctx)
		if err == nil {
			_, err = tx.ExecContext(ctx, "INSERT INTO "+cfg.Table+"_done VALUES ($1)", name)
		}
		return err
	}
	transactional.Worked = func(t *testing.T, name string) bool {
		return number(t, db, "SELECT count(*) FROM "+cfg.Table+"_done WHERE name = $1", name) > 0
	}
	t.Run("transactional", func(t *testing.T) { storetest.Run(t, transactional) })
}

// inTransaction completes in a transaction what is complete for the first time.
type inTransaction struct{ *pgstore.Transactional }

func (s inTransaction) Complete(ctx context.Context, c idempotency.Claim, record []byte) error {
	work, tx := s.Begin(ctx, c)
	if _, err := pgstore.Tx(work); err != nil {
		return err
	}
	err := tx.Complete(ctx, record)
	if errors.Is(err, idempotency.ErrLeaseLost) {
		err = s.Transactional.Complete(ctx, c, record)
	}
	return err
}

// I-12
func TestOneOfFiftyClaimsWins(t *testing.T) {
	for _, isolation := range []string{"read committed", "serializable"} {
		db := open(t, services.Postgres(t), func(c *pgx.ConnConfig) {
			c.RuntimeParams["default_transaction_isolation"] = isolation
		})
		s, _ := newStore(t, db)
		for range 5 {
			c := newClaim()
			var won atomic.Int32
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					mine := rival(c)
					a, err := s.Claim(t.Context(), mine)
					switch {
					case err != nil:
						t.Errorf("%s: Claim = %v, want nil", isolation, err)
					case a.State == idempotency.Claimed:
						won.Add(1)
					case a.State != idempotency.InProgress:
						t.Errorf("%s: Claim = %v, want in progress", isolation, a.State)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%s: %d of 50 claims won, want 1", isolation, won.Load())
			}
		}
	}
}

func TestRoundTrips(t *testing.T) {
	var sent trace
	s, _ := newStore(t, open(t, services.Postgres(t), sent.into))
	sent.take()
	c := newClaim()
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"Claim", func() error { _, err := s.Claim(t.Context(), c); return err }, "WITH"},
		{"Renew", func() error { return s.Renew(t.Context(), c) }, "UPDATE"},
		{"Claim in progress", func() error { _, err := s.Claim(t.Context(), rival(c)); return err }, "WITH"},
		{"Complete", func() error { return s.Complete(t.Context(), c, []byte("x")) }, "UPDATE"},
		{"Claim done", func() error { _, err := s.Claim(t.Context(), rival(c)); return err }, "WITH"},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s = %v, want nil", step.name, err)
		}
		if got := sent.take(); got != step.want {
			t.Errorf("%s sent %q, want %q", step.name, got, step.want)
		}
	}
}

// Drivers differ in how they send parameters, and proxies in what they let them.
func TestDrivers(t *testing.T) {
	server := services.Postgres(t)
	mode := func(m pgx.QueryExecMode) func(*pgx.ConnConfig) {
		return func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = m }
	}
	pq, err := sql.Open("postgres", server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pq.Close() })
	for name, db := range map[string]*sql.DB{
		"pgx":                      open(t, server),
		"pgx, not prepared":        open(t, server, mode(pgx.QueryExecModeExec)),
		"pgx, the simple protocol": open(t, server, mode(pgx.QueryExecModeSimpleProtocol)),
		"pq":                       pq,
	} {
		t.Run(name, func(t *testing.T) {
			s, effects := newTransactional(t, db)
			c := newClaim()
			claim(t, s, c, idempotency.Claimed)
			claim(t, s, c, idempotency.Claimed)
			if a := claim(t, s, rival(c), idempotency.InProgress); a.LeaseLeft <= 50*time.Second || a.LeaseLeft > time.Minute {
				t.Errorf("LeaseLeft = %v, want about 1m", a.LeaseLeft)
			}
			other := rival(c)
			other.Fingerprint[0]++
			claim(t, s, other, idempotency.Mismatch)
			if err := s.Renew(t.Context(), c); err != nil {
				t.Errorf("Renew = %v, want nil", err)
			}
			if err := s.Release(t.Context(), rival(c)); !errors.Is(err, idempotency.ErrLeaseLost) {
				t.Errorf("Release(rival) = %v, want ErrLeaseLost", err)
			}
			ctx, tx := s.Begin(t.Context(), c)
			effect(t, ctx, effects)
			if err := tx.Complete(t.Context(), []byte("all\x00bytes\xff")); err != nil {
				t.Errorf("Complete = %v, want nil", err)
			}
			if a := claim(t, s, rival(c), idempotency.Done); string(a.Record) != "all\x00bytes\xff" {
				t.Errorf("Record = %q, want %q", a.Record, "all\x00bytes\xff")
			}
			other = newClaim()
			other.TTL = 0
			claim(t, s, other, idempotency.Claimed)
			if n, err := s.Clean(t.Context()); n != 1 || err != nil {
				t.Errorf("Clean = %d, %v, want 1, nil", n, err)
			}
			if number(t, db, "SELECT count(*) FROM "+effects) != 1 {
				t.Errorf("the effect is not there")
			}
		})
	}
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	s, _ := newStore(t, open(t, services.Postgres(t)))
	big := make([]byte, 8<<20)
	_, _ = rand.Read(big)
	for name, record := range map[string][]byte{
		"nil": nil, "empty": {}, "8 MiB": big, "8 MiB of one byte": make([]byte, 8<<20),
	} {
		c := newClaim()
		claim(t, s, c, idempotency.Claimed)
		if err := s.Complete(t.Context(), c, record); err != nil {
			t.Errorf("Complete(%s) = %v, want nil", name, err)
		}
		a := claim(t, s, rival(c), idempotency.Done)
		if !bytes.Equal(a.Record, record) || a.Record == nil {
			t.Errorf("Claim after Complete(%s) = %d bytes, nil %v, want the record, not nil", name, len(a.Record), a.Record == nil)
		}
	}
}

// A row that has expired is gone, whether or not it has been deleted.
func TestExpiredRecordIsNobodys(t *testing.T) {
	s, _ := newStore(t, open(t, services.Postgres(t)))
	c := newClaim()
	c.Lease, c.TTL = 0, 0
	claim(t, s, c, idempotency.Claimed)
	for name, err := range map[string]error{
		"Renew":    s.Renew(t.Context(), c),
		"Complete": s.Complete(t.Context(), c, nil),
		"Release":  s.Release(t.Context(), c),
	} {
		if !errors.Is(err, idempotency.ErrLeaseLost) {
			t.Errorf("%s of an expired record = %v, want ErrLeaseLost", name, err)
		}
	}
}

// What was kept before a record expired is not the next owner's.
func TestExpiredRecordIsForgotten(t *testing.T) {
	s, _ := newStore(t, open(t, services.Postgres(t)))
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	gone := c
	gone.TTL = 0
	if err := s.Complete(t.Context(), gone, []byte("old")); err != nil {
		t.Fatal(err)
	}
	c = rival(c)
	claim(t, s, c, idempotency.Claimed)
	claim(t, s, rival(c), idempotency.InProgress)
	if err := s.Complete(t.Context(), c, []byte("new")); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if a := claim(t, s, rival(c), idempotency.Done); string(a.Record) != "new" {
		t.Errorf("Record = %q, want %q", a.Record, "new")
	}
}

func TestOwnerMayRepeatItself(t *testing.T) {
	s, _ := newStore(t, open(t, services.Postgres(t)))
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	for _, record := range []string{"first", "second"} {
		if err := s.Complete(t.Context(), c, []byte(record)); err != nil {
			t.Errorf("Complete(%s) = %v, want nil", record, err)
		}
	}
	if err := s.Renew(t.Context(), c); err != nil {
		t.Errorf("Renew(complete) = %v, want nil", err)
	}
	if err := s.Release(t.Context(), c); !errors.Is(err, idempotency.ErrLeaseLost) {
		t.Errorf("Release(complete) = %v, want ErrLeaseLost", err)
	}
	if a := claim(t, s, c, idempotency.Done); string(a.Record) != "first" {
		t.Errorf("Record = %q, want that of the first Complete", a.Record)
	}
}

// The lease is by the clock of the server, in which all processes agree.
func TestClockIsTheServers(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	if n := number(t, db, `SELECT count(*) FROM `+cfg.Table+` WHERE
		lease_until - clock_timestamp() BETWEEN '50 s' AND '1 min' AND
		expires_at - clock_timestamp() BETWEEN '59 min' AND '1 h'`); n != 1 {
		t.Error("lease and TTL are not a minute and an hour from the server's time")
	}
	// A lease begins when the lock is there, not when the claim began to wait.
	expire(t, s, c)
	lock := lockRow(t, db, cfg, c)
	done := make(chan error)
	next := rival(c)
	go func() { _, err := s.Claim(t.Context(), next); done <- err }()
	waiting(t, db, cfg.Table, "INSERT")
	var free time.Time
	if err := db.QueryRowContext(t.Context(), "SELECT clock_timestamp()").Scan(&free); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(lock.Rollback(), <-done); err != nil {
		t.Fatalf("Claim = %v, want nil", err)
	}
	if n := number(t, db, `SELECT count(*) FROM `+cfg.Table+` WHERE
		lease_until >= $1::timestamptz + '1 min' AND expires_at >= $1::timestamptz + '1 h' AND claimed_at >= $1::timestamptz`, free); n != 1 {
		t.Error("the lease began before the lock was free")
	}
}

// A row that is locked may be about to change. Who gets the work is not decided
// before that, but what others are told does not wait.
func TestLockedRowIsNotWaitedForLong(t *testing.T) {
	db := open(t, services.Postgres(t))
	_, cfg := newStore(t, db)
	cfg.LockTimeout = 300 * time.Millisecond
	s := pgstore.New(db, cfg)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	lock := lockRow(t, db, cfg, c)
	began := time.Now()
	claim(t, s, rival(c), idempotency.InProgress)
	other := rival(c)
	other.Fingerprint[0]++
	claim(t, s, other, idempotency.Mismatch)
	if took := time.Since(began); took >= cfg.LockTimeout {
		t.Errorf("two claims beside a lock took %v, want no wait", took)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}

	expire(t, s, c)
	lock = lockRow(t, db, cfg, c)
	for name, c := range map[string]idempotency.Claim{"the owner": c, "one who takes over": rival(c)} {
		began := time.Now()
		if a, err := s.Claim(t.Context(), c); state(err) != "55P03" {
			t.Errorf("Claim of %s = %v, %v, want SQLSTATE 55P03", name, a.State, err)
		}
		if took := time.Since(began); took < cfg.LockTimeout || took > 20*cfg.LockTimeout {
			t.Errorf("Claim of %s took %v, want %v", name, took, cfg.LockTimeout)
		}
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	claim(t, s, c, idempotency.Claimed)
}

// I-12: a claim sees a row that it may have, and waits for its lock. What has
// become of the row by then decides.
func TestClaimIsDecidedUnderTheLock(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	for change, want := range map[string]idempotency.State{
		"UPDATE %s SET fence = '\\x01'":                                            idempotency.Claimed,
		"UPDATE %s SET fence = '\\x01', fingerprint = '\\x01'":                     idempotency.Mismatch,
		"UPDATE %s SET fence = '\\x01', record = ''":                               idempotency.Done,
		"UPDATE %s SET fence = '\\x01', lease_until = now() + interval '1 min'":    idempotency.InProgress,
		"UPDATE %s SET fence = '\\x01', fingerprint = '\\x01', expires_at = now()": idempotency.Claimed,
		"DELETE FROM %s": idempotency.Claimed,
	} {
		c := newClaim()
		claim(t, s, c, idempotency.Claimed)
		expire(t, s, c)
		lock := lockRow(t, db, cfg, c)
		run(t, lock, fmt.Sprintf(change, cfg.Table)+" WHERE id = $1", c.ID[:])
		var a idempotency.Answer
		done := make(chan error)
		go func() {
			var err error
			a, err = s.Claim(t.Context(), rival(c))
			done <- err
		}()
		waiting(t, db, cfg.Table, "INSERT")
		if err := errors.Join(lock.Commit(), <-done); err != nil || a.State != want {
			t.Errorf("Claim during %s = %v, %v, want %v", change, a.State, err, want)
		}
	}
}

// I-12: what runs out while a claim waits for a lock has run out once it has the
// lock. The claim need not ask a second time.
func TestTimeIsThatOfTheLock(t *testing.T) {
	server := services.Postgres(t)
	var sent trace
	db := open(t, server)
	_, cfg := newStore(t, db)
	cfg.LockTimeout = -1
	s := pgstore.New(open(t, server, sent.into), cfg)
	for what, change := range map[string]string{
		"lease": "lease_until = clock_timestamp() + interval '300 ms'",
		"TTL":   "record = '', expires_at = clock_timestamp() + interval '300 ms'",
	} {
		c := newClaim()
		claim(t, s, c, idempotency.Claimed)
		expire(t, s, c)
		lock := lockRow(t, db, cfg, c)
		run(t, lock, "UPDATE "+cfg.Table+" SET "+change+" WHERE id = $1", c.ID[:])
		sent.take()
		var a idempotency.Answer
		done := make(chan error, 1)
		go func() {
			var err error
			a, err = s.Claim(t.Context(), rival(c))
			done <- err
		}()
		waiting(t, db, cfg.Table, "INSERT")
		run(t, lock, "SELECT pg_sleep(0.3)")
		if err := errors.Join(lock.Commit(), <-done); err != nil || a.State != idempotency.Claimed {
			t.Errorf("Claim whose wait is longer than the %s = %v, %v, want claimed", what, a.State, err)
		}
		if got := sent.take(); got != "WITH" {
			t.Errorf("Claim whose wait is longer than the %s sent %q, want one statement", what, got)
		}
	}
}

// A lock would be written to the row, and so to the disk.
func TestRefusalWritesNothing(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	pending, done := newClaim(), newClaim()
	claim(t, s, pending, idempotency.Claimed)
	claim(t, s, done, idempotency.Claimed)
	if err := s.Complete(t.Context(), done, nil); err != nil {
		t.Fatal(err)
	}
	claim(t, s, rival(pending), idempotency.InProgress)
	claim(t, s, rival(done), idempotency.Done)
	for _, c := range []idempotency.Claim{pending, done} {
		c.Fingerprint[0]++
		claim(t, s, c, idempotency.Mismatch)
	}
	if n := number(t, db, "SELECT count(*) FROM "+cfg.Table+" WHERE xmax <> 0"); n != 0 {
		t.Errorf("claims that were refused have locked %d rows, want 0", n)
	}
}

func TestUnfinishedInsertIsNobodysClaim(t *testing.T) {
	db := open(t, services.Postgres(t))
	_, cfg := newStore(t, db)
	cfg.LockTimeout = 50 * time.Millisecond
	s := pgstore.New(db, cfg)
	c := newClaim()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	run(t, tx, "INSERT INTO "+cfg.Table+" (id, fingerprint, fence, lease_until, expires_at) VALUES ($1, '', '', 'infinity', 'infinity')", c.ID[:])
	if a, err := s.Claim(t.Context(), c); state(err) != "55P03" {
		t.Errorf("Claim = %v, %v, want SQLSTATE 55P03", a.State, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	claim(t, s, c, idempotency.Claimed)
}

// What a statement sets must not stay with a connection that a proxy gives to
// others.
func TestNothingStaysWithTheSession(t *testing.T) {
	db := open(t, services.Postgres(t))
	db.SetMaxOpenConns(1)
	s, _ := newStore(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	claim(t, s, rival(c), idempotency.InProgress)
	var timeout string
	if err := db.QueryRowContext(t.Context(), "SHOW lock_timeout").Scan(&timeout); err != nil || timeout != "0" {
		t.Errorf("SHOW lock_timeout = %q, %v, want 0", timeout, err)
	}
}

func TestEveryMethodEndsWithItsContext(t *testing.T) {
	db := open(t, services.Postgres(t))
	_, cfg := newStore(t, db)
	cfg.LockTimeout = -1
	s := pgstore.New(db, cfg)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	methods := map[string]func(context.Context) error{
		"Claim":    func(ctx context.Context) error { _, err := s.Claim(ctx, rival(c)); return err },
		"Renew":    func(ctx context.Context) error { return s.Renew(ctx, c) },
		"Complete": func(ctx context.Context) error { return s.Complete(ctx, c, nil) },
		"Release":  func(ctx context.Context) error { return s.Release(ctx, c) },
		"Migrate":  s.Migrate,
		"Clean":    func(ctx context.Context) error { _, err := s.Clean(ctx); return err },
	}
	expire(t, s, c)
	lock := lockRow(t, db, cfg, c)
	for _, name := range []string{"Claim", "Renew", "Complete", "Release"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- methods[name](ctx) }()
		waiting(t, db, cfg.Table, cfgTable(cfg))
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s of a locked row, canceled = %v, want context.Canceled", name, err)
		}
		services.Eventually(t, func() error {
			if number(t, db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'", cfgTable(cfg)) > 0 {
				return errors.New("the server still waits")
			}
			return nil
		})
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	claim(t, s, c, idempotency.Claimed)

	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, method := range methods {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := method(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s without a connection = %v, want context.DeadlineExceeded", name, err)
		}
		cancel()
	}
}

// A driver may tell no more than that the statement was canceled.
func TestCanceledStatementHasTheErrorOfItsContext(t *testing.T) {
	leak.Check(t)
	db, err := sql.Open("postgres", services.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	_, cfg := newStore(t, db)
	cfg.LockTimeout = -1
	s := pgstore.New(db, cfg)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	lockRow(t, db, cfg, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Renew(ctx, c) }()
	waiting(t, db, cfg.Table, "UPDATE")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Renew, canceled = %v, want context.Canceled", err)
	}
}

// cfgTable returns the table as it is in statements.
func cfgTable(cfg pgstore.Config) string {
	return `"` + strings.ReplaceAll(cfg.Table, ".", `"."`) + `"`
}

// The claim waits for a row, and its owner for the table that the claim has.
func TestDeadlockIsTriedAgain(t *testing.T) {
	db := open(t, services.Postgres(t))
	_, cfg := newStore(t, db)
	cfg.LockTimeout = -1
	s := pgstore.New(db, cfg)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	expire(t, s, c)
	lock := lockRow(t, db, cfg, c)
	run(t, lock, "SET LOCAL deadlock_timeout = '1min'") // the other one is to give up
	before := number(t, db, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
	done := make(chan error, 1)
	go func() { _, err := s.Claim(t.Context(), rival(c)); done <- err }()
	waiting(t, db, cfg.Table, "INSERT")
	run(t, lock, "LOCK TABLE "+cfg.Table+" IN SHARE MODE")
	if err := lock.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Claim in a deadlock = %v, want nil", err)
	}
	services.Eventually(t, func() error { // statistics are written now and then
		if number(t, db, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == before {
			return errors.New("there was no deadlock")
		}
		return nil
	})
}

func TestMissingTableIsToldApart(t *testing.T) {
	db := open(t, services.Postgres(t))
	cfg := newConfig(t, db)
	s := pgstore.New(db, cfg)
	_, err := s.Claim(t.Context(), newClaim())
	if err == nil || !strings.Contains(err.Error(), cfgTable(cfg)+" is not there") || !strings.Contains(err.Error(), "Migrate") || state(err) != "42P01" {
		t.Errorf("Claim without a table = %v, want to be told of Migrate", err)
	}
	run(t, db, "CREATE TABLE "+cfg.Table+" (id bytea PRIMARY KEY)")
	if err := s.Complete(t.Context(), newClaim(), nil); err == nil || !strings.Contains(err.Error(), "has other columns") {
		t.Errorf("Complete in another table = %v, want to be told", err)
	}
}

// state returns the SQLSTATE of err, or "".
func state(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func TestClaimsOutliveTheServer(t *testing.T) {
	server := services.OwnPostgres(t)
	db := open(t, server)
	s, cfg := newStore(t, db)
	mine, done := newClaim(), newClaim()
	claim(t, s, mine, idempotency.Claimed)
	claim(t, s, done, idempotency.Claimed)
	if err := s.Complete(t.Context(), done, []byte("kept")); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"Kill": server.Kill, "Stop": server.Stop} {
		expire(t, s, mine)
		lockRow(t, db, cfg, mine)
		answers := make(chan error)
		go func() { _, err := s.Claim(t.Context(), rival(mine)); answers <- err }()
		waiting(t, db, cfg.Table, "INSERT")
		end()
		if err := <-answers; err == nil {
			t.Errorf("Claim during %s = nil, want an error", name)
		}
		if a, err := s.Claim(t.Context(), newClaim()); err == nil {
			t.Errorf("Claim after %s = %v, want an error", name, a.State)
		}
		server.Start()
		services.Eventually(t, func() error { return s.Renew(t.Context(), mine) })
		claim(t, s, rival(mine), idempotency.InProgress)
		if a := claim(t, s, rival(done), idempotency.Done); string(a.Record) != "kept" {
			t.Errorf("Record after %s = %q, want %q", name, a.Record, "kept")
		}
	}
}

// I-11: each operation may be repeated.
func TestLostAnswerIsAskedForAgain(t *testing.T) {
	server := services.Postgres(t)
	proxy := services.NewProxy(t, server.Addr())
	db := open(t, server, viaProxy(proxy))
	s, _ := newStore(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	if err := s.Complete(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	for name, lose := range map[string]func(string) <-chan struct{}{"request": proxy.LoseRequest, "answer": proxy.LoseAnswer} {
		c := newClaim()
		id := string(c.ID[:])
		gone := lose(id)
		a, err := s.Claim(t.Context(), c)
		<-gone
		if err == nil {
			t.Errorf("Claim, %s lost = %v, want an error", name, a.State)
		}
		claim(t, s, c, idempotency.Claimed)
		claim(t, s, rival(c), idempotency.InProgress)
		gone = lose(id)
		err = s.Complete(t.Context(), c, []byte("x"))
		<-gone
		if err == nil || errors.Is(err, idempotency.ErrLeaseLost) {
			t.Errorf("Complete, %s lost = %v, want another error", name, err)
		}
		if err := s.Complete(t.Context(), c, []byte("x")); err != nil {
			t.Errorf("Complete again = %v, want nil", err)
		}
		claim(t, s, rival(c), idempotency.Done)
	}
}
