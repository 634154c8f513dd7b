package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// A Transactional is a Store that gives the work of a request a transaction:
// what the work changes in it and the record of its result are committed
// together. It is safe for concurrent use; make one with NewTransactional.
type Transactional struct{ *Store }

var _ idempotency.Transactor = (*Transactional)(nil)

// NewTransactional returns a Transactional in db, where the work's own tables
// have to be as well. Otherwise it is as New.
func NewTransactional(db *sql.DB, cfg Config) *Transactional {
	return &Transactional{New(db, cfg)}
}

// Begin implements idempotency.Transactor: the work finds its transaction with
// Tx. It is rolled back when ctx ends before it is completed.
func (t *Transactional) Begin(ctx context.Context, c idempotency.Claim) (context.Context, idempotency.Tx) {
	w := &work{store: t.Store, claim: c, ctx: ctx, turn: make(chan struct{}, 1)}
	return context.WithValue(ctx, workKey{}, w), w
}

// ErrNoTransaction is what Tx returns where there is no transaction to be had:
// the request did not come with a key, or not through a Transactional.
var ErrNoTransaction = errors.New("pgstore: the context is not that of a request with a key, in a Transactional store")

// Tx returns the transaction of the request's work: the same one each time. The
// first call begins it, and what is not asked for costs nothing.
//
// The caller neither commits it nor rolls it back. That is the Guard's part, once
// the work has answered: an answer that says it is done is committed with the
// record, and any other rolls back what was changed. Where the caller has ended
// it, as by a deferred tx.Rollback, and answers that all went well, nobody can
// tell whether it did: the Guard answers idempotency.ErrOutcomeUnknown, and
// tells OnEvent why.
//
// Where the database refuses the COMMIT, as for a deferred constraint, nothing
// is done and the Guard answers as if the store were down, again at each attempt;
// OnEvent is told the cause, with its SQLSTATE.
//
// It returns ErrNoTransaction if ctx has none, an error that wraps
// sql.ErrTxDone if the work is over, and the database's error if it cannot
// begin, after which it may be called again.
func Tx(ctx context.Context) (*sql.Tx, error) {
	w, _ := ctx.Value(workKey{}).(*work)
	if w == nil {
		return nil, ErrNoTransaction
	}
	if err := w.lock(ctx); err != nil {
		return nil, err
	}
	defer w.unlock()
	switch {
	case w.over:
		return nil, fmt.Errorf("pgstore: the work is over: %w", sql.ErrTxDone)
	case w.tx == nil:
		if err := w.begin(ctx); err != nil {
			return nil, w.store.explain(ctx, "begin", err)
		}
	}
	return w.tx, nil
}

// workKey is under which a context has its *work.
type workKey struct{}

// work is what one owner does for a key, and implements idempotency.Tx.
type work struct {
	store *Store
	claim idempotency.Claim
	ctx   context.Context // the work's

	turn chan struct{} // full while one has the lock on what follows
	tx   *sql.Tx       // nil until the work asks for it
	over bool

	cancel context.CancelFunc // ends the context of tx
	untie  func() bool        // keeps the end of ctx from doing so
}

// lock is a mutex that can be given up waiting for.
func (w *work) lock(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *work) unlock() { <-w.turn }

// begin begins the transaction on behalf of a caller, whose context may be
// shorter than that of the work.
//
// The transaction has a context of its own. It ends with that of the work until
// the work is over, and from then on with that of Complete: an answer must not
// be lost because the work's time has run out while it is committed.
func (w *work) begin(caller context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	untie := context.AfterFunc(w.ctx, cancel)
	stop := context.AfterFunc(caller, cancel)
	tx, err := w.store.db.BeginTx(ctx, &sql.TxOptions{Isolation: w.store.cfg.Isolation})
	if stopped := stop(); !stopped || err != nil {
		cancel()
		untie()
		if err == nil {
			_ = tx.Rollback()
			err = caller.Err()
		}
		return err
	}
	w.tx, w.cancel, w.untie = tx, cancel, untie
	return nil
}

// Complete implements idempotency.Tx.
func (w *work) Complete(ctx context.Context, record []byte) error {
	if err := w.lock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	if w.over {
		return fmt.Errorf("pgstore: complete: %w", sql.ErrTxDone)
	}
	w.over = true
	if w.tx == nil {
		return w.store.Complete(ctx, w.claim, record)
	}
	defer w.cancel()
	if !w.untie() {
		_ = w.tx.Rollback()
		return w.store.explain(ctx, "complete", context.Cause(w.ctx))
	}
	defer context.AfterFunc(ctx, w.cancel)()
	err := w.commit(ctx, record)
	switch {
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil:
		return idempotency.ErrTransactionEnded
	case errors.Is(err, idempotency.ErrLeaseLost):
		return err
	}
	return w.store.explain(ctx, "complete", err)
}

// commit adds the record to the transaction and commits it. The record's row is
// locked from the first of these to the second, so that nobody can take over in
// between, and a claim that comes after a lost answer waits for the truth.
func (w *work) commit(ctx context.Context, record []byte) error {
	c := w.claim
	n, err := exec(ctx, w.tx, w.store.sql.completePending, c.ID[:], c.Fence[:], present(record), c.TTL.Seconds())
	if err == nil && n == 0 {
		err = idempotency.ErrLeaseLost
	}
	if err != nil {
		_ = w.tx.Rollback()
		return err
	}
	return w.tx.Commit()
}

// maxRollback is longer than a server takes that is well.
const maxRollback = time.Second

// Rollback implements idempotency.Tx. Nothing is committed even where it returns
// an error.
func (w *work) Rollback() error {
	w.turn <- struct{}{}
	defer w.unlock()
	w.over = true
	if w.tx == nil {
		return nil
	}
	defer w.cancel()
	defer w.untie()
	// A driver may ask a server that does not answer. That its connection is cut
	// rolls back as well.
	defer time.AfterFunc(maxRollback, w.cancel).Stop()
	if err := w.tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
		return w.store.explain(w.ctx, "roll back", err)
	}
	return nil
}
