package breaker

import "time"

// Locked runs f with the breaker's lock held.
func (b *Breaker) Locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// Probes returns how many probes are under way.
func (b *Breaker) Probes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.now.Load().probes)
}

// MaxBreakers is the bound of a Group.
const MaxBreakers = maxBreakers

// A Window is a window with its internals to be had.
type Window struct{ window }

// NewTimeWindow and NewCountWindow return empty windows.
func NewTimeWindow(length time.Duration) Window { return Window{newTimeWindow(length)} }
func NewCountWindow(n int) Window               { return Window{newCountWindow(n)} }

// Succeed records a success and reports whether all is well.
func (w Window) Succeed() bool { return w.succeed() }

// Fail records a failure, slow or not, that ended at now.
func (w Window) Fail(now time.Duration, isSlow bool) {
	o := failure
	if isSlow {
		o |= slow
	}
	w.record(now, o)
}

// Tally returns the calls, failures and slow calls in the window.
func (w Window) Tally(now time.Duration) [3]int64 {
	t := w.tally(now)
	return [3]int64{t.calls, t.failures, t.slow}
}
