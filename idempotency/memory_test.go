package idempotency

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/internal/race"
)

// memoryClaim returns the first claim to a key with this number.
func memoryClaim(n int) Claim {
	c := Claim{Fence: Fence{1}, Lease: time.Minute, TTL: time.Hour}
	binary.BigEndian.PutUint64(c.ID[:], uint64(n))
	return c
}

// wantClaim fails the test unless m says want to c.
func wantClaim(t *testing.T, m *Memory, c Claim, want State) Answer {
	t.Helper()
	a, err := m.Claim(t.Context(), c)
	if err != nil || a.State != want {
		t.Fatalf("Claim(%d) = %v, %v, want %v", number(c), a.State, err, want)
	}
	return a
}

func number(c Claim) uint64 { return binary.BigEndian.Uint64(c.ID[:]) }

// completeAs claims and completes.
func completeAs(t *testing.T, m *Memory, c Claim, record []byte) {
	t.Helper()
	wantClaim(t, m, c, Claimed)
	if err := m.Complete(t.Context(), c, record); err != nil {
		t.Fatalf("Complete(%d) = %v, want nil", number(c), err)
	}
}

// wantKept fails the test unless a record of the length is kept for c; -1 is one
// that has been dropped.
func wantKept(t *testing.T, m *Memory, c Claim, want int) {
	t.Helper()
	got := -1
	if a := wantClaim(t, m, c, Done); a.Record != nil {
		got = len(a.Record)
	}
	if got != want {
		t.Errorf("Claim(%d) = done with %d bytes, want %d", number(c), got, want)
	}
	consistent(t, m)
}

// consistent fails the test unless the books of m balance.
func consistent(t *testing.T, m *Memory) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	bodies, bytes := 0, int64(0)
	for e := m.bodies.first; e != nil; e = e.next {
		bodies++
		if e.record == nil || m.entries[e.id] != e || e.next == nil && m.bodies.last != e {
			t.Errorf("bodies has %v, %v, want entries with a record", e.id, e)
		}
	}
	for i, e := range m.byEnd {
		bytes += entryCost + int64(cap(e.record))
		if e.record != nil {
			bodies--
		}
		if m.entries[e.id] != e || e.index != i || i > 0 && m.byEnd[(i-1)/2].end > e.end {
			t.Errorf("byEnd[%d] = %+v, want an entry in its place", i, e)
		}
	}
	if bodies != 0 || len(m.byEnd) != len(m.entries) {
		t.Errorf("%d bodies more than records, %d entries in the heap, want 0 and %d", bodies, len(m.byEnd), len(m.entries))
	}
	if bytes != m.bytes || bytes > m.maxBytes || len(m.entries) > m.maxEntries {
		t.Errorf("bytes = %d in %d entries, want %d, at most %d in %d", m.bytes, len(m.entries), bytes, m.maxBytes, m.maxEntries)
	}
}

// I-11: bounded, and a key is refused rather than another forgotten.
func TestMemoryRefusesNewKeysWhenItIsFull(t *testing.T) {
	for name, cfg := range map[string]MemoryConfig{
		"entries": {MaxEntries: 2},
		"bytes":   {MaxBytes: 3*entryCost - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(cfg)
				first, second, third := memoryClaim(1), memoryClaim(2), memoryClaim(3)
				first.TTL = 2 * time.Minute
				wantClaim(t, m, first, Claimed)
				completeAs(t, m, second, nil)
				if a, err := m.Claim(t.Context(), third); !errors.Is(err, ErrFull) || a.State != 0 {
					t.Errorf("Claim(3) = %v, %v, want %v", a.State, err, ErrFull)
				}
				wantClaim(t, m, first, Claimed)
				wantKept(t, m, second, 0)

				<-time.After(time.Minute)
				heir := first
				heir.Fence, heir.Takeover = Fence{2}, true
				wantClaim(t, m, heir, Claimed)
				<-time.After(2*time.Minute - 1)
				if a, err := m.Claim(t.Context(), third); !errors.Is(err, ErrFull) {
					t.Errorf("Claim(3) = %v, %v just before the first ends, want %v", a.State, err, ErrFull)
				}
				<-time.After(1)
				wantClaim(t, m, third, Claimed)
				if err := m.Release(t.Context(), third); err != nil {
					t.Errorf("Release(3) = %v, want nil", err)
				}
				wantClaim(t, m, memoryClaim(4), Claimed)
				wantKept(t, m, second, 0)
			})
		})
	}
}

// I-11: a completed key whose record is gone is still completed.
func TestMemoryDropsTheOldestRecordsFirst(t *testing.T) {
	const size = 1024 // what append allocates
	m := NewMemory(MemoryConfig{MaxBytes: 4 * (entryCost + size)})
	for i := range 4 {
		completeAs(t, m, memoryClaim(3-i), make([]byte, size))
	}
	for i := range 4 {
		wantKept(t, m, memoryClaim(i), size)
	}
	wantClaim(t, m, memoryClaim(4), Claimed)
	wantKept(t, m, memoryClaim(3), -1)
	wantKept(t, m, memoryClaim(2), size)

	if err := m.Complete(t.Context(), memoryClaim(4), make([]byte, 2*size)); err != nil {
		t.Errorf("Complete(4) = %v, want nil", err)
	}
	for i, want := range []int{size, -1, -1, -1, 2 * size} {
		wantKept(t, m, memoryClaim(i), want)
	}
	completeAs(t, m, memoryClaim(5), []byte{})
	wantKept(t, m, memoryClaim(5), 0)
}

func TestMemoryKeepsTheRecordThatCameFirst(t *testing.T) {
	m, c := NewMemory(MemoryConfig{}), memoryClaim(1)
	completeAs(t, m, c, make([]byte, 10))
	if err := m.Complete(t.Context(), c, make([]byte, 20)); err != nil {
		t.Errorf("Complete(1) again = %v, want nil", err)
	}
	wantKept(t, m, c, 10)
}

func TestMemoryDropsNothingForARecordThatNeverFits(t *testing.T) {
	m := NewMemory(MemoryConfig{MaxBytes: 10_000})
	completeAs(t, m, memoryClaim(1), make([]byte, 1000))
	completeAs(t, m, memoryClaim(2), make([]byte, 10_000))
	wantKept(t, m, memoryClaim(1), 1000)
	wantKept(t, m, memoryClaim(2), -1)

	m = NewMemory(MemoryConfig{MaxBytes: entryCost + 1030}) // for which 1152 are allocated
	completeAs(t, m, memoryClaim(1), make([]byte, 1030))
	wantKept(t, m, memoryClaim(1), -1)
}

func TestMemoryForgetsTheExpiredBeforeItDropsRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{MaxBytes: 50 * entryCost})
		completeAs(t, m, memoryClaim(0), make([]byte, 8*entryCost))
		for i := range 30 {
			c := memoryClaim(i + 1)
			c.TTL = time.Minute
			wantClaim(t, m, c, Claimed)
		}
		c := memoryClaim(31)
		wantClaim(t, m, c, Claimed)
		<-time.After(time.Minute)
		if err := m.Complete(t.Context(), c, make([]byte, 36*entryCost)); err != nil {
			t.Errorf("Complete(31) = %v, want nil", err)
		}
		wantKept(t, m, memoryClaim(0), 8*entryCost)
		wantKept(t, m, c, 36*entryCost)
	})
}

// A lease or TTL of d holds until d has passed, and not for longer.
func TestMemoryKeepsTimeToTheNanosecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := NewMemory(MemoryConfig{}), memoryClaim(1)
		wantClaim(t, m, c, Claimed)
		other := c
		other.Fence = Fence{2}
		<-time.After(c.Lease - 1)
		if a := wantClaim(t, m, other, InProgress); a.LeaseLeft != 1 {
			t.Errorf("Claim(1) leaves %v of the lease, want 1ns", a.LeaseLeft)
		}
		<-time.After(1)
		wantClaim(t, m, other, Abandoned)
		<-time.After(c.TTL - c.Lease - 1)
		wantClaim(t, m, other, Abandoned)
		<-time.After(1)
		if err := m.Renew(t.Context(), c); err != ErrLeaseLost {
			t.Errorf("Renew(1) at the end of the TTL = %v, want %v", err, ErrLeaseLost)
		}
		wantClaim(t, m, other, Claimed)
	})
}

func TestMemoryForgetsInTheOrderOfTheTTLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{})
		ends := map[int]time.Time{}
		for i := range 2000 {
			n := rand.N(300)
			c := memoryClaim(n)
			c.TTL = time.Duration(1+rand.N(100)) * time.Second
			if _, err := m.Claim(t.Context(), c); err != nil {
				t.Fatalf("Claim(%d) = %v, want nil", n, err)
			}
			ends[n] = time.Now().Add(c.TTL)
			if i%3 == 0 {
				<-time.After(time.Second)
			}
			for n, end := range ends {
				if !time.Now().Before(end) {
					delete(ends, n)
				}
			}
			if i%10 == 0 && m.Len() != len(ends) {
				t.Fatalf("Len() = %d, want %d", m.Len(), len(ends))
			}
		}
		consistent(t, m)
	})
}

// A quiet night costs the first claim of the morning no more than others.
func TestMemorySweepsALittleAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old = 100
		m := NewMemory(MemoryConfig{})
		for i := range old {
			wantClaim(t, m, memoryClaim(i), Claimed)
		}
		<-time.After(24 * time.Hour)
		wantClaim(t, m, memoryClaim(old), Claimed)
		if n := len(m.entries); n < old*3/4 || n >= old {
			t.Errorf("%d entries of %d are left after a claim, want some fewer", n, old)
		}
		for i := range old / 4 {
			wantClaim(t, m, memoryClaim(old+i+1), Claimed)
		}
		if n := len(m.entries); n != old/4+1 {
			t.Errorf("%d entries are left after %d claims, want those", n, old/4+1)
		}
		consistent(t, m)
	})
}

func TestMemoryHasNoEndOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := NewMemory(MemoryConfig{}), memoryClaim(1)
		<-time.After(time.Hour)
		c.Lease, c.TTL = math.MaxInt64, math.MaxInt64
		wantClaim(t, m, c, Claimed)
		c.Fence = Fence{2}
		<-time.After(time.Hour)
		wantClaim(t, m, c, InProgress)
	})
}

func TestMemoryDoesNothingForACallThatIsCanceled(t *testing.T) {
	m, c := NewMemory(MemoryConfig{}), memoryClaim(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := m.Claim(ctx, c); err != context.Canceled || a.State != 0 || m.Len() != 0 {
		t.Errorf("Claim with a canceled context = %v, %v and remembers %d, want %v", a.State, err, m.Len(), context.Canceled)
	}
	wantClaim(t, m, c, Claimed)
	for name, err := range map[string]error{
		"Renew":    m.Renew(ctx, Claim{ID: c.ID, Fence: c.Fence}),
		"Complete": m.Complete(ctx, c, nil),
		"Release":  m.Release(ctx, c),
	} {
		if err != context.Canceled {
			t.Errorf("%s with a canceled context = %v, want %v", name, err, context.Canceled)
		}
	}
	c.Fence = Fence{2}
	wantClaim(t, m, c, InProgress)
}

// What a Memory counts is what it takes, when keys come and when they go.
func TestMemoryCountsWhatItTakes(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector takes memory too")
	}
	for _, n := range []int{1000, 7500, 10_000, 14_500, 30_000} {
		for _, size := range []int{0, 1030} {
			before := heapInUse()
			m := NewMemory(MemoryConfig{})
			for i := range n {
				completeAs(t, m, memoryClaim(i), make([]byte, size))
			}
			took, counted := heapInUse()-before, m.bytes
			if took > counted || took < counted*3/4 {
				t.Errorf("%d keys with %d bytes take %d, counted as %d; want no more, and three quarters at least", n, size, took, counted)
			}
			runtime.KeepAlive(m)
		}
	}
}

// The map of a Memory in which keys come and go has room for some more.
func TestMemoryDoesNotGrowAsKeysComeAndGo(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector takes memory too")
	}
	const live = 5000
	before := heapInUse()
	m := NewMemory(MemoryConfig{})
	for i := range 200_000 {
		wantClaim(t, m, memoryClaim(i), Claimed)
		if i >= live {
			_ = m.Release(t.Context(), memoryClaim(i-live))
		}
	}
	if took, counted := heapInUse()-before, m.bytes; took > 2*counted {
		t.Errorf("%d keys take %d, counted as %d; want twice that at most", live, took, counted)
	}
	runtime.KeepAlive(m)
}

func TestMemoryGivesMemoryBack(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector takes memory too")
	}
	synctest.Test(t, func(t *testing.T) {
		before := heapInUse()
		m := NewMemory(MemoryConfig{})
		for i := range 50_000 {
			wantClaim(t, m, memoryClaim(i), Claimed)
		}
		peak := heapInUse() - before
		<-time.After(time.Hour)
		if n := m.Len(); n != 0 {
			t.Errorf("Len() = %d after the TTL, want 0", n)
		}
		if left := heapInUse() - before; left > peak/50 {
			t.Errorf("%d bytes of %d are still in use after the TTL, want next to none", left, peak)
		}
		runtime.KeepAlive(m)
	})
}

func heapInUse() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC() // a second, for what the first has only unlinked
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// Under a bound that all are fighting for, the books stay balanced and nobody
// gets what another has.
func TestMemoryStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{MaxEntries: 40, MaxBytes: 50 * entryCost})
		owned := make([]sync.Mutex, 100)
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 500 {
					n := rand.N(len(owned))
					c := memoryClaim(n)
					c.Fence, c.TTL = NewFence(), c.Lease
					a, err := m.Claim(t.Context(), c)
					if err != nil && !errors.Is(err, ErrFull) {
						t.Errorf("Claim(%d) = %v, want nil or %v", n, err, ErrFull)
					}
					if a.State == Claimed {
						stormOwner(t, m, c, &owned[n])
					}
				}
			})
		}
		all.Wait()
		consistent(t, m)
	})
}

// stormOwner does something with the key of c, which nobody else has meanwhile.
func stormOwner(t *testing.T, m *Memory, c Claim, owned *sync.Mutex) {
	if !owned.TryLock() {
		t.Errorf("Claim(%d) = claimed, want in progress", number(c))
		return
	}
	var err error
	switch what := rand.N(10); {
	case what < 8:
		owned.Unlock() // before anybody else can have it
		err = m.Release(t.Context(), c)
	default:
		err = m.Complete(t.Context(), c, make([]byte, rand.N(20*entryCost)))
		owned.Unlock()
		<-time.After(time.Duration(rand.N(int64(2 * c.TTL))))
	}
	if err != nil {
		t.Errorf("Release or Complete(%d) = %v, want nil", number(c), err)
	}
}

func TestMemoryConfigSaysWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		cfg  MemoryConfig
		want string
	}{
		{MemoryConfig{}, ""},
		{MemoryConfig{MaxEntries: 1, MaxBytes: entryCost}, ""},
		{MemoryConfig{MaxEntries: -1}, "MaxEntries is -1"},
		{MemoryConfig{MaxBytes: -1}, "MaxBytes is -1"},
		{MemoryConfig{MaxBytes: entryCost - 1}, "holds no key"},
	} {
		err := row.cfg.Validate()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("Validate(%+v) = %v, want %q", row.cfg, err, row.want)
		}
		func() {
			defer func() {
				if v := recover(); (v == nil) != (err == nil) {
					t.Errorf("NewMemory(%+v) panics with %v, want %v", row.cfg, v, err)
				}
			}()
			NewMemory(row.cfg)
		}()
	}
}

func TestMemoryAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too")
	}
	m := NewMemory(MemoryConfig{})
	pending, done, record := memoryClaim(0), memoryClaim(1), make([]byte, 500)
	wantClaim(t, m, pending, Claimed)
	completeAs(t, m, done, record)
	other := pending
	other.Fence = Fence{2}
	next := 2
	for _, row := range []struct {
		name string
		max  float64
		f    func()
	}{
		// The entry and the record; the map and the heap grow now and then.
		{"Claim and Complete", 2, func() {
			c := memoryClaim(next)
			next++
			_, _ = m.Claim(t.Context(), c)
			_ = m.Complete(t.Context(), c, record)
		}},
		{"Claim and Release", 1, func() {
			c := memoryClaim(next)
			next++
			_, _ = m.Claim(t.Context(), c)
			_ = m.Release(t.Context(), c)
		}},
		{"Claim in progress", 0, func() { _, _ = m.Claim(t.Context(), other) }},
		{"Claim done", 1, func() { _, _ = m.Claim(t.Context(), done) }},
		{"Renew", 0, func() { _ = m.Renew(t.Context(), pending) }},
	} {
		if got := testing.AllocsPerRun(2000, row.f); got > row.max {
			t.Errorf("%s = %v allocations, want %v", row.name, got, row.max)
		}
	}
}
