package breaker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/clock"
)

// An outcome is how a call ended, as the breaker sees it.
type outcome uint8

const (
	success  outcome = 0
	failure  outcome = 1 << 0
	slow     outcome = 1 << 1 // beside success or failure
	excluded outcome = 1 << 7 // tells nothing
)

// A tally counts the outcomes in a window.
type tally struct{ calls, failures, slow int64 }

// reaches reports whether n of the calls are a share of at least rate. It
// divides, since 7.0/100 is the same number as 0.07, but 0.07*100 is not 7.
func (t tally) reaches(rate float64, n int64) bool {
	return n > 0 && float64(n)/float64(t.calls) >= rate
}

// A window remembers outcomes, for a time or a number of calls. Recording takes
// no lock, so that calls do not wait for one another.
type window interface {
	// succeed records a success, and reports whether there is nothing but
	// success in the window, so that it need not be judged.
	succeed() bool
	// record records any outcome.
	record(now time.Duration, o outcome)
	tally(now time.Duration) tally
}

// buckets is how many parts a time window has: outcomes leave it a tenth of it
// at a time.
const buckets = 10

// A timeWindow is a ring of buckets. A bucket whose time has passed is replaced,
// not reset: a goroutine that was about to count in the old one, and was held
// up for a whole window, then does no harm.
//
// A success is counted in the current bucket without a look at the clock, which
// costs more than all the rest. Instead each bucket has a timer that puts an end
// to it; where no calls come no bucket follows, and no timer.
type timeWindow struct {
	width   time.Duration // of a bucket
	origin  time.Duration
	current atomic.Pointer[bucket]
	ring    [buckets]atomic.Pointer[bucket]
	lastBad atomic.Int64 // number of the last bucket with another outcome than success

	mu sync.Mutex // held to add a bucket
}

type bucket struct {
	number                    int64 // counts widths since the origin
	successes, failures, slow atomic.Int64
}

func newTimeWindow(length time.Duration) *timeWindow {
	w := &timeWindow{width: max(length/buckets, 1), origin: clock.Now()}
	w.lastBad.Store(-buckets)
	return w
}

func (w *timeWindow) succeed() bool {
	b := w.current.Load()
	if b == nil {
		b = w.at(clock.Now())
	}
	b.successes.Add(1)
	return b.number-w.lastBad.Load() >= buckets
}

// record raises lastBad after it has counted: a success that is counted
// meanwhile sees the one, or is itself seen by whoever judges this outcome.
func (w *timeWindow) record(now time.Duration, o outcome) {
	b := w.at(now)
	if o&slow != 0 {
		b.slow.Add(1)
	}
	if o&failure != 0 {
		b.failures.Add(1)
	} else {
		b.successes.Add(1)
	}
	for last := w.lastBad.Load(); last < b.number && !w.lastBad.CompareAndSwap(last, b.number); {
		last = w.lastBad.Load()
	}
}

// at returns the bucket for now, which it makes if there is none yet.
func (w *timeWindow) at(now time.Duration) *bucket {
	number := w.number(now)
	if b := w.current.Load(); b != nil && b.number >= number {
		return b
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.current.Load(); b != nil && b.number >= number {
		return b
	}
	// A call that ended before its bucket did may be counted after that: it
	// belongs to what the bucket has counted so far.
	slot := &w.ring[number%buckets]
	if b := slot.Load(); b != nil && b.number >= number {
		return b
	}
	b := &bucket{number: number}
	slot.Store(b)
	w.current.Store(b)
	ends := w.origin + time.Duration(number+1)*w.width
	time.AfterFunc(ends-clock.Now(), func() { w.current.CompareAndSwap(b, nil) })
	return b
}

// number returns the number of the bucket for now. A reading from before the
// window counts with the first.
func (w *timeWindow) number(now time.Duration) int64 {
	return max(int64((now-w.origin)/w.width), 0)
}

func (w *timeWindow) tally(now time.Duration) (t tally) {
	oldest := w.number(now) - buckets + 1
	for i := range w.ring {
		b := w.ring[i].Load()
		if b == nil || b.number < oldest {
			continue
		}
		f := b.failures.Load()
		t.failures += f
		t.calls += f + b.successes.Load()
		t.slow += b.slow.Load()
	}
	return t
}

// A countWindow is a ring of the last outcomes, with their sums.
type countWindow struct {
	ring           []atomic.Uint32 // outcome + 1, or 0 for none yet
	next           atomic.Uint64
	failures, slow atomic.Int64
	calls          atomic.Int64
}

func newCountWindow(n int) *countWindow { return &countWindow{ring: make([]atomic.Uint32, n)} }

func (w *countWindow) succeed() bool {
	w.record(0, success)
	return w.failures.Load() == 0 && w.slow.Load() == 0
}

func (w *countWindow) record(_ time.Duration, o outcome) {
	i := (w.next.Add(1) - 1) % uint64(len(w.ring))
	before := w.ring[i].Swap(uint32(o) + 1)
	if before == 0 {
		w.calls.Add(1)
		before = uint32(success) + 1
	}
	if old := outcome(before - 1); old != o {
		w.failures.Add(int64(o&failure) - int64(old&failure))
		w.slow.Add(int64(o&slow)/int64(slow) - int64(old&slow)/int64(slow))
	}
}

func (w *countWindow) tally(time.Duration) tally {
	return tally{w.calls.Load(), w.failures.Load(), w.slow.Load()}
}
