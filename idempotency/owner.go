package idempotency

import (
	"context"
	"errors"
	"time"
)

// An owner holds a claim while its work is done, and settles it afterwards.
type owner struct {
	lease
	tx Tx // nil if the store is no Transactor
}

// abandon leaves work that panicked to OnLeaseExpiry, without the wait for the
// lease.
func (o *owner) abandon() {
	o.settled()
	o.rollback()
	ctx, cancel := context.WithTimeout(o.detached, o.g.cfg.StoreTimeout)
	defer cancel()
	if o.c.Takeover {
		_ = o.release(ctx)
	} else {
		over := o.c
		over.Lease = 0
		_ = o.try(ctx, func(ctx context.Context) error { return o.g.store.Renew(ctx, over) })
	}
	o.g.tell(o.detached, Panicked, nil)
}

// settle does with the key what the verdict of the work says. It returns an
// error if the caller must not have the result.
func (o *owner) settle(res Result) error {
	o.settled()
	ctx, cancel := context.WithTimeout(o.detached, o.g.cfg.StoreTimeout)
	defer cancel()
	var err error
	switch {
	case res.Verdict == Release:
		o.rollback()
		err = o.release(ctx)
	case res.Verdict == Commit && o.tx != nil:
		if err := o.commit(ctx, res.Record); err != nil {
			return err
		}
	default:
		o.rollback()
		err = o.try(ctx, func(ctx context.Context) error { return o.g.store.Complete(ctx, o.c, res.Record) })
	}
	switch {
	case errors.Is(err, ErrLeaseLost) && o.c.Takeover:
		// Another has the work now, and its result is the one that counts.
		return o.g.refuse(o.detached, ErrInProgress, "try again with the same key", retryAfter)
	case err != nil:
		// What was done is done, and the caller is the only one who can be told.
		o.g.tell(o.detached, Unrecorded, err)
	}
	o.g.tell(o.detached, Executed, nil)
	return nil
}

func (o *owner) release(ctx context.Context) error {
	return o.try(ctx, func(ctx context.Context) error { return o.g.store.Release(ctx, o.c) })
}

// try runs an operation of the store until it succeeds, or the lease is lost, or
// ctx is over. Another attempt is harmless: see Store. One that hangs leaves
// time for another.
func (o *owner) try(ctx context.Context, operation func(context.Context) error) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, o.g.cfg.StoreTimeout/10) {
		each, cancel := context.WithTimeout(ctx, o.g.cfg.StoreTimeout/2)
		err := operation(each)
		cancel()
		if err == nil || errors.Is(err, ErrLeaseLost) {
			return err
		}
		o.g.tell(o.detached, StoreFailed, err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (o *owner) rollback() {
	if o.tx == nil {
		return
	}
	if err := o.tx.Rollback(); err != nil {
		o.g.tell(o.detached, StoreFailed, err)
	}
}

// commit commits the transaction with the record in it. Where that fails, the
// store is asked: if the record is there, so is everything else.
func (o *owner) commit(ctx context.Context, record []byte) error {
	each, cancel := context.WithTimeout(ctx, o.g.cfg.StoreTimeout/2)
	err := o.tx.Complete(each, record)
	cancel()
	if err == nil {
		return nil
	}
	o.g.tell(o.detached, StoreFailed, err)
	o.rollback()
	if !errors.Is(err, ErrLeaseLost) {
		switch o.look(ctx) {
		case Done:
			return nil
		case none:
			return o.g.refuse(o.detached, ErrUnavailable, "the work was undone; try again with the same key", retryAfter)
		}
	}
	return o.g.refuse(o.detached, ErrInProgress, "try again with the same key", retryAfter)
}

// none is the State of a key that nobody has claimed.
const none State = 0

// look returns Done if the owner's own transaction is committed, none if it is
// not and never will be, and otherwise InProgress.
func (o *owner) look(ctx context.Context) State {
	var a Answer
	err := o.try(ctx, func(ctx context.Context) (err error) {
		a, err = o.g.store.Claim(ctx, o.c)
		return err
	})
	switch {
	case err != nil:
		return InProgress
	case a.State == Done:
		// It may be the record of another who took over.
		if o.try(ctx, func(ctx context.Context) error { return o.g.store.Renew(ctx, o.c) }) == nil {
			return Done
		}
	case a.State == Claimed:
		// Without the record, a commit that is still under way comes to nothing.
		if o.release(ctx) == nil {
			return none
		}
	}
	return InProgress
}
