package idempotency

import (
	"sync"
	"time"
)

// doubts are claims that may have reached the store although nobody knows: the
// answer was lost. Whoever asks for the same work next in this process claims
// it with the same fence, and so gets it at once where it would otherwise have
// to wait for the lease of nobody, and then be told that the outcome is
// unknown. The zero value is ready to use.
type doubts struct {
	mu sync.Mutex
	of map[ID]doubt
}

type doubt struct {
	fence Fence
	until time.Time // when the lease has run out, if there is one
}

// maxDoubts bounds what a store that is down costs. A doubt beyond it is
// forgotten, which costs its request the wait.
const maxDoubts = 10_000

// take returns the fence of the last claim that is in doubt, or a new one. Two
// who ask at the same time never get the same.
func (d *doubts) take(id ID) Fence {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.of[id]; ok {
		delete(d.of, id)
		return old.fence
	}
	return NewFence()
}

func (d *doubts) add(id ID, f Fence, lease time.Duration) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.of) >= maxDoubts {
		d.sweep(now)
	}
	if d.of == nil {
		d.of = map[ID]doubt{}
	}
	d.of[id] = doubt{f, now.Add(lease)}
}

// sweep makes room: it drops what is over, or else everything.
func (d *doubts) sweep(now time.Time) {
	for id, old := range d.of {
		if !now.Before(old.until) {
			delete(d.of, id)
		}
	}
	if len(d.of) >= maxDoubts {
		clear(d.of)
	}
}
