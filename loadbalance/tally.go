package loadbalance

import (
	"sync/atomic"
	"time"
)

// A tally counts the attempts at a node and the failures among them, of the
// last 5 to 10 seconds: the half of the rate window that goes on, and the one
// before. Halves begin at the same times for all nodes, so that those which are
// compared have forgotten alike, however many calls they get.
//
// A count that meets the turn of a half may be lost.
type tally struct {
	half  atomic.Int64 // the number of the half that goes on
	parts [2]count     // by the number of the half
}

type count struct{ attempts, failures atomic.Int64 }

// halfOf returns the number of the half that a reading of the clock is in.
func halfOf(at time.Duration) int64 { return int64(at / (rateWindow / 2)) }

// reset begins anew.
func (t *tally) reset(at time.Duration) {
	t.half.Store(halfOf(at))
	for i := range t.parts {
		t.parts[i].reset()
	}
}

// add counts an attempt that ended at the given time.
func (t *tally) add(at time.Duration, failed bool) {
	now := halfOf(at)
	if t.half.Load() < now {
		t.turn(now)
	}
	c := &t.parts[now&1]
	c.attempts.Add(1)
	if failed {
		c.failures.Add(1)
	}
}

// turn begins the half now.
func (t *tally) turn(now int64) {
	was := t.half.Load()
	if was >= now || !t.half.CompareAndSwap(was, now) {
		return // another call has done it
	}
	t.parts[now&1].reset()
	if now-was > 1 {
		t.parts[was&1].reset()
	}
}

// read returns the attempts and failures as of the given time. Those of a node
// that has had no calls since are none.
func (t *tally) read(at time.Duration) (attempts, failures int64) {
	half, now := t.half.Load(), halfOf(at)
	for i := max(half-1, now-1); i <= half; i++ {
		c := &t.parts[i&1]
		attempts += c.attempts.Load()
		failures += c.failures.Load()
	}
	return attempts, failures
}

func (c *count) reset() {
	c.attempts.Store(0)
	c.failures.Store(0)
}
