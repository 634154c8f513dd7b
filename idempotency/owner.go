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
	end := time.Now().Add(o.g.cfg.StoreTimeout)
	if o.c.Takeover {
		_ = o.release(end)
	} else {
		o.giveUp(end)
	}
	o.g.tell(o.detached, Panicked, nil)
}

// giveUp ends the lease before its time. None is to be renewed any more.
func (o *owner) giveUp(end time.Time) {
	o.settled()
	over := o.c
	over.Lease = 0
	_ = o.try(end, func(ctx context.Context) error { return o.g.store.Renew(ctx, over) })
}

// settle does with the key what the verdict of the work says. It returns an
// error if the caller must not have the result.
//
// The lease is renewed until that is done, or another might find that it has run
// out. A renewal that comes after it changes nothing: see Store.
func (o *owner) settle(res Result) error {
	defer o.settled()
	end := time.Now().Add(o.g.cfg.StoreTimeout)
	var err error
	switch {
	case res.Verdict == Release:
		o.settled() // a renewal afterwards would find that the lease is lost
		o.rollback()
		if err = o.release(end); errors.Is(err, ErrLeaseLost) {
			err = nil // it is free, or another's already
		}
	case res.Verdict == Commit && o.tx != nil:
		if err := o.commit(end, res.kept()); err != nil {
			return err
		}
	default:
		o.rollback()
		err = o.try(end, func(ctx context.Context) error { return o.g.store.Complete(ctx, o.c, res.kept()) })
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

func (o *owner) release(end time.Time) error {
	return o.try(end, func(ctx context.Context) error { return o.g.store.Release(ctx, o.c) })
}

// try runs an operation of the store until it succeeds, or the lease is lost, or
// there is no time for another attempt before end. That is harmless: see Store.
func (o *owner) try(end time.Time, operation func(context.Context) error) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, o.g.cfg.StoreTimeout/10) {
		each, cancel := o.g.attempt(o.detached, end)
		err := operation(each)
		cancel()
		if err == nil || errors.Is(err, ErrLeaseLost) {
			return err
		}
		o.g.tell(o.detached, StoreFailed, err)
		if time.Until(end) <= pause {
			return err
		}
		<-time.After(pause)
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
func (o *owner) commit(end time.Time, record []byte) error {
	each, cancel := o.g.attempt(o.detached, end)
	err := o.tx.Complete(each, record)
	cancel()
	if err == nil {
		return nil
	}
	o.g.tell(o.detached, StoreFailed, err)
	o.rollback()
	switch {
	case errors.Is(err, ErrTransactionEnded):
		// To do it again would be twice if the work has committed, and to keep its
		// answer would be never if it has rolled back.
		_ = o.try(end, func(ctx context.Context) error { return o.g.store.Complete(ctx, o.c, []byte(outcomeUnknown)) })
		return o.g.refuse(o.detached, ErrOutcomeUnknown, lookFirst, 0)
	case !errors.Is(err, ErrLeaseLost):
		switch o.look(end) {
		case Done:
			return nil
		case none:
			return o.g.refuse(o.detached, ErrUnavailable, "the work was undone; try again with the same key", retryAfter)
		case Abandoned:
			return o.g.refuse(o.detached, ErrOutcomeUnknown, lookFirst, 0)
		}
	}
	return o.g.refuse(o.detached, ErrInProgress, "try again with the same key", retryAfter)
}

// look returns Done if the owner's own transaction is committed; none if it is
// not and never will be; Abandoned if it is not, and the work may have had other
// effects; and otherwise InProgress.
func (o *owner) look(end time.Time) State {
	var a Answer
	err := o.try(end, func(ctx context.Context) (err error) {
		a, err = o.g.store.Claim(ctx, o.c)
		return err
	})
	switch {
	case err != nil:
		return InProgress
	case a.State == Done:
		// It may be the record of another who took over.
		if o.try(end, func(ctx context.Context) error { return o.g.store.Renew(ctx, o.c) }) == nil {
			return Done
		}
	case a.State == Claimed && o.c.Takeover:
		// Without the record, a commit that is still under way comes to nothing.
		o.settled()
		if o.release(end) == nil {
			return none
		}
	case a.State == Claimed:
		o.giveUp(end)
		return Abandoned
	}
	return InProgress
}
