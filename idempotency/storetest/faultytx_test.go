package storetest

import (
	"context"
	"errors"
	"slices"

	"github.com/backstay-go/backstay/idempotency"
)

// Begin implements idempotency.Transactor.
func (f *faulty) Begin(ctx context.Context, c idempotency.Claim) (context.Context, idempotency.Tx) {
	tx := &faultyTx{store: f, claim: c, ctx: ctx}
	return context.WithValue(ctx, txKey{}, tx), tx
}

type txKey struct{}

// A faultyTx has the flaw of its store.
type faultyTx struct {
	store *faulty
	claim idempotency.Claim
	ctx   context.Context
	work  []string
	over  bool
}

var errOver = errors.New("the transaction is over")

// work is the Config's Work.
func (f *faulty) work(ctx context.Context, name string) error {
	tx := ctx.Value(txKey{}).(*faultyTx)
	tx.work = append(tx.work, name)
	if f.has("commits the work at once") {
		return f.do(ctx, tx.commit)
	}
	return ctx.Err()
}

// worked is the Config's Worked.
func (f *faulty) worked(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.effects, name)
}

// commit makes the work count. It is called with the lock held.
func (tx *faultyTx) commit() error {
	tx.store.effects = append(tx.store.effects, tx.work...)
	return nil
}

func (tx *faultyTx) Complete(ctx context.Context, kept []byte) error {
	f := tx.store
	if tx.over || tx.ctx.Err() != nil && !f.has("completes what was ended") {
		return errOver
	}
	tx.over = true
	if f.has("commits before it asks for the owner") {
		if err := f.do(ctx, tx.commit); err != nil {
			return err
		}
		return f.Complete(ctx, tx.claim, kept)
	}
	return f.own(ctx, "Tx.Complete", tx.claim, func(r *record) error {
		if r.done {
			return lost
		}
		r.done, r.kept = !f.has("commits without a record"), f.keep(kept)
		return tx.commit()
	})
}

func (tx *faultyTx) Rollback() error {
	f := tx.store
	switch {
	case f.has("rolls back nothing") && !tx.over:
		return f.do(tx.ctx, tx.commit)
	case f.has("releases what it rolls back") && !tx.over:
		return f.Release(tx.ctx, tx.claim)
	case f.has("does not roll back twice") && tx.over:
		return errOver
	}
	tx.over = true
	return nil
}
