package storetest

import (
	"context"
	"errors"

	"github.com/backstay-go/backstay/idempotency"
)

// begin begins the transaction of o's work, which o has claimed.
func (s *suite) begin(o owner) (context.Context, idempotency.Tx) {
	s.Helper()
	store, ok := s.store.(idempotency.Transactor)
	if !ok {
		s.Errorf("Open() = %T, want an idempotency.Transactor, since the Config has Work", s.store)
		s.FailNow()
	}
	return store.Begin(s.ctx, o.Claim)
}

// work does o's work in the transaction of ctx.
func (s *suite) work(ctx context.Context, o owner) {
	s.Helper()
	if err := s.cfg.Work(ctx, s.nameOf(o)); err != nil {
		s.Errorf("Work(%v) = %v, want nil", o, err)
		s.FailNow()
	}
}

func (s *suite) wantWorked(o owner, want bool) {
	s.Helper()
	if got := s.worked(s.nameOf(o)); got != want {
		s.Errorf("Worked(%v) = %v, want %v", o, got, want)
	}
}

// nameOf returns another name for each owner: one that takes over does the work
// anew.
func (s *suite) nameOf(o owner) string { return o.Fence.String() }

func transactionIsBothOrNeither(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	ctx, tx := s.begin(first)
	s.work(ctx, first)
	s.wantWorked(first, false)
	s.claim(first.next("second"), inProgress)
	s.renew(first, nil)
	s.wantErr("Tx.Complete", first, tx.Complete(s.ctx, []byte("the record")), nil)
	s.wantErr("Tx.Rollback", first, tx.Rollback(), nil) // does nothing
	s.wantWorked(first, true)
	s.done(first.next("second"), "the record")

	idle := newOwner("idle")
	s.claim(idle, claimed)
	_, tx = s.begin(idle)
	s.wantErr("Tx.Complete", idle, tx.Complete(s.ctx, nil), nil)
	s.done(idle.next("second"), "")
}

func rollbackUndoesTheWork(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	ctx, tx := s.begin(first)
	s.work(ctx, first)
	s.wantErr("Tx.Rollback", first, tx.Rollback(), nil)
	s.wantWorked(first, false)
	s.claim(first.next("second").takingOver(), inProgress)
	s.claim(first, claimed)
	s.complete(first, "the record", nil) // what came of it, without the work
	s.wantWorked(first, false)
	s.done(first.next("second"), "the record")

	ended := newOwner("ended")
	s.claim(ended, claimed)
	parent := s.ctx
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(parent)
	ctx, tx = s.begin(ended)
	s.ctx = parent
	s.work(ctx, ended)
	cancel()
	if err := tx.Complete(s.ctx, []byte("the record")); err == nil {
		s.Errorf("Tx.Complete(ended) = nil after the context of the work was canceled, want an error")
	}
	_ = tx.Rollback()
	s.wantWorked(ended, false)
	s.claim(ended.next("second"), inProgress)
	s.claim(ended, claimed)
}

// lateTransaction: two have done the work, and only what the second has done
// counts.
func lateTransaction(s *suite) {
	late := newOwner("late")
	s.claim(late, claimed)
	ctx, tx := s.begin(late)
	s.work(ctx, late)
	s.renew(late.with(0), nil)
	heir := late.next("heir").takingOver()
	s.claim(heir, claimed)
	s.wantErr("Tx.Complete", late, tx.Complete(s.ctx, []byte("a late record")), lost)
	s.wantWorked(late, false)

	heirCtx, heirTx := s.begin(heir)
	s.work(heirCtx, heir)
	s.wantErr("Tx.Complete", heir, heirTx.Complete(s.ctx, []byte("the heir's")), nil)
	s.wantWorked(heir, true)

	ctx, tx = s.begin(late)
	s.work(ctx, late)
	s.wantErr("Tx.Complete", late, tx.Complete(s.ctx, []byte("a late record")), lost)
	s.wantWorked(late, false)
	s.done(late, "the heir's")
}

// lostCommit: an owner that does not know whether its work is committed asks.
func lostCommit(s *suite) {
	for range 30 {
		first := newOwner("first")
		s.claim(first, claimed)
		ctx, tx := s.begin(first)
		s.work(ctx, first)
		s.unsure(func(ctx context.Context) error { return tx.Complete(ctx, []byte("the record")) })
		_ = tx.Rollback()
		a, err := s.store.Claim(s.ctx, first.Claim)
		switch {
		case err != nil || a.State != claimed && a.State != isDone:
			s.Errorf("Claim(first) = %v after Tx.Complete was cut short, want claimed or done", show(a, err))
		case a.State == claimed:
			s.wantWorked(first, false)
			s.complete(first, "without the work", nil)
			s.wantWorked(first, false)
		default:
			s.wantWorked(first, true)
		}
	}
}

// oneTransactionWins: those who have taken over from one another complete at the
// same time.
func oneTransactionWins(s *suite) {
	for range rounds {
		all := make([]owner, 5)
		txs, errs := make([]idempotency.Tx, len(all)), make([]error, len(all))
		first := newOwner("first")
		for i := range all {
			all[i] = first.next("owner").takingOver()
			s.claim(all[i], claimed)
			s.renew(all[i].with(0), nil)
			var ctx context.Context
			ctx, txs[i] = s.begin(all[i])
			s.work(ctx, all[i])
		}
		together(len(all), func(int) {}, func(i int) { errs[i] = txs[i].Complete(s.ctx, []byte(s.nameOf(all[i]))) })
		for i, o := range all {
			last := i == len(all)-1
			if last && errs[i] != nil || !last && !errors.Is(errs[i], lost) {
				s.Errorf("Tx.Complete by owner %d of %d = %v, want nil for the last, and else %v", i+1, len(all), errs[i], lost)
			}
			s.wantWorked(o, last)
		}
		s.done(first, s.nameOf(all[len(all)-1]))
	}
}
