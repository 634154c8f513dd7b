package idempotency

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// I-3, I-11
func TestEachStateOfAKeyHasItsAnswer(t *testing.T) {
	for _, row := range []struct {
		answer Answer
		record string
		is     error
		after  time.Duration
	}{
		{Answer{State: Done, Record: []byte("old")}, "old", nil, 0},
		{Answer{State: Done, Record: []byte{}}, "", nil, 0},
		{Answer{State: Done}, "", ErrNotKept, 0},
		{Answer{State: InProgress, LeaseLeft: 20 * s}, "", ErrInProgress, s},
		{Answer{State: InProgress, LeaseLeft: 300 * time.Millisecond}, "", ErrInProgress, 300 * time.Millisecond},
		{Answer{State: InProgress}, "", ErrInProgress, s}, // rounded to nothing
		{Answer{State: InProgress, LeaseLeft: -s}, "", ErrInProgress, s},
		{Answer{State: Mismatch}, "", ErrMismatch, 0},
		{Answer{State: Abandoned}, "", ErrOutcomeUnknown, 0},
		{Answer{}, "", ErrUnavailable, s},
		{Answer{State: Abandoned + 1}, "", ErrUnavailable, s},
		{Answer{State: 99}, "", ErrUnavailable, s},
	} {
		p := newProcess(t, GuardConfig{}, always("Claim", fault{answer: &row.answer}))
		record, replayed, err := p.do(t.Context(), tea)
		if record != row.record || replayed != (row.is == nil) || !errors.Is(err, row.is) {
			t.Errorf("%v: Do = %q, %v, %v, want %q, %v", row.answer, record, replayed, err, row.record, row.is)
		}
		if e, ok := errors.AsType[*Error](err); ok != (row.is != nil) || ok && e.RetryAfter != row.after {
			t.Errorf("%v: Do = %#v, want an *Error with a RetryAfter of %v", row.answer, err, row.after)
		}
		wantWorks(t, 0, p)
	}
}

// I-12
func TestOfFiftyAtTheSameTimeOneDoesTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, GuardConfig{}, nil)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for {
					record, _, err := p.do(t.Context(), steep(10*s))
					if err == nil && record == "tea" {
						return
					}
					e, ok := errors.AsType[*Error](err)
					if !ok || !errors.Is(err, ErrInProgress) {
						t.Errorf("Do = %q, %v, want the record or %v", record, err, ErrInProgress)
						return
					}
					<-time.After(e.RetryAfter)
				}
			})
		}
		wg.Wait()
		wantWorks(t, 1, p)
		if p.told(Executed) != 1 || p.told(Replayed) != 49 {
			t.Errorf("told of %d executed and %d replayed, want 1 and 49", p.told(Executed), p.told(Replayed))
		}
	})
}

// I-19
func TestTheWorkGoesOnWhenTheCallerHasGone(t *testing.T) {
	for name, row := range map[string]struct {
		leaves time.Duration // when the caller does
		rule   func(string, int) fault
	}{
		"before":              {0, nil},
		"during the claim":    {s, on("Claim", fault{hangs: 2 * s})},
		"during a lost claim": {s, on("Claim", fault{hangs: forever, done: true})},
		"during the work":     {s, nil},
		"during Complete":     {21 * s, on("Complete", fault{hangs: 2 * s})},
		"between Completes":   {20*s + 1, on("Complete", fault{err: errDown}, fault{err: errDown})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProcess(t, GuardConfig{}, row.rule)
				ctx, cancel := context.WithTimeout(t.Context(), row.leaves)
				defer cancel()
				var ended error
				record, _, err := p.do(ctx, func(ctx context.Context) Result {
					<-time.After(20 * s)
					ended = ctx.Err()
					return tea(ctx)
				})
				if record != "tea" || err != nil || ended != nil {
					t.Errorf("Do = %q, %v, and the work's context is %v, want the record and a context that goes on", record, err, ended)
				}
				p.want("tea", true, nil)
				wantWorks(t, 1, p)
			})
		})
	}
}

func TestTheContextOfTheWorkHasTheCallersValues(t *testing.T) {
	type key struct{}
	p := newProcess(t, GuardConfig{}, nil)
	ctx := context.WithValue(t.Context(), key{}, "trace")
	_, _, _ = p.do(ctx, func(ctx context.Context) Result {
		if v := ctx.Value(key{}); v != "trace" {
			t.Errorf("the work's context has %v, want the caller's value", v)
		}
		return tea(ctx)
	})
}

// I-19
func TestTheContextOfTheWorkEndsAfterTheTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: time.Minute, 7 * s: 7 * s} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory(MemoryConfig{})
			p := newProcess(t, GuardConfig{Store: m, Timeout: timeout}, nil)
			rival := newProcess(t, GuardConfig{Store: m, OnLeaseExpiry: Reexecute}, nil)
			_, _, err := p.do(t.Context(), func(ctx context.Context) Result {
				took := lasts(func() { <-ctx.Done() })
				if took != want || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
					t.Errorf("the work's context ended after %v: %v, want %v: %v", took, context.Cause(ctx), want, context.DeadlineExceeded)
				}
				<-time.After(3 * time.Minute) // it does not care
				rival.want("", false, ErrInProgress)
				return tea(ctx)
			})
			if err != nil {
				t.Errorf("Do = %v, want what the work came to", err)
			}
			rival.want("tea", true, nil)
			wantWorks(t, 1, p, rival)
		})
	}
}

func TestAVerdictDecidesWhatBecomesOfTheKey(t *testing.T) {
	for _, row := range []struct {
		verdict Verdict
		works   int // of two requests
	}{{Commit, 1}, {Reject, 1}, {Release, 2}} {
		p := newProcess(t, GuardConfig{}, nil)
		for range 2 {
			record, _, err := p.do(t.Context(), func(context.Context) Result { return Result{Record: []byte("busy"), Verdict: row.verdict} })
			if record != "busy" || err != nil {
				t.Errorf("verdict %d: Do = %q, %v, want the record of the work", row.verdict, record, err)
			}
		}
		wantWorks(t, row.works, p)
	}
}

func TestAnEmptyRecordIsKeptAndOneTheStoreHasDroppedIsNot(t *testing.T) {
	p := newProcess(t, GuardConfig{}, nil)
	_, _, _ = p.do(t.Context(), func(context.Context) Result { return Result{} })
	p.want("", true, nil)
	q := newProcess(t, GuardConfig{}, on("Claim", fault{}, fault{answer: &Answer{State: Done}}))
	_, _, _ = q.do(t.Context(), func(context.Context) Result { return Result{} })
	q.want("", false, ErrNotKept)
}

func TestGuardWithoutConfigHasTheDefaults(t *testing.T) {
	c := GuardConfig{}.defaults()
	if c.Lease != 30*s || c.TTL != 24*time.Hour || c.Timeout != time.Minute || c.StoreTimeout != 5*s || c.OnLeaseExpiry != Fail || c.FailOpen {
		t.Errorf("defaults = %+v, want those that GuardConfig tells", c)
	}
	if got := (GuardConfig{Store: newBank()}).defaults().OnLeaseExpiry; got != Reexecute {
		t.Errorf("OnLeaseExpiry with a Transactor = %d, want Reexecute", got)
	}
	if got := (GuardConfig{Store: newBank(), OnLeaseExpiry: Fail}).defaults().OnLeaseExpiry; got != Fail {
		t.Errorf("OnLeaseExpiry Fail with a Transactor = %d, want Fail", got)
	}
	if _, ok := NewGuard(GuardConfig{}).store.(*Memory); !ok {
		t.Error("Store without config is no *Memory")
	}
}

func TestGuardConfigThatCannotWorkSaysHowToMendIt(t *testing.T) {
	for _, row := range []struct {
		cfg  GuardConfig
		want []string // parts of the message; none if it can work
	}{
		{GuardConfig{}, nil},
		{GuardConfig{Lease: 50 * time.Millisecond, TTL: 100 * time.Millisecond}, nil},
		{GuardConfig{FailOpen: true, OnLeaseExpiry: Reexecute}, nil},
		{GuardConfig{Store: newBank(), OnLeaseExpiry: Fail}, nil},
		{GuardConfig{Lease: -1}, []string{"Lease is -1ns", "0 for the default"}},
		{GuardConfig{TTL: -s}, []string{"TTL is -1s", "0 for the default"}},
		{GuardConfig{Timeout: -s}, []string{"Timeout is -1s", "0 for the default"}},
		{GuardConfig{StoreTimeout: -s}, []string{"StoreTimeout is -1s", "0 for the default"}},
		{GuardConfig{Lease: 49 * time.Millisecond}, []string{"Lease is 49ms", "at least 50ms"}},
		{GuardConfig{TTL: 59 * s}, []string{"TTL of 59s", "at least twice the Lease of 30s"}},
		{GuardConfig{Lease: 25 * time.Hour}, []string{"TTL of 24h", "at least twice the Lease of 25h"}},
		{GuardConfig{OnLeaseExpiry: 3}, []string{"OnLeaseExpiry is 3", "give Fail or Reexecute"}},
		{GuardConfig{Store: newBank(), FailOpen: true}, []string{"FailOpen with a Transactor", "leave it out"}},
	} {
		err := row.cfg.Validate()
		if (err != nil) != (len(row.want) > 0) {
			t.Errorf("Validate(%+v) = %v, want an error: %v", row.cfg, err, len(row.want) > 0)
		}
		for _, part := range row.want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("Validate(%+v) = %q, want %q in it", row.cfg, err, part)
			}
		}
		if err == nil {
			continue
		}
		func() {
			defer func() {
				if got := recover(); got != err.Error() {
					t.Errorf("NewGuard(%+v) panics with %v, want %q", row.cfg, got, err)
				}
			}()
			NewGuard(row.cfg)
		}()
	}
}
