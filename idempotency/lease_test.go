package idempotency

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// leased is the config of processes that take over as soon as they may.
func leased(m *Memory) GuardConfig {
	return GuardConfig{Store: m, Lease: 30 * s, Timeout: forever, OnLeaseExpiry: Reexecute}
}

// between returns the rule that the operation has the fault from one time to
// another.
func between(operation string, from, to time.Duration, f fault) func(string, int) fault {
	start := time.Now()
	return func(name string, _ int) fault {
		if at := time.Since(start); name != operation || at < from || at >= to {
			return fault{}
		}
		return f
	}
}

// I-13
func TestWorkOfTenLeasesIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{})
		start := time.Now()
		var renewed []time.Duration
		p := newProcess(t, leased(m), func(op string, _ int) fault {
			if op == "Renew" {
				renewed = append(renewed, time.Since(start))
			}
			return fault{}
		})
		rival := newProcess(t, leased(m), nil)
		_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
			for range 10 {
				<-time.After(30 * s)
				rival.want("", false, ErrInProgress)
			}
			if ctx.Err() != nil {
				t.Errorf("the work's context has ended: %v, want it to go on", context.Cause(ctx))
			}
			<-time.After(s) // past the renewal of this moment
			return tea(ctx)
		})
		if err != nil || p.told(LeaseLost) != 0 {
			t.Errorf("Do = %v and told of %d leases lost, want none", err, p.told(LeaseLost))
		}
		if len(renewed) != 30 || renewed[0] != 10*s || renewed[29] != 300*s {
			t.Errorf("renewed at %v, want each 10 s", renewed)
		}
		<-time.After(time.Hour)
		rival.want("tea", true, nil)
		wantWorks(t, 1, p, rival)
		if len(renewed) != 30 {
			t.Errorf("renewed %d times after the work, want none", len(renewed)-30)
		}
	})
}

// I-13: the lease is renewed at 10 s, so that it runs until 40 s.
func TestAnOutageShorterThanTheLeaseDoesNotEndTheWork(t *testing.T) {
	for name, row := range map[string]struct {
		to time.Duration
		f  fault
	}{
		"it fails":        {38 * s, fault{err: errDown}},
		"it hangs":        {29 * s, fault{hangs: forever}},
		"answers lost":    {38 * s, fault{err: errDown, done: true}},
		"slow":            {200 * s, fault{hangs: 9 * s}},
		"slow, then down": {38 * s, fault{hangs: 2 * s, err: errDown}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(MemoryConfig{})
				p := newProcess(t, leased(m), between("Renew", 15*s, row.to, row.f))
				rival := newProcess(t, leased(m), nil)
				_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
					for range 300 {
						<-time.After(s)
						rival.want("", false, ErrInProgress)
					}
					if ctx.Err() != nil {
						t.Errorf("the work's context has ended: %v, want it to go on", context.Cause(ctx))
					}
					return tea(ctx)
				})
				if err != nil {
					t.Errorf("Do = %v, want the record", err)
				}
				wantWorks(t, 1, p, rival)
			})
		})
	}
}

// I-13: the lease is renewed at 10 s, so that by the process's clock it runs
// until 40 s.
func TestTheContextOfTheWorkEndsWithTheLease(t *testing.T) {
	for name, row := range map[string]struct {
		f    fault
		ends time.Duration
	}{
		"it fails":            {fault{err: errDown}, 40 * s},
		"it hangs":            {fault{hangs: forever}, 40 * s},
		"it hangs, deaf":      {fault{hangs: 500 * s, deaf: true}, 40 * s},
		"slower than a lease": {fault{hangs: 31 * s, deaf: true}, 40 * s},
		"answers lost":        {fault{err: errDown, done: true}, 40 * s},
		"down, answer late":   {fault{err: errDown}, 40 * s}, // the lease began before the answer
		"lease lost":          {fault{err: ErrLeaseLost}, 20 * s},
		"lease lost, wrapped": {fault{err: fmt.Errorf("store: %w", ErrLeaseLost)}, 20 * s},
		"lease lost, slow":    {fault{err: ErrLeaseLost, hangs: 3 * s}, 23 * s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(MemoryConfig{})
				broken := between("Renew", 15*s, forever, row.f)
				p := newProcess(t, leased(m), func(op string, n int) fault {
					if op == "Renew" && n == 1 && name == "down, answer late" {
						return fault{late: 9 * s}
					}
					return broken(op, n)
				})
				_, _, _ = p.do(t.Context(), func(ctx context.Context) Result {
					took := lasts(func() { <-ctx.Done() })
					if took != row.ends || !errors.Is(context.Cause(ctx), ErrLeaseLost) {
						t.Errorf("the work's context ended after %v: %v, want %v: %v", took, context.Cause(ctx), row.ends, ErrLeaseLost)
					}
					return tea(ctx)
				})
				if n := p.told(LeaseLost); n != 1 {
					t.Errorf("told of %d leases lost, want 1", n)
				}
			})
		})
	}
}

// I-13: another can take over from the moment at which the context ends, and not
// before.
func TestNobodyTakesOverBeforeTheContextOfTheWorkEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{})
		p := newProcess(t, leased(m), between("Renew", 15*s, forever, fault{hangs: forever}))
		rival := newProcess(t, leased(m), nil)
		_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
			<-time.After(40*s - 1)
			rival.want("", false, ErrInProgress)
			if ctx.Err() != nil {
				t.Errorf("the work's context has ended: %v, want it to go on", context.Cause(ctx))
			}
			<-ctx.Done()
			rival.want("tea", false, nil)
			return Result{Record: []byte("late tea")}
		})
		if !errors.Is(err, ErrInProgress) {
			t.Errorf("Do of who lost the lease = %v, want %v: the other's record counts", err, ErrInProgress)
		}
		if p.told(Executed) != 0 || p.told(Refused) != 1 {
			t.Errorf("told of %d executed, %d refused, want 0 and 1", p.told(Executed), p.told(Refused))
		}
		p.want("tea", true, nil)
		wantWorks(t, 2, p, rival)
	})
}

// I-13: whatever the store does, and with a store that is slow to grant the
// claim too, of all the processes only one works at a time with a context that
// has not ended.
func TestTwoNeverWorkAtTheSameTime(t *testing.T) {
	claims := map[string]time.Duration{"fine": 0, "slow": 20 * s, "as slow as a lease": 30 * s, "slower": 31 * s, "much slower": 70 * s}
	renewals := map[string]fault{
		"fine":      {},
		"down":      {err: errDown},
		"lost":      {err: errDown, done: true},
		"hung":      {hangs: forever},
		"hung deaf": {hangs: 95 * s, deaf: true},
		"slow":      {hangs: 9 * s},
		"slow deaf": {hangs: 29 * s, deaf: true},
	}
	for claim, c := range claims {
		for renewal, r := range renewals {
			t.Run("claim "+claim+" renewal "+renewal, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := NewMemory(MemoryConfig{})
					var working atomic.Int32
					var clients sync.WaitGroup
					work := func(ctx context.Context) Result {
						// What ends now may still be about to.
						if <-time.After(1); ctx.Err() == nil && working.Add(1) > 1 {
							t.Error("two work at the same time, want one")
						}
						select {
						case <-time.After(100 * s):
						case <-ctx.Done():
						}
						working.Add(-1)
						return tea(ctx)
					}
					for i := range 3 {
						cfg := leased(m)
						cfg.StoreTimeout = time.Hour
						p := newProcess(t, cfg, func(op string, n int) fault {
							switch {
							case op == "Renew":
								return r
							case op == "Claim" && n == 1 && i < 2:
								return fault{late: c}
							}
							return fault{}
						})
						p.store.Store = &slow{m}
						clients.Go(func() {
							for range 200 {
								if _, _, err := p.do(t.Context(), work); err == nil {
									return
								}
								<-time.After(s)
							}
						})
						<-time.After(s / 2)
					}
					clients.Wait()
				})
			})
		}
	}
}

// A slow store takes a while to get what it is asked, as over a network.
type slow struct{ Store }

func (s *slow) Claim(ctx context.Context, c Claim) (Answer, error) {
	<-time.After(time.Millisecond)
	return s.Store.Claim(ctx, c)
}

// I-13
func TestARenewalUnderWayDoesNotDelayTheAnswer(t *testing.T) {
	for name, verdict := range map[string]Verdict{"Commit": Commit, "Reject": Reject, "Release": Release} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, always("Renew", fault{hangs: forever}))
				took := lasts(func() {
					_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
						<-time.After(11 * s)
						return Result{Record: []byte("tea"), Verdict: verdict}
					})
					if err != nil {
						t.Errorf("Do = %v, want the record", err)
					}
				})
				if took != 11*s {
					t.Errorf("Do took %v, want the 11s of the work", took)
				}
				if p.told(LeaseLost) != 0 || p.told(StoreFailed) != 0 {
					t.Errorf("told of %v, want neither a lease lost nor a store that failed", p.events)
				}
				p.want("tea", verdict != Release, nil)
			})
		})
	}
}

// I-13: what a renewal does that was under way when the work panicked comes
// before what becomes of the key.
func TestARenewalUnderWayDoesNotKeepAliveWhatIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{}, always("Renew", fault{hangs: 3 * s, deaf: true}))
		func() {
			defer func() { _ = recover() }()
			_, _, _ = p.do(t.Context(), func(context.Context) Result {
				<-time.After(11 * s)
				panic("the work panics")
			})
		}()
		p.want("", false, ErrOutcomeUnknown)
	})
}

// I-13 has two readings. An owner whose lease has run out is late only if
// another has taken over: the fence decides, not the clock. Otherwise an outage
// of the store longer than a lease would make the known outcome of all the work
// that ended in it unknown.
func TestAnOwnerWhoseLeaseRanOutCompletesIfNobodyTookOver(t *testing.T) {
	for name, expiry := range map[string]OnLeaseExpiry{"Fail": Fail, "Reexecute": Reexecute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(MemoryConfig{})
				p := newProcess(t, GuardConfig{Store: m, OnLeaseExpiry: expiry}, between("Renew", 0, forever, fault{err: errDown}))
				other := newProcess(t, GuardConfig{Store: m}, nil)
				record, _, err := p.do(t.Context(), func(ctx context.Context) Result {
					<-time.After(50 * s)
					other.want("", false, ErrOutcomeUnknown)
					return tea(ctx)
				})
				if record != "tea" || err != nil || p.told(Unrecorded) != 0 {
					t.Errorf("Do = %q, %v, and told of %d that were not recorded, want the record and 0", record, err, p.told(Unrecorded))
				}
				other.want("tea", true, nil)
				wantWorks(t, 1, p, other)
			})
		})
	}
}

// I-13: without Takeover nobody else has done the work, so the caller is told
// what it came to although the record of it has gone.
func TestWhoLosesTheRecordIsToldTheResultAllTheSame(t *testing.T) {
	p := newProcess(t, GuardConfig{}, always("Complete", fault{err: ErrLeaseLost}))
	p.want("tea", false, nil)
	if p.told(Unrecorded) != 1 || p.store.called("Complete") != 1 {
		t.Errorf("told of %d unrecorded after %d times Complete, want 1 and 1", p.told(Unrecorded), p.store.called("Complete"))
	}
}
