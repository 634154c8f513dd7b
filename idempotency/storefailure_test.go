package idempotency

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatTheWorkCameToIsKeptAlthoughTheStoreFails(t *testing.T) {
	for name, row := range map[string]struct {
		rule func(string, int) fault
		took time.Duration // at most
	}{
		"it fails twice":        {on("Complete", fails, fails), s},
		"the answer is lost":    {on("Complete", lost), s},
		"all but the last hang": {on("Complete", fault{hangs: forever}), 3 * s},
		"hung, and done":        {on("Complete", fault{hangs: forever, done: true}), 3 * s},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, row.rule)
				if took := lasts(func() { p.want("tea", false, nil) }); took > row.took {
					t.Errorf("Do took %v, want %v at most", took, row.took)
				}
				p.want("tea", true, nil)
				if p.told(Unrecorded) != 0 {
					t.Error("told of a record that was not kept, want none")
				}
			})
		})
	}
}

// A store that comes back while there is time for it gets the record.
func TestAStoreIsAskedUntilTheEndOfItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{}, between("Complete", 0, 4*s, fails))
		p.want("tea", false, nil)
		p.want("tea", true, nil)
	})
}

// I-14, I-20
func TestWithoutARecordTheCallerHasTheResultAndTheNextIsToldTheTruth(t *testing.T) {
	for name, f := range map[string]fault{"it fails": fails, "it hangs": {hangs: forever}} {
		for expiry, is := range map[OnLeaseExpiry]error{Fail: ErrOutcomeUnknown, Reexecute: nil} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newProcess(t, GuardConfig{OnLeaseExpiry: expiry}, between("Complete", 0, 20*s, f))
					if took := lasts(func() { p.want("tea", false, nil) }); took < 4*s || took > 5*s {
						t.Errorf("Do took %v, want the 5s of StoreTimeout or a little less", took)
					}
					if p.told(Unrecorded) != 1 || p.told(Executed) != 1 {
						t.Errorf("told of %d unrecorded, %d executed, want 1 and 1", p.told(Unrecorded), p.told(Executed))
					}
					p.want("", false, ErrInProgress)
					<-time.After(30 * s)
					if is != nil {
						p.want("", false, is)
						wantWorks(t, 1, p)
						return
					}
					p.want("tea", false, nil)
					wantWorks(t, 2, p)
				})
			})
		}
	}
}

// I-15: what cannot be released is free when the lease has run out, or unknown.
func TestAReleaseThatFailsIsRepeated(t *testing.T) {
	for name, f := range map[string]fault{"it fails": fails, "the answer is lost": lost, "it hangs": {hangs: forever}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, on("Release", f))
				_, _, _ = p.do(t.Context(), func(context.Context) Result { return Result{Verdict: Release} })
				p.want("tea", false, nil)
			})
		})
	}
}

// A Store that panics has the request panic, and what it was asked is not done
// by somebody else: the work counts as begun.
func TestAStoreThatPanicsDoesNotHaveTheWorkDoneTwice(t *testing.T) {
	for _, operation := range []string{"Claim", "Complete", "Release", "GiveUp"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGuard(GuardConfig{Store: &faulty{Store: NewMemory(MemoryConfig{}), rule: on(operation, fault{panics: true})}})
				works := 0
				for range 3 {
					func() {
						defer func() { _ = recover() }()
						_, _, _ = g.Do(t.Context(), Request{Key: theKey}, func(context.Context) Result {
							switch works++; operation {
							case "Release":
								return Result{Verdict: Release} // nothing was done
							case "GiveUp":
								panic("the work panics")
							}
							return Result{Record: []byte("tea")}
						})
					}()
				}
				if works != 1 {
					t.Errorf("the work was done %d times, want 1", works)
				}
			})
		})
	}
}

// A panic of OnEvent is the request's, and takes nothing back.
func TestAnOnEventThatPanicsDoesNotHaveTheWorkDoneTwice(t *testing.T) {
	for _, kind := range []EventKind{Executed, StoreFailed, Unrecorded, Refused} {
		synctest.Test(t, func(t *testing.T) {
			works := 0
			g := NewGuard(GuardConfig{
				Store: &faulty{Store: NewMemory(MemoryConfig{}), rule: always("Complete", fails)},
				OnEvent: func(_ context.Context, e Event) {
					if e.Kind == kind {
						panic("OnEvent panics")
					}
				},
			})
			for range 3 {
				func() {
					defer func() { _ = recover() }()
					_, _, _ = g.Do(t.Context(), Request{Key: theKey}, func(context.Context) Result {
						works++
						return Result{}
					})
				}()
				<-time.After(40 * s)
			}
			if works != 1 {
				t.Errorf("OnEvent panics at %s: the work was done %d times, want 1", kind, works)
			}
		})
	}
}
