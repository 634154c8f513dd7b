package idempotency

import "time"

// An entry is what a Memory knows of a key. Times are since the Memory was made.
type entry struct {
	id          ID
	fingerprint Fingerprint
	fence       Fence
	leaseEnd    time.Duration
	end         time.Duration // of the TTL
	done        bool
	record      []byte // if it is done and the record is kept
	index       int    // in the heap
	prev, next  *entry // in bodies
}

// entryCost is how many bytes an entry takes without its record, with its places
// in the map and the heap, when these have just grown.
const entryCost = 280

// An entryHeap has first what ends first. It implements heap.Interface.
type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].end < h[j].end }

func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *entryHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *entryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil // or it would not be collected
	*h = (*h)[:last]
	return e
}

// bodies is a list of the entries with a record, in the order of completion.
type bodies struct{ first, last *entry }

func (b *bodies) push(e *entry) {
	e.prev, e.next = b.last, nil
	if b.last == nil {
		b.first = e
	} else {
		b.last.next = e
	}
	b.last = e
}

func (b *bodies) remove(e *entry) {
	if e.prev == nil {
		b.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		b.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}
