package idempotency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A storm is many callers who ask several processes for the work of few keys,
// over a store that does everything wrong now and then, until all have an
// answer or have given up.
type storm struct {
	t     *testing.T
	store func(faults func(string, int) fault) Store // of one process
	cfg   GuardConfig

	mu      sync.Mutex
	rand    *rand.Rand
	effects map[string]int             // how often each key's work had its effect
	answers map[string]map[string]bool // what the callers were answered, by key
}

func newStorm(t *testing.T, seed uint64) *storm {
	return &storm{
		t:       t,
		rand:    rand.New(rand.NewPCG(seed, 4)),
		effects: map[string]int{},
		answers: map[string]map[string]bool{},
	}
}

// chance reports true so often, of 100.
func (st *storm) chance(percent int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.rand.IntN(100) < percent
}

// upTo returns a random time.
func (st *storm) upTo(d time.Duration) time.Duration {
	st.mu.Lock()
	defer st.mu.Unlock()
	return time.Duration(st.rand.Int64N(int64(d)))
}

func (st *storm) fault(string, int) fault {
	switch {
	case st.chance(70):
		return fault{}
	case st.chance(30):
		return fails
	case st.chance(30):
		return lost
	case st.chance(30):
		return fault{hangs: forever, done: st.chance(50)}
	case st.chance(50):
		return fault{late: st.upTo(40 * s)}
	}
	return fault{hangs: st.upTo(20 * s), deaf: st.chance(20)}
}

// work has its effect, and often goes wrong before or after.
func (st *storm) work(key string, effect func(context.Context)) func(context.Context) Result {
	return func(ctx context.Context) Result {
		if st.chance(50) {
			<-time.After(st.upTo(90 * s))
		}
		switch {
		case st.chance(10):
			panic("before")
		case st.chance(10):
			return Result{Verdict: Release}
		}
		effect(ctx)
		st.mu.Lock()
		st.effects[key]++
		record := fmt.Appendf(nil, "%s %d", key, st.effects[key])
		st.mu.Unlock()
		switch {
		case st.chance(5):
			panic("after")
		case st.chance(5):
			runtime.Goexit()
		case st.chance(30):
			<-time.After(st.upTo(90 * s))
		}
		return Result{Record: record}
	}
}

// blow runs the storm. The effect of the work is also that of effect.
func (st *storm) blow(effect func(context.Context)) {
	const processes, keys, callers, attempts = 3, 6, 4, 40
	var guards []*Guard
	for range processes {
		cfg := st.cfg
		cfg.Store = st.store(st.fault)
		guards = append(guards, NewGuard(cfg))
	}
	var wg sync.WaitGroup
	for k := range keys {
		key := fmt.Sprint("key ", k)
		for range callers {
			wg.Go(func() {
				for range attempts {
					<-time.After(st.upTo(20 * s))
					g := guards[int(st.upTo(processes))]
					if st.ask(g, key, effect) {
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// ask reports whether the caller need not ask again.
func (st *storm) ask(g *Guard, key string, effect func(context.Context)) (over bool) {
	ctx, cancel := context.WithTimeout(st.t.Context(), st.upTo(40*s))
	defer cancel()
	ends(func() {
		record, _, err := g.Do(ctx, Request{Key: key}, st.work(key, effect))
		if err == nil && record != nil {
			st.mu.Lock()
			if st.answers[key] == nil {
				st.answers[key] = map[string]bool{}
			}
			st.answers[key][string(record)] = true
			st.mu.Unlock()
		}
		over = err == nil && record != nil || errors.Is(err, ErrOutcomeUnknown)
	})
	return over
}

const storms = 30

// I-12, I-13, I-14: under Fail the work of no key has its effect twice.
func TestInAStormNoWorkIsDoneTwice(t *testing.T) {
	seed := rand.Uint64()
	for i := range uint64(storms) {
		synctest.Test(t, func(t *testing.T) {
			st := newStorm(t, seed+i)
			m := NewMemory(MemoryConfig{})
			st.store = func(rule func(string, int) fault) Store { return &faulty{Store: m, rule: rule} }
			st.blow(func(context.Context) {})
			for key, n := range st.effects {
				if n != 1 || len(st.answers[key]) > 1 {
					t.Errorf("seed %d: the work of %s was done %d times and answered with %v, want 1", seed+i, key, n, st.answers[key])
				}
			}
			if len(st.effects) == 0 {
				t.Errorf("seed %d: no work was done, want some", seed+i)
			}
		})
	}
}

// I-14: in transactions the work of each key that was answered has its effect
// exactly once, and that is the one which was answered.
func TestInAStormEachTransferIsMadeOnce(t *testing.T) {
	seed := rand.Uint64()
	for i := range uint64(storms) {
		synctest.Test(t, func(t *testing.T) {
			st := newStorm(t, seed+i)
			b := newBank()
			b.rule = st.fault
			st.store = func(func(string, int) fault) Store { return b }
			st.blow(move)
			made := b.made()
			for key, all := range st.answers {
				if n := made[idOf("", "", key)]; n != 1 || len(all) != 1 {
					t.Errorf("seed %d: the transfer of %s was made %d times and answered with %v, want 1", seed+i, key, n, all)
				}
			}
			for id, n := range made {
				if n != 1 {
					t.Errorf("seed %d: the transfer %v was made %d times, want 1", seed+i, id, n)
				}
			}
			if len(st.answers) < 3 {
				t.Errorf("seed %d: %d of 6 transfers were answered, want most", seed+i, len(st.answers))
			}
		})
	}
}
