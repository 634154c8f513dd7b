package idempotency

import (
	"container/list"
	"sync"
	"time"
)

// doubts are claims that may have reached the store although nobody knows: the
// answer was lost, and the work was not begun. Whoever asks for the same work
// next in this process claims it with the same fence, and so gets it at once
// where it would otherwise have to wait for the lease of nobody, and then be
// told that the outcome is unknown. The zero value is ready to use.
type doubts struct {
	mu  sync.Mutex
	all list.List // of doubt, the oldest first
	of  map[ID][]*list.Element
}

type doubt struct {
	id    ID
	fence Fence
	until time.Time // when the record has gone, if there is one
}

const (
	// maxDoubts bounds what a store that is down costs, to some megabytes. The
	// oldest doubts are forgotten for new ones, which costs their requests the
	// wait.
	maxDoubts = 10_000

	// maxDoubtsOfOne bounds how often one request claims. There is one doubt for
	// each that asked for the same work while others did: an impatient caller
	// that tries again while its first attempt still waits for the store.
	maxDoubtsOfOne = 8
)

// take returns the fence of the oldest claim to id that is in doubt, and reports
// whether there is one. Two who ask at the same time never get the same.
func (d *doubts) take(id ID) (Fence, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	own := d.of[id]
	if len(own) == 0 {
		return Fence{}, false
	}
	f := own[0].Value.(doubt).fence
	d.forget(own[0])
	return f, true
}

// add remembers a claim that nobody will work under until take returns it.
func (d *doubts) add(c Claim) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep()
	if len(d.of[c.ID]) == maxDoubtsOfOne {
		return // the older ones are more likely to have come through
	}
	if d.all.Len() == maxDoubts {
		d.forget(d.all.Front())
	}
	if d.of == nil {
		d.of = map[ID][]*list.Element{}
	}
	d.of[c.ID] = append(d.of[c.ID], d.all.PushBack(doubt{c.ID, c.Fence, time.Now().Add(c.TTL)}))
}

// sweep drops what is over. All have the same TTL, so that comes first.
func (d *doubts) sweep() {
	for e := d.all.Front(); e != nil && !time.Now().Before(e.Value.(doubt).until); e = d.all.Front() {
		d.forget(e)
	}
}

// forget drops e, which is the oldest of its ID.
func (d *doubts) forget(e *list.Element) {
	id := d.all.Remove(e).(doubt).id
	if own := d.of[id][1:]; len(own) > 0 {
		d.of[id] = own
		return
	}
	delete(d.of, id)
}
