package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/services"
)

// effect does something in the transaction of ctx.
func effect(t testing.TB, ctx context.Context, effects string) *sql.Tx {
	t.Helper()
	tx, err := pgstore.Tx(ctx)
	if err != nil {
		t.Fatalf("Tx = %v, want nil", err)
	}
	run(t, tx, "INSERT INTO "+effects+" VALUES (1)")
	return tx
}

// A job is a claim whose work is under way, with an effect in its transaction.
type job struct {
	t       testing.TB
	db      *sql.DB
	store   *pgstore.Transactional
	effects string
	c       idempotency.Claim
	ctx     context.Context // the work's
	cancel  context.CancelFunc
	tx      idempotency.Tx
	sql     *sql.Tx
}

func newJob(t testing.TB, db *sql.DB, change ...func(*pgstore.Config)) *job {
	t.Helper()
	s, effects := newTransactional(t, db, change...)
	j := &job{t: t, db: db, store: s, effects: effects}
	j.begin(newClaim())
	return j
}

// begin begins the work of another claim, with the same table of effects.
func (j *job) begin(c idempotency.Claim) {
	j.t.Helper()
	j.c = c
	claim(j.t, j.store, c, idempotency.Claimed)
	j.ctx, j.cancel = context.WithCancel(j.t.Context())
	j.t.Cleanup(j.cancel)
	j.ctx, j.tx = j.store.Begin(j.ctx, c)
	tx := j.tx
	j.t.Cleanup(func() { _ = tx.Rollback() })
	j.sql = effect(j.t, j.ctx, j.effects)
}

func (j *job) complete() error { return j.tx.Complete(j.t.Context(), []byte("paid")) }

// want compares what is there, for all others to see. Done is the state that
// another claimer is told.
func (j *job) want(effects int, state idempotency.State) {
	j.t.Helper()
	if n := number(j.t, j.db, "SELECT count(*) FROM "+j.effects); n != effects {
		j.t.Errorf("%d effects, want %d", n, effects)
	}
	other := rival(j.c)
	other.Takeover = false
	if a := claim(j.t, j.store, other, state); state == idempotency.Done && string(a.Record) != "paid" {
		j.t.Errorf("Record = %q, want %q", a.Record, "paid")
	}
}

// I-14
func TestEffectAndRecordCommitTogether(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	j.want(0, idempotency.InProgress)
	if err := j.complete(); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	j.want(1, idempotency.Done)
	if err := j.tx.Rollback(); err != nil {
		t.Errorf("Rollback after Complete = %v, want nil", err)
	}
	if err := j.complete(); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("second Complete = %v, want sql.ErrTxDone", err)
	}
	j.want(1, idempotency.Done)
}

// I-14
func TestRollbackUndoesTheEffect(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	for range 2 {
		if err := j.tx.Rollback(); err != nil {
			t.Errorf("Rollback = %v, want nil", err)
		}
	}
	j.want(0, idempotency.InProgress)
	if _, err := pgstore.Tx(j.ctx); !errors.Is(err, sql.ErrTxDone) {
		t.Errorf("Tx after Rollback = %v, want sql.ErrTxDone", err)
	}
	if err := j.store.Release(t.Context(), j.c); err != nil {
		t.Errorf("Release = %v, want nil", err)
	}
}

// I-14: the database may refuse as late as in COMMIT.
func TestConflictAtCommitUndoesBoth(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	if err := j.tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	run(t, j.db, "ALTER TABLE "+j.effects+" ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
	j.begin(newClaim())
	effect(t, j.ctx, j.effects)
	if err := j.complete(); state(err) != "23505" {
		t.Errorf("Complete with two equal effects = %v, want SQLSTATE 23505", err)
	}
	j.want(0, idempotency.InProgress)
	claim(t, j.store, j.c, idempotency.Claimed)
}

// I-13, I-14: the owner stalls, another does the work, and the owner goes on.
func TestLateOwnersEffectVanishes(t *testing.T) {
	for name, done := range map[string]bool{"and is at work": false, "and has done it": true} {
		t.Run(name, func(t *testing.T) {
			late := newJob(t, open(t, services.Postgres(t)))
			expire(t, late.store, late.c)
			heir := *late
			heir.begin(rival(late.c))
			if done {
				if err := heir.complete(); err != nil {
					t.Errorf("the heir's Complete = %v, want nil", err)
				}
			}
			if err := late.complete(); !errors.Is(err, idempotency.ErrLeaseLost) {
				t.Errorf("the late owner's Complete = %v, want ErrLeaseLost", err)
			}
			if !done {
				late.want(0, idempotency.InProgress)
				if err := heir.complete(); err != nil {
					t.Errorf("the heir's Complete = %v, want nil", err)
				}
			}
			late.want(1, idempotency.Done)
		})
	}
}

// I-13, I-14: nobody can take over between the record and COMMIT.
func TestTakeoverWaitsForCommit(t *testing.T) {
	var sent trace
	j := newJob(t, open(t, services.Postgres(t), sent.into))
	expire(t, j.store, j.c)
	answer := make(chan idempotency.State)
	sent.doAt("COMMIT", func() {
		sent.doAt("", nil)
		go func() {
			a, err := j.store.Claim(t.Context(), rival(j.c))
			if err != nil {
				t.Errorf("Claim = %v, want nil", err)
			}
			answer <- a.State
		}()
		waiting(t, j.db, strings.TrimSuffix(j.effects, ".effects"), "INSERT")
	})
	if err := j.complete(); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if got := <-answer; got != idempotency.Done {
		t.Errorf("Claim during COMMIT = %v, want done", got)
	}
	j.want(1, idempotency.Done)
}

// A second transaction of the same claim would do the work twice.
func TestAClaimCommitsOneTransaction(t *testing.T) {
	first := newJob(t, open(t, services.Postgres(t)))
	second := *first
	second.begin(first.c)
	if err := first.complete(); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if err := second.complete(); !errors.Is(err, idempotency.ErrLeaseLost) {
		t.Errorf("Complete of the same claim's second transaction = %v, want ErrLeaseLost", err)
	}
	first.want(1, idempotency.Done)
}

// A handler that ignores an error would answer for effects that are not there.
func TestFailedStatementIsNotPassedOver(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	_, _ = j.sql.ExecContext(j.ctx, "SELECT 1 / 0")
	err := j.complete()
	if state(err) != "25P02" || !strings.Contains(err.Error(), "roll back to a savepoint") {
		t.Errorf("Complete after a failed statement = %v, want SQLSTATE 25P02 and what to do", err)
	}
	j.want(0, idempotency.InProgress)

	j.begin(newClaim())
	run(t, j.sql, "SAVEPOINT s")
	_, _ = j.sql.ExecContext(j.ctx, "SELECT 1 / 0")
	run(t, j.sql, "ROLLBACK TO s")
	if err := j.complete(); err != nil {
		t.Errorf("Complete after ROLLBACK TO = %v, want nil", err)
	}
	j.want(1, idempotency.Done)
}

func TestCompleteTellsThatTheWorkHasEndedItsTransaction(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	for effects, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
		if err := end(j.sql); err != nil {
			t.Fatal(err)
		}
		if err := j.complete(); !errors.Is(err, idempotency.ErrTransactionEnded) {
			t.Errorf("Complete after the work's own end = %v, want ErrTransactionEnded", err)
		}
		j.want(effects, idempotency.InProgress)
		j.begin(newClaim())
	}
}

// I-14: work that has committed itself is not done again, and that of a deferred
// Rollback is not taken to be done.
func TestNobodyIsToldThatWorkWasDoneThatEndsItsTransaction(t *testing.T) {
	for want, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
		db := open(t, services.Postgres(t))
		s, effects := newTransactional(t, db)
		var told []string
		guard := idempotency.NewGuard(idempotency.GuardConfig{Store: s, OnEvent: func(_ context.Context, e idempotency.Event) {
			told = append(told, string(e.Kind))
		}})
		for range 2 {
			_, _, err := guard.Do(t.Context(), idempotency.Request{Tenant: "t", Key: "k"}, func(ctx context.Context) idempotency.Result {
				if err := end(effect(t, ctx, effects)); err != nil {
					t.Error(err)
				}
				return idempotency.Result{Record: []byte("paid")}
			})
			if !errors.Is(err, idempotency.ErrOutcomeUnknown) {
				t.Errorf("Do = %v, want ErrOutcomeUnknown", err)
			}
		}
		if got := strings.Join(told, " "); got != "store_failed refused refused" {
			t.Errorf("OnEvent was told %q, want of the misuse, once", got)
		}
		if n := number(t, db, "SELECT count(*) FROM "+effects); n != want {
			t.Errorf("%d effects, want %d", n, want)
		}
	}
}

// I-14: of fifty requests with a key one has the effect, and all get its answer.
func TestGuardHasOneEffectForEachKey(t *testing.T) {
	db := open(t, services.Postgres(t))
	db.SetMaxOpenConns(10)
	s, effects := newTransactional(t, db)
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: s})
	for _, key := range []string{"a", "b"} {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				services.Eventually(t, func() error {
					record, _, err := guard.Do(t.Context(), idempotency.Request{Tenant: "t", Key: key}, func(ctx context.Context) idempotency.Result {
						effect(t, ctx, effects)
						return idempotency.Result{Record: []byte(key)}
					})
					if err == nil && string(record) != key {
						t.Errorf("Do(%s) = %q, want %q", key, record, key)
					}
					return err
				})
			})
		}
		wg.Wait()
	}
	if n := number(t, db, "SELECT count(*) FROM "+effects); n != 2 {
		t.Errorf("%d effects of 2 keys, want 2", n)
	}
}

// The end of a context rolls back as well, and that the work does not know.
func TestWorkWhoseContextEndedKeepsNothing(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	for _, rolledBack := range []bool{false, true} {
		j.cancel()
		if rolledBack {
			services.Eventually(t, func() error {
				if _, err := j.sql.ExecContext(t.Context(), "SELECT 1"); !errors.Is(err, sql.ErrTxDone) {
					return errors.New("it is not rolled back")
				}
				return nil
			})
		}
		if err := j.complete(); !errors.Is(err, context.Canceled) {
			t.Errorf("Complete after the end of the work's context = %v, want context.Canceled", err)
		}
		j.want(0, idempotency.InProgress)
		j.begin(newClaim())
	}
}

// An answer is not lost because the time for the work is over, and a commit
// takes no longer than its caller wants.
func TestCompleteHasItsOwnContext(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)))
	schema := strings.TrimSuffix(j.effects, ".effects")
	blocked := func(ctx context.Context) (lock *sql.Tx, done chan error) {
		lock = lockRow(t, j.db, pgstore.Config{Table: schema + ".keys"}, j.c)
		done = make(chan error)
		go func() { done <- j.tx.Complete(ctx, []byte("paid")) }()
		waiting(t, j.db, schema, "UPDATE")
		return lock, done
	}
	lock, done := blocked(t.Context())
	j.cancel()
	if err := errors.Join(lock.Rollback(), <-done); err != nil {
		t.Errorf("Complete while the work's context ends = %v, want nil", err)
	}
	j.want(1, idempotency.Done)

	j.begin(newClaim())
	ctx, cancel := context.WithCancel(t.Context())
	lock, done = blocked(ctx)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Complete whose context ends = %v, want context.Canceled", err)
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	j.want(1, idempotency.InProgress)
}

// Commit of database/sql has no context of its own.
func TestCommitEndsWithTheContextOfComplete(t *testing.T) {
	server := services.Postgres(t)
	proxy := services.NewProxy(t, server.Addr())
	var sent trace
	j := newJob(t, open(t, server, viaProxy(proxy), sent.into))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent.doAt("COMMIT", func() {
		proxy.Hang()
		cancel()
	})
	done := make(chan error, 1)
	go func() { done <- j.tx.Complete(ctx, []byte("paid")) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Complete = %v, want context.Canceled", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Complete waits for COMMIT, want it to end with its context")
	}
	proxy.Resume()
}

// Nor has Rollback, and the work may have a minute.
func TestRollbackDoesNotWaitForAServerThatHangs(t *testing.T) {
	server := services.Postgres(t)
	proxy := services.NewProxy(t, server.Addr())
	s, effects := newTransactional(t, open(t, server, viaProxy(proxy)))
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: s, StoreTimeout: time.Second})
	done := make(chan error, 1)
	go func() {
		_, _, err := guard.Do(t.Context(), idempotency.Request{Tenant: "t", Key: "k"}, func(ctx context.Context) idempotency.Result {
			effect(t, ctx, effects)
			proxy.Hang()
			return idempotency.Result{Verdict: idempotency.Reject}
		})
		done <- err
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("Do waits for ROLLBACK, want an end after some seconds")
	}
	proxy.Resume()
}

func TestThereIsNoTransaction(t *testing.T) {
	s, _ := newTransactional(t, open(t, services.Postgres(t)))
	if _, err := pgstore.Tx(t.Context()); !errors.Is(err, pgstore.ErrNoTransaction) {
		t.Errorf("Tx without Begin = %v, want ErrNoTransaction", err)
	}
	if _, ok := idempotency.Store(s.Store).(idempotency.Transactor); ok {
		t.Error("a Store is a Transactor, want only a Transactional to be one")
	}
}

func TestTransactionIsBegunOnceAndWhenAskedFor(t *testing.T) {
	var sent trace
	db := open(t, services.Postgres(t), sent.into)
	s, effects := newTransactional(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	sent.take()
	_, tx := s.Begin(t.Context(), c)
	if err := tx.Complete(t.Context(), nil); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if got := sent.take(); got != "UPDATE" {
		t.Errorf("work without a transaction sent %q, want UPDATE alone", got)
	}

	c = newClaim()
	claim(t, s, c, idempotency.Claimed)
	sent.take()
	ctx, tx := s.Begin(t.Context(), c)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := pgstore.Tx(ctx); err != nil {
				t.Errorf("Tx = %v, want nil", err)
			}
		})
	}
	wg.Wait()
	first, second := effect(t, ctx, effects), effect(t, ctx, effects)
	if first != second {
		t.Error("Tx returned two transactions, want one")
	}
	if err := tx.Complete(t.Context(), nil); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if got, want := sent.take(), "BEGIN INSERT INSERT UPDATE COMMIT"; got != want {
		t.Errorf("work with two effects sent %q, want %q", got, want)
	}
}

func TestBeginMayBeTriedAgain(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, effects := newTransactional(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	work, tx := s.Begin(t.Context(), c)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(work, 10*time.Millisecond)
	defer cancel()
	if _, err := pgstore.Tx(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Tx without a connection = %v, want context.DeadlineExceeded", err)
	}
	// One who waits for another's Tx waits no longer than its own context.
	first := make(chan error)
	go func() { _, err := pgstore.Tx(work); first <- err }()
	services.Eventually(t, func() error {
		if db.Stats().WaitCount < 2 {
			return errors.New("it does not wait")
		}
		return nil
	})
	if _, err := pgstore.Tx(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Tx behind another's = %v, want context.DeadlineExceeded", err)
	}
	if err := errors.Join(conn.Close(), <-first); err != nil {
		t.Errorf("Tx with a connection = %v, want nil", err)
	}
	effect(t, work, effects)
	if err := tx.Complete(t.Context(), nil); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if n := number(t, db, "SELECT count(*) FROM "+effects); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// A transaction outlives the context of the call of Tx that has begun it.
func TestTransactionHasTheContextOfTheWork(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, effects := newTransactional(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	work, tx := s.Begin(t.Context(), c)
	part, cancel := context.WithCancel(work)
	effect(t, part, effects)
	cancel()
	effect(t, work, effects)
	if err := tx.Complete(t.Context(), nil); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if n := number(t, db, "SELECT count(*) FROM "+effects); n != 2 {
		t.Errorf("%d effects, want 2", n)
	}
}

// I-14: one of two transactions that read what the other writes is undone, and
// its work can be done again.
func TestSerializationFailureUndoesBoth(t *testing.T) {
	j := newJob(t, open(t, services.Postgres(t)), func(c *pgstore.Config) { c.Isolation = sql.LevelSerializable })
	var n int
	if err := j.sql.QueryRowContext(j.ctx, "SELECT count(*) FROM "+j.effects).Scan(&n); err != nil {
		t.Fatal(err)
	}
	other := *j
	other.begin(newClaim())
	if err := other.sql.QueryRowContext(other.ctx, "SELECT count(*) FROM "+j.effects).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if err := j.complete(); err != nil {
		t.Errorf("Complete = %v, want nil", err)
	}
	if err := other.complete(); state(err) != "40001" {
		t.Errorf("Complete after a conflict = %v, want SQLSTATE 40001", err)
	}
	other.want(1, idempotency.InProgress)
	if err := other.store.Release(t.Context(), other.c); err != nil {
		t.Errorf("Release = %v, want nil", err)
	}
	other.begin(newClaim())
	if err := other.complete(); err != nil {
		t.Errorf("Complete again = %v, want nil", err)
	}
	other.want(2, idempotency.Done)
}

// The stricter levels do not get along with the renewal of leases: see
// Config.Isolation.
func TestRenewedLeaseIsAConflictUnderRepeatableRead(t *testing.T) {
	for level, want := range map[sql.IsolationLevel]string{sql.LevelDefault: "", sql.LevelRepeatableRead: "40001"} {
		j := newJob(t, open(t, services.Postgres(t)), func(c *pgstore.Config) { c.Isolation = level })
		if err := j.store.Renew(t.Context(), j.c); err != nil {
			t.Fatal(err)
		}
		if err := j.complete(); state(err) != want {
			t.Errorf("%v: Complete after Renew = %v, want SQLSTATE %q", level, err, want)
		}
	}
}

// I-14: COMMIT or its answer is lost, and the next claim tells which.
func TestLostCommitIsFoundOut(t *testing.T) {
	server := services.Postgres(t)
	proxy := services.NewProxy(t, server.Addr())
	db := open(t, server, viaProxy(proxy))
	j := newJob(t, db)
	gone := proxy.LoseAnswer("commit")
	err := j.complete()
	<-gone
	if err == nil || errors.Is(err, idempotency.ErrLeaseLost) {
		t.Errorf("Complete, answer lost = %v, want another error", err)
	}
	if err := j.tx.Rollback(); err != nil {
		t.Errorf("Rollback after Complete = %v, want nil", err)
	}
	claim(t, j.store, j.c, idempotency.Done)
	j.want(1, idempotency.Done)

	j.begin(newClaim())
	gone = proxy.LoseRequest("commit")
	err = j.complete()
	<-gone
	if err == nil || errors.Is(err, idempotency.ErrLeaseLost) {
		t.Errorf("Complete, COMMIT lost = %v, want another error", err)
	}
	claim(t, j.store, j.c, idempotency.Claimed)
	j.want(1, idempotency.InProgress)
}

// I-14: the server is killed while the work is done, and while it is committed.
func TestKilledServerKeepsBothOrNeither(t *testing.T) {
	server := services.OwnPostgres(t)
	var sent trace
	j := newJob(t, open(t, server, sent.into, func(c *pgx.ConnConfig) { c.ConnectTimeout = 5 * time.Second }))
	server.Kill()
	if err := j.complete(); err == nil || errors.Is(err, idempotency.ErrLeaseLost) || errors.Is(err, sql.ErrTxDone) {
		t.Errorf("Complete of a killed server = %v, want its error", err)
	}
	server.Start()
	services.Eventually(t, func() error { return j.store.Renew(t.Context(), j.c) })
	j.want(0, idempotency.InProgress)

	effects := 0
	for range 4 {
		j.begin(newClaim())
		killed := make(chan struct{})
		sent.doAt("COMMIT", func() {
			go func() { server.Kill(); close(killed) }()
		})
		err := j.complete()
		sent.doAt("", nil)
		<-killed
		server.Start()
		var a idempotency.Answer
		services.Eventually(t, func() (err error) { a, err = j.store.Claim(t.Context(), j.c); return err })
		switch {
		case a.State == idempotency.Done:
			effects++
			j.want(effects, idempotency.Done)
		case err == nil:
			t.Errorf("Claim after Complete = %v, want done", a.State)
		default:
			j.want(effects, idempotency.InProgress)
		}
	}
}
