package idempotency

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// MemoryConfig describes a Memory. The zero value is fit for production.
type MemoryConfig struct {
	// MaxEntries is how many keys are remembered at the same time. 0 means
	// 500,000: six new ones a second, each remembered for a day.
	MaxEntries int

	// MaxBytes is how much memory the keys and records may take: 280 bytes for a
	// key, which is what it is at most while their number grows, and then the
	// record. Keys that come and go all the time leave gaps, which take up to as
	// much as the keys. 0 means 256 MiB: half a kilobyte for each of 500,000.
	MaxBytes int64
}

// Validate reports what is wrong with the config.
func (c MemoryConfig) Validate() error {
	switch {
	case c.MaxEntries < 0:
		return fmt.Errorf("idempotency: MaxEntries is %d; it must be positive, or 0 for the default", c.MaxEntries)
	case c.MaxBytes < 0:
		return fmt.Errorf("idempotency: MaxBytes is %d; it must be positive, or 0 for the default", c.MaxBytes)
	case c.MaxBytes > 0 && c.MaxBytes < entryCost:
		return fmt.Errorf("idempotency: MaxBytes is %d, which holds no key; one takes %d", c.MaxBytes, entryCost)
	}
	return nil
}

// ErrFull is what a Memory returns to the claim of a new key when it remembers
// as many as it may. It forgets none to make room, since a retry would then do
// the work twice; it takes new keys again when old ones have outlived their
// TTL. If it is seen in production, shorten the TTL, raise MaxEntries and
// MaxBytes, or use a Store with more room.
var ErrFull = errors.New("idempotency: memory is full; shorten the TTL, raise MaxEntries and MaxBytes, or use another Store")

// Memory is a Store in the memory of this process. It suits a service of one
// process whose work does not outlive it either: after a restart all keys are
// forgotten, and several processes know nothing of each other's.
//
// It is bounded, and refuses rather than forgets. When it remembers MaxEntries
// keys, new ones get ErrFull. When MaxBytes are used, the records that were
// completed first are dropped, while their keys are still Done, with a nil
// Record; when all are dropped, new keys get ErrFull.
//
// Keys that have outlived their TTL are removed as claims come, so a Memory
// that gets none keeps what it has. It is safe for concurrent use and starts no
// goroutine. Make one with NewMemory.
type Memory struct {
	maxEntries int
	maxBytes   int64
	start      time.Time

	mu      sync.Mutex
	entries map[ID]*entry
	byEnd   entryHeap
	bodies  bodies
	bytes   int64 // never above maxBytes
	peak    int   // of len(entries), since the map was made
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty Memory. It panics if cfg is not valid.
func NewMemory(cfg MemoryConfig) *Memory {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	m := &Memory{maxEntries: cfg.MaxEntries, maxBytes: cfg.MaxBytes, start: time.Now(), entries: map[ID]*entry{}}
	if m.maxEntries == 0 {
		m.maxEntries = 500_000
	}
	if m.maxBytes == 0 {
		m.maxBytes = 256 << 20
	}
	return m
}

// Claim implements Store. Besides the errors of ctx it returns ErrFull.
func (m *Memory) Claim(ctx context.Context, c Claim) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, err
	}
	a, err := m.claim(c)
	a.Record = bytes.Clone(a.Record) // not under the lock: what is kept never changes
	return a, err
}

// claim returns the Memory's own copy of the record.
func (m *Memory) claim(c Claim) (Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now)
	e := m.get(c.ID, now)
	switch {
	case e == nil:
		return m.add(c, now)
	case e.fingerprint != c.Fingerprint:
		return Answer{State: Mismatch}, nil
	case e.done:
		return Answer{State: Done, Record: e.record}, nil
	case e.fence == c.Fence:
	case now < e.leaseEnd:
		return Answer{State: InProgress, LeaseLeft: e.leaseEnd - now}, nil
	case !c.Takeover:
		return Answer{State: Abandoned}, nil
	}
	e.fence = c.Fence
	m.renew(e, c, now)
	return Answer{State: Claimed}, nil
}

// Renew implements Store.
func (m *Memory) Renew(ctx context.Context, c Claim) error {
	return m.change(ctx, c, func(e *entry, now time.Duration) error {
		if !e.done {
			m.renew(e, c, now)
		}
		return nil
	})
}

// Complete implements Store. If the record does not fit into MaxBytes even when
// all others are dropped, it is not kept.
func (m *Memory) Complete(ctx context.Context, c Claim, record []byte) error {
	kept := append([]byte{}, record...) // not nil if empty
	return m.change(ctx, c, func(e *entry, now time.Duration) error {
		if e.done {
			return nil
		}
		if m.room(int64(cap(kept)), now) {
			m.keep(e, kept)
		}
		e.done = true
		m.renew(e, c, now)
		return nil
	})
}

// Release implements Store.
func (m *Memory) Release(ctx context.Context, c Claim) error {
	return m.change(ctx, c, func(e *entry, _ time.Duration) error {
		if e.done {
			return ErrLeaseLost
		}
		m.remove(e)
		return nil
	})
}

// Len returns how many keys are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for now := m.now(); m.removeExpired(now); {
	}
	return len(m.entries)
}

// change calls f with the entry that c owns.
func (m *Memory) change(ctx context.Context, c Claim, f func(e *entry, now time.Duration) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	e := m.get(c.ID, now)
	if e == nil || e.fence != c.Fence {
		return ErrLeaseLost
	}
	return f(e, now)
}

// now returns the time since the Memory was made, by the monotonic clock: what
// is done to the wall clock ends no lease.
func (m *Memory) now() time.Duration { return time.Since(m.start) }

// get returns the entry of id, or nil if there is none that lives.
func (m *Memory) get(id ID, now time.Duration) *entry {
	e := m.entries[id]
	if e != nil && e.end <= now {
		m.remove(e)
		return nil
	}
	return e
}

// add adds an entry for c, after a sweep: if it is still full, none has expired.
func (m *Memory) add(c Claim, now time.Duration) (Answer, error) {
	if len(m.entries) >= m.maxEntries || !m.room(entryCost, now) {
		return Answer{}, ErrFull
	}
	e := &entry{id: c.ID, fingerprint: c.Fingerprint, fence: c.Fence, leaseEnd: after(now, c.Lease), end: after(now, c.TTL)}
	m.entries[c.ID] = e
	heap.Push(&m.byEnd, e)
	m.bytes += entryCost
	m.peak = max(m.peak, len(m.entries))
	return Answer{State: Claimed}, nil
}

// renew begins a new lease and TTL.
func (m *Memory) renew(e *entry, c Claim, now time.Duration) {
	e.leaseEnd, e.end = after(now, c.Lease), after(now, c.TTL)
	heap.Fix(&m.byEnd, e.index)
}

// after returns now + d, or the end of time.
func after(now, d time.Duration) time.Duration {
	if d > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + d
}

// room makes room for n more bytes: first by what has outlived its TTL, then by
// the records that were completed first. It drops none if that is not enough.
func (m *Memory) room(n int64, now time.Duration) bool {
	for m.bytes+n > m.maxBytes && m.removeExpired(now) {
	}
	if int64(len(m.entries))*entryCost+n > m.maxBytes {
		return false
	}
	for m.bytes+n > m.maxBytes {
		m.drop(m.bodies.first)
	}
	return true
}

// keep makes record the record of e.
func (m *Memory) keep(e *entry, record []byte) {
	e.record = record
	m.bytes += int64(cap(record))
	m.bodies.push(e)
}

// drop forgets the record of e, if it has one.
func (m *Memory) drop(e *entry) {
	if e.record == nil {
		return
	}
	m.bytes -= int64(cap(e.record))
	m.bodies.remove(e)
	e.record = nil
}

// sweep removes some of what has outlived its TTL. Each claim adds one at most,
// so two would do; a bound keeps the first claim after a quiet night from
// paying for all of the day.
func (m *Memory) sweep(now time.Duration) {
	for range 8 {
		if !m.removeExpired(now) {
			return
		}
	}
}

// removeExpired removes an entry that has outlived its TTL, and reports whether
// there was one.
func (m *Memory) removeExpired(now time.Duration) bool {
	if len(m.byEnd) == 0 || m.byEnd[0].end > now {
		return false
	}
	m.remove(m.byEnd[0])
	return true
}

func (m *Memory) remove(e *entry) {
	m.drop(e)
	heap.Remove(&m.byEnd, e.index)
	delete(m.entries, e.id)
	m.bytes -= entryCost
	m.shrink()
}

// shrink gives back what the map and the heap have grown to, which they do not
// themselves, when half of it is in use no more. That takes some 0.1 µs for each
// entry that is left, once for as many that have gone: a pause, but a short one
// beside the day in which half of a million keys come and go.
func (m *Memory) shrink() {
	const few = 1024 // not worth it
	if m.peak < few || len(m.entries) > m.peak/2 {
		return
	}
	entries := make(map[ID]*entry, len(m.entries))
	for id, e := range m.entries {
		entries[id] = e
	}
	m.entries = entries
	m.byEnd = append(make(entryHeap, 0, len(m.byEnd)), m.byEnd...)
	m.peak = len(entries)
}
