package idempotency

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// transferring returns work that moves the money, and then gives the verdict.
// Its record is which of all it was.
func transferring(n *atomic.Int32, v Verdict) func(context.Context) Result {
	return func(ctx context.Context) Result {
		move(ctx)
		return Result{Record: fmt.Appendf(nil, "transfer %d", n.Add(1)), Verdict: v}
	}
}

// I-14
func TestAVerdictDecidesWhatBecomesOfTheTransaction(t *testing.T) {
	for _, row := range []struct {
		verdict         Verdict
		made, rollbacks int
		works           int // of two requests
	}{{Commit, 1, 0, 1}, {Reject, 0, 1, 1}, {Release, 0, 2, 2}} {
		b, n := newBank(), new(atomic.Int32)
		p := newProcess(t, GuardConfig{Store: b}, nil)
		for range 2 {
			if _, _, err := p.do(t.Context(), transferring(n, row.verdict)); err != nil {
				t.Errorf("verdict %d: Do = %v, want the record", row.verdict, err)
			}
		}
		if b.total() != row.made || b.rollbacks != row.rollbacks {
			t.Errorf("verdict %d: %d transfers, %d rolled back, want %d, %d", row.verdict, b.total(), b.rollbacks, row.made, row.rollbacks)
		}
		wantWorks(t, row.works, p)
	}
}

// I-14, I-15
func TestAPanicRollsBack(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("the bank") }, "Goexit": func() { exit(context.Background()) }} {
		for _, expiry := range []OnLeaseExpiry{0, Fail} {
			b := newBank()
			p := newProcess(t, GuardConfig{Store: b, OnLeaseExpiry: expiry}, nil)
			ends(func() {
				_, _, _ = p.do(t.Context(), func(ctx context.Context) Result {
					move(ctx)
					end()
					return Result{}
				})
			})
			if b.total() != 0 || b.rollbacks != 1 {
				t.Errorf("%s: %d transfers, %d rolled back, want 0, 1", name, b.total(), b.rollbacks)
			}
		}
	}
}

// I-14: whatever becomes of the commit, what the caller is told is true, and who
// tries until it succeeds has made one transfer and knows which.
func TestWhateverBecomesOfACommitTheTransferIsMadeOnce(t *testing.T) {
	down := func(faults map[string]fault) func(string, int) fault {
		return func(op string, n int) fault {
			if n > 1 && op == "Commit" {
				return fault{}
			}
			return faults[op]
		}
	}
	begun := func(faults map[string]fault) func(string, int) fault { // the first claim is granted
		start := time.Now()
		return func(op string, n int) fault {
			if op == "Claim" && n == 1 || time.Since(start) > 20*s {
				return fault{}
			}
			return faults[op]
		}
	}
	type faults = map[string]fault
	for name, row := range map[string]struct {
		rule func(faults) func(string, int) fault
		f    faults
		is   error // of the first request
	}{
		"it fails before":             {down, faults{"Commit": fails}, ErrUnavailable},
		"the answer is lost":          {down, faults{"Commit": lost}, nil},
		"it hangs":                    {down, faults{"Commit": {hangs: forever}}, ErrUnavailable},
		"it hangs and is done":        {down, faults{"Commit": {hangs: forever, done: true}}, nil},
		"the lease is lost":           {down, faults{"Commit": {err: ErrLeaseLost}}, ErrInProgress},
		"lost, and no claim":          {begun, faults{"Commit": lost, "Claim": fails}, ErrInProgress},
		"failed, and no claim":        {begun, faults{"Commit": fails, "Claim": fails}, ErrInProgress},
		"hung, and claims hang":       {begun, faults{"Commit": {hangs: forever}, "Claim": {hangs: forever}}, ErrInProgress},
		"lost, and no renewal":        {begun, faults{"Commit": lost, "Renew": fails}, ErrInProgress},
		"failed, and no release":      {begun, faults{"Commit": fails, "Release": fails}, ErrInProgress},
		"failed, and a release lost":  {begun, faults{"Commit": fails, "Release": {err: errDown, done: true}}, ErrInProgress},
		"failed, another has a lease": {down, faults{"Commit": fails, "Release": {err: ErrLeaseLost}}, ErrInProgress},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, n := newBank(), new(atomic.Int32)
				b.rule = row.rule(row.f)
				p := newProcess(t, GuardConfig{Store: b}, nil)
				var record string
				var err error
				took := lasts(func() { record, _, err = p.do(t.Context(), transferring(n, Commit)) })
				if !errors.Is(err, row.is) || took > 5*s {
					t.Errorf("Do = %q, %v after %v, want %v within 5s", record, err, took, row.is)
				}
				if errors.Is(err, ErrUnavailable) && b.total() != 0 {
					t.Errorf("Do = %v, which is not true: the transfer was made", err)
				}
				for range 100 {
					if err == nil {
						break
					}
					<-time.After(s)
					record, _, err = p.do(t.Context(), transferring(n, Commit))
				}
				if err != nil || b.total() != 1 {
					t.Errorf("in the end Do = %q, %v with %d transfers, want 1", record, err, b.total())
				}
				p.want(record, true, nil)
			})
		})
	}
}

// I-14: one whose commit failed, and whose work another has done since, is not
// told its own result, which was undone.
func TestWhoWasUndoneIsNotToldItsOwnResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := newBank(), new(atomic.Int32)
		p, other := newProcess(t, GuardConfig{Store: b}, nil), newProcess(t, GuardConfig{Store: b}, nil)
		start := time.Now()
		b.rule = func(op string, n int) fault {
			switch {
			case op == "Renew" && time.Since(start) < 40*s:
				return fails
			case op == "Commit" && n == 2: // of the first
				return fails
			}
			return fault{}
		}
		record, _, err := p.do(t.Context(), func(ctx context.Context) Result {
			<-time.After(40 * s)
			if _, _, err := other.do(t.Context(), transferring(n, Commit)); err != nil {
				t.Errorf("Do of who takes over = %v, want the record", err)
			}
			return transferring(n, Commit)(ctx)
		})
		if !errors.Is(err, ErrInProgress) {
			t.Errorf("Do = %q, %v, want %v: transfer 1 was made", record, err, ErrInProgress)
		}
		p.want("transfer 1", true, nil)
		if b.total() != 1 {
			t.Errorf("%d transfers, want 1", b.total())
		}
	})
}

// I-14: work that has outlived its context has lost its transaction.
func TestAfterTheTimeoutTheTransactionIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n := newBank(), new(atomic.Int32)
		p := newProcess(t, GuardConfig{Store: b}, nil)
		_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
			<-time.After(2 * time.Minute)
			return transferring(n, Commit)(ctx)
		})
		if !errors.Is(err, ErrUnavailable) || b.total() != 0 {
			t.Errorf("Do = %v with %d transfers, want %v with 0", err, b.total(), ErrUnavailable)
		}
		if _, _, err := p.do(t.Context(), transferring(n, Commit)); err != nil || b.total() != 1 {
			t.Errorf("Do again = %v with %d transfers, want 1", err, b.total())
		}
	})
}

// I-14: whether it has committed or rolled back, to do it again or to say that
// it was done may be wrong.
func TestWorkThatEndsItsTransactionHasAnUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank()
		p := newProcess(t, GuardConfig{Store: b}, nil)
		for range 3 {
			_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
				ctx.Value(bankTxKey{}).(*bankTx).ended = true
				return Result{Record: []byte("paid")}
			})
			if !errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("Do = %v, want %v", err, ErrOutcomeUnknown)
			}
			<-time.After(time.Minute) // longer than the lease
		}
		wantWorks(t, 1, p)
	})
}
