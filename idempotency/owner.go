package idempotency

import (
	"context"
	"errors"
	"sync"
	"time"
)

// An owner holds a claim while its work is done, and settles it afterwards.
type owner struct {
	g        *Guard
	c        Claim
	tx       Tx              // nil if the store is no Transactor
	detached context.Context // of the request, without its end

	cancel   context.CancelCauseFunc // of the work
	renewing context.Context
	stop     context.CancelFunc // ends a renewal that is under way

	mu    sync.Mutex // held while renewing
	over  bool       // nothing is to be renewed any more
	ends  time.Time  // when the lease has run out, by this process's clock
	timer *time.Timer
}

// hold has the lease renewed from now on, and returns a context that ends when
// that fails. The lease began no earlier than the claim was made, at began.
func (o *owner) hold(ctx context.Context, began time.Time) context.Context {
	ctx, o.cancel = context.WithCancelCause(ctx)
	o.renewing, o.stop = context.WithCancel(o.detached)
	o.mu.Lock() // the timer may be quicker than this function
	defer o.mu.Unlock()
	o.ends = began.Add(o.c.Lease)
	o.timer = time.AfterFunc(time.Until(began.Add(o.c.Lease/3)), o.renew)
	return ctx
}

// renew begins a new lease, and comes again: after a third of the lease, or
// sooner where the store could not be reached.
func (o *owner) renew() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(o.renewing, o.ends)
	err := o.g.store.Renew(ctx, o.c)
	cancel()
	next := o.c.Lease / 3
	switch {
	case o.renewing.Err() != nil:
		return // the work has ended meanwhile
	case err == nil:
		o.ends = began.Add(o.c.Lease)
	case errors.Is(err, ErrLeaseLost) || !time.Now().Before(o.ends):
		o.over = true
		o.cancel(ErrLeaseLost)
		o.g.tell(o.detached, LeaseLost, err)
		return
	default:
		o.g.tell(o.detached, StoreFailed, err)
		next = min(o.c.Lease/10, time.Until(o.ends))
	}
	o.timer.Reset(next)
}

// settled ends the renewals, and returns when none is under way. The context of
// the work goes on, since a transaction ends with it.
func (o *owner) settled() {
	o.timer.Stop()
	o.stop()
	o.mu.Lock()
	o.over = true
	o.mu.Unlock()
}

// abandon leaves work that panicked to OnLeaseExpiry, without the wait for the
// lease.
func (o *owner) abandon() {
	o.settled()
	o.rollback()
	if o.c.Takeover {
		o.store(func(ctx context.Context) error { return o.g.store.Release(ctx, o.c) })
	} else {
		over := o.c
		over.Lease = 0
		o.store(func(ctx context.Context) error { return o.g.store.Renew(ctx, over) })
	}
	o.g.tell(o.detached, Panicked, nil)
}

// settle does with the key what the verdict of the work says. It returns an
// error if the caller must not have the result.
func (o *owner) settle(res Result) error {
	o.settled()
	var err error
	switch {
	case res.Verdict == Release:
		o.rollback()
		err = o.store(func(ctx context.Context) error { return o.g.store.Release(ctx, o.c) })
	case res.Verdict == Commit && o.tx != nil:
		if err := o.commit(res.Record); err != nil {
			return err
		}
	default:
		o.rollback()
		err = o.store(func(ctx context.Context) error { return o.g.store.Complete(ctx, o.c, res.Record) })
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

// store runs an operation of the store until it succeeds, or the lease is lost,
// or StoreTimeout is over. Another attempt is harmless: see Store.
func (o *owner) store(operation func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(o.detached, o.g.cfg.StoreTimeout)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := operation(ctx)
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

// commit commits the transaction with the record in it. Where that fails, what
// the store has says whether it did: if the record is there, so is everything
// else.
func (o *owner) commit(record []byte) error {
	ctx, cancel := context.WithTimeout(o.detached, o.g.cfg.StoreTimeout)
	err := o.tx.Complete(ctx, record)
	cancel()
	if err == nil {
		return nil
	}
	o.g.tell(o.detached, StoreFailed, err)
	o.rollback()
	if !errors.Is(err, ErrLeaseLost) {
		var a Answer
		asked := o.store(func(ctx context.Context) error {
			a, err = o.g.store.Claim(ctx, o.c)
			return err
		})
		switch {
		case asked == nil && a.State == Done:
			return nil
		case asked == nil && a.State == Claimed:
			o.store(func(ctx context.Context) error { return o.g.store.Release(ctx, o.c) })
			return o.g.refuse(o.detached, ErrUnavailable, "the work was undone; try again with the same key", retryAfter)
		}
	}
	return o.g.refuse(o.detached, ErrInProgress, "try again with the same key", retryAfter)
}
