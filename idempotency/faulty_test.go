package idempotency

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const s = time.Second

var errDown = errors.New("the store is down")

// A fault is what goes wrong with one operation of a Store. The zero fault is
// nothing.
type fault struct {
	err    error         // it fails
	done   bool          // but is done, and only the answer is lost
	hangs  time.Duration // it takes so long
	deaf   bool          // and does not notice when its context ends
	late   time.Duration // its answer takes so long, whether its context ends or not
	answer *Answer       // of a Claim, and not the store's
	panics bool
}

const forever = 1000 * time.Hour

func (f fault) run(ctx context.Context, operation func() error) error {
	end := ctx.Done()
	if f.deaf {
		end = nil
	}
	select {
	case <-time.After(f.hangs):
		if f.hangs == 0 && !f.deaf && ctx.Err() != nil {
			return ctx.Err()
		}
	case <-end:
		if f.done {
			_ = operation()
		}
		return ctx.Err()
	}
	defer func() { <-time.After(f.late) }()
	switch {
	case f.panics:
		panic("the store panics")
	case f.err == nil:
		return operation()
	case f.done:
		_ = operation()
	}
	return f.err
}

// A faulty is a Store whose operations go wrong by rule, which is asked with the
// name of each operation and how often there was one of the name, from 1. A
// Renew that gives up the lease goes by the name of GiveUp.
type faulty struct {
	Store
	rule func(operation string, n int) fault

	mu    sync.Mutex
	calls map[string]int
}

func (s *faulty) next(operation string) fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[operation]++
	if s.rule == nil {
		return fault{}
	}
	return s.rule(operation, s.calls[operation])
}

func (s *faulty) called(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

func (s *faulty) Claim(ctx context.Context, c Claim) (a Answer, err error) {
	f := s.next("Claim")
	err = f.run(ctx, func() error {
		a, err = s.Store.Claim(context.WithoutCancel(ctx), c)
		return err
	})
	switch {
	case err != nil:
		return Answer{}, err
	case f.answer != nil:
		return *f.answer, nil
	}
	return a, nil
}

func (s *faulty) Renew(ctx context.Context, c Claim) error {
	name := "Renew"
	if c.Lease == 0 {
		name = "GiveUp"
	}
	return s.next(name).run(ctx, func() error { return s.Store.Renew(context.WithoutCancel(ctx), c) })
}

func (s *faulty) Complete(ctx context.Context, c Claim, record []byte) error {
	return s.next("Complete").run(ctx, func() error { return s.Store.Complete(context.WithoutCancel(ctx), c, record) })
}

func (s *faulty) Release(ctx context.Context, c Claim) error {
	return s.next("Release").run(ctx, func() error { return s.Store.Release(context.WithoutCancel(ctx), c) })
}

// on returns the rule that the operation has the faults, one after the other,
// and then none.
func on(operation string, faults ...fault) func(string, int) fault {
	return func(name string, n int) fault {
		if name != operation || n > len(faults) {
			return fault{}
		}
		return faults[n-1]
	}
}

// always returns the rule that the operation has the fault each time.
func always(operation string, f fault) func(string, int) fault {
	return func(name string, _ int) fault {
		if name != operation {
			return fault{}
		}
		return f
	}
}

// A process is a Guard under test, and what has become of it. It checks what is
// so for each request: exactly one event tells the outcome, and none holds the
// key.
type process struct {
	t     *testing.T
	guard *Guard
	store *faulty
	works atomic.Int32 // how often the work was begun

	mu     sync.Mutex
	events []Event
}

// theKey is in no event.
const theKey = "SECRET-MARKER"

// newProcess returns one over the store of cfg, or a Memory, with faults by
// rule.
func newProcess(t *testing.T, cfg GuardConfig, rule func(string, int) fault) *process {
	t.Helper()
	p := &process{t: t}
	if cfg.Store == nil {
		cfg.Store = NewMemory(MemoryConfig{})
	}
	if !isTransactor(cfg.Store) {
		p.store = &faulty{Store: cfg.Store, rule: rule}
		cfg.Store = p.store
	}
	cfg.OnEvent = p.onEvent
	p.guard = NewGuard(cfg)
	return p
}

// outcomes counts the events that tell the outcome of one request. Its address
// is a context's key.
type outcomes struct{ n atomic.Int32 }

type outcomesKey struct{}

func (p *process) onEvent(ctx context.Context, e Event) {
	if strings.Contains(fmt.Sprintf("%+v", e), theKey) {
		p.t.Errorf("OnEvent got %+v, want nothing that holds the key", e)
	}
	switch e.Kind {
	case Executed, Replayed, Refused, Unprotected, Panicked:
		ctx.Value(outcomesKey{}).(*outcomes).n.Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
}

// told returns how many events of the kind there were.
func (p *process) told(kind EventKind) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// do asks for the work of theKey.
func (p *process) do(ctx context.Context, work func(context.Context) Result) (string, bool, error) {
	return p.doKey(ctx, theKey, Fingerprint{}, work)
}

func (p *process) doKey(ctx context.Context, key string, f Fingerprint, work func(context.Context) Result) (string, bool, error) {
	p.t.Helper()
	var told outcomes
	defer func() {
		p.t.Helper()
		if n := told.n.Load(); n != 1 {
			p.t.Errorf("Do told of %d outcomes, want 1", n)
		}
	}()
	record, replayed, err := p.guard.Do(context.WithValue(ctx, outcomesKey{}, &told), Request{"tenant", key, f}, func(ctx context.Context) Result {
		p.works.Add(1)
		return work(ctx)
	})
	return string(record), replayed, err
}

// want asks for the work of theKey, which is tea, and checks the record, or the
// error that Do's unwraps to.
func (p *process) want(record string, replayed bool, is error) {
	p.t.Helper()
	got, again, err := p.do(p.t.Context(), tea)
	if got != record || again != replayed || !errors.Is(err, is) {
		p.t.Errorf("Do = %q, %v, %v, want %q, %v, %v", got, again, err, record, replayed, is)
	}
}

// wantWorks checks how often the work was begun, by all the processes.
func wantWorks(t *testing.T, want int, all ...*process) {
	t.Helper()
	n := 0
	for _, p := range all {
		n += int(p.works.Load())
	}
	if n != want {
		t.Errorf("the work was begun %d times, want %d", n, want)
	}
}

// tea is work that takes no time.
func tea(context.Context) Result { return Result{Record: []byte("tea")} }

// steep returns work that takes d, whatever its context says.
func steep(d time.Duration) func(context.Context) Result {
	return func(ctx context.Context) Result {
		<-time.After(d)
		return tea(ctx)
	}
}

// lasts returns how long f takes.
func lasts(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}
