package idempotency

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	lost  = fault{err: errDown, done: true}
	fails = fault{err: errDown}
)

// I-11: a claim may be repeated.
func TestAClaimWhoseAnswerIsLostIsTheSameClaimAgain(t *testing.T) {
	for name, f := range map[string]fault{"lost": lost, "failed": fails, "hung": {hangs: forever}, "hung and lost": {hangs: forever, done: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, on("Claim", f))
				p.want("tea", false, nil)
				p.want("tea", true, nil)
				wantWorks(t, 1, p)
			})
		})
	}
}

// I-20
func TestWithoutAStoreTheRequestIsRefusedInTime(t *testing.T) {
	for name, row := range map[string]struct {
		f    fault
		took time.Duration
	}{"it fails": {fails, 0}, "it hangs": {fault{hangs: forever}, 5 * s}, "it hangs, then fails": {fault{hangs: 2 * s, err: errDown}, 4 * s}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, always("Claim", row.f))
				if took := lasts(func() { p.want("", false, ErrUnavailable) }); took != row.took {
					t.Errorf("Do took %v, want %v", took, row.took)
				}
				wantWorks(t, 0, p)
				if p.told(StoreFailed) != 1 {
					t.Errorf("told of %d failures of the store, want 1", p.told(StoreFailed))
				}
			})
		})
	}
}

// I-20: the next request has the claim of the one whose answers were all lost,
// however long the store was away.
func TestAClaimInDoubtIsTheNextRequests(t *testing.T) {
	for _, pause := range []time.Duration{0, 29 * s, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := newProcess(t, GuardConfig{}, on("Claim", lost, fails, fails, fails))
			p.want("", false, ErrUnavailable)
			p.want("", false, ErrUnavailable)
			<-time.After(pause)
			p.want("tea", false, nil)
			p.want("tea", true, nil)
			wantWorks(t, 1, p)
		})
	}
}

// A caller that is less patient than StoreTimeout has several attempts wait for
// a store that hangs. The claim of one of them came through.
func TestOneOfSeveralClaimsInDoubtIsTheNextRequests(t *testing.T) {
	for through := 1; through <= 5; through += 2 {
		synctest.Test(t, func(t *testing.T) {
			p := newProcess(t, GuardConfig{}, func(op string, n int) fault {
				if op != "Claim" || n > 6 {
					return fault{}
				}
				return fault{hangs: forever, done: n == through}
			})
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() { p.want("", false, ErrUnavailable) })
				<-time.After(s / 10)
			}
			wg.Wait()
			p.want("tea", false, nil)
			wantWorks(t, 1, p)
		})
	}
}

func TestOfTwoAfterADoubtOneDoesTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{}, on("Claim", lost, lost))
		p.want("", false, ErrUnavailable)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, _, err := p.do(t.Context(), steep(s)); err != nil && !errors.Is(err, ErrInProgress) {
					t.Errorf("Do = %v, want the record or %v", err, ErrInProgress)
				}
			})
		}
		wg.Wait()
		wantWorks(t, 1, p)
		p.want("tea", true, nil)
	})
}

func TestAnotherRequestWithTheKeyDoesNotTakeAClaimInDoubt(t *testing.T) {
	p := newProcess(t, GuardConfig{}, on("Claim", lost, lost))
	p.want("", false, ErrUnavailable)
	if _, _, err := p.doKey(t.Context(), theKey, Fingerprint{1}, tea); !errors.Is(err, ErrMismatch) {
		t.Errorf("Do of another request = %v, want %v", err, ErrMismatch)
	}
	p.want("tea", false, nil)
	wantWorks(t, 1, p)
}

// A grant that comes when its lease may have run out is none: another may have
// taken over. It is no reason to make the caller wait either.
func TestAClaimThatIsGrantedTooLateIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{Lease: s}, on("Claim", fault{late: s}))
		_, _, err := p.do(t.Context(), steep(5*s))
		if err != nil || p.store.called("Claim") != 2 || p.told(LeaseLost) != 0 {
			t.Errorf("Do = %v after %d claims, and told of %d leases lost, want 2 claims and none lost", err, p.store.called("Claim"), p.told(LeaseLost))
		}
	})
}

// I-20: who fails open has done the work when the answer was lost, so the claim
// is nobody else's.
func TestFailOpenDoesTheWorkUnprotectedAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{FailOpen: true}, on("Claim", lost, lost))
		p.want("tea", false, nil)
		if p.told(Unprotected) != 1 || p.told(StoreFailed) != 1 {
			t.Errorf("told of %v, want StoreFailed and Unprotected", p.events)
		}
		p.want("", false, ErrInProgress)
		<-time.After(30 * s)
		p.want("", false, ErrOutcomeUnknown)
		wantWorks(t, 1, p)
	})
}

func TestDoubtsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d doubts
		number := func(n int) (c Claim) {
			binary.BigEndian.PutUint64(c.ID[:], uint64(n))
			c.Fence, c.TTL = NewFence(), time.Hour
			return c
		}
		for i := range maxDoubts + 5 {
			d.add(number(i))
		}
		if n := d.all.Len(); n != maxDoubts || len(d.of) != n {
			t.Errorf("%d doubts of %d keys, want %d", n, len(d.of), maxDoubts)
		}
		for n, want := range map[int]bool{0: false, 4: false, 5: true, maxDoubts + 4: true} {
			if _, ok := d.take(number(n).ID); ok != want {
				t.Errorf("take(%d) found one: %v, want %v", n, ok, want)
			}
		}
		for range 2 * maxDoubtsOfOne {
			d.add(number(7))
		}
		n := 0
		for _, ok := d.take(number(7).ID); ok; _, ok = d.take(number(7).ID) {
			n++
		}
		if n != maxDoubtsOfOne {
			t.Errorf("%d doubts of one key, want %d", n, maxDoubtsOfOne)
		}
		<-time.After(time.Hour)
		d.take(ID{1})
		if d.all.Len() != 0 || len(d.of) != 0 {
			t.Errorf("%d doubts of %d keys after the TTL, want none", d.all.Len(), len(d.of))
		}
	})
}
