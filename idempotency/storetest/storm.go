package storetest

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/backstay-go/backstay/idempotency"
)

// storm has many do what owners do, well and badly, with a few keys at the same
// time, and compares what the Store says with what a key may go through: it has
// one owner at a time, to whom the Store never says no; one record at most, for
// good; and is never anybody's after that.
func storm(s *suite) {
	const workers, visits, contested = 16, 60, 4
	keys := make([]*key, 40+contested)
	for i := range keys {
		keys[i] = &key{suite: s, first: newOwner("worker")}
	}
	together(workers, func(int) {}, func(int) {
		for v := range visits {
			first := v * (len(keys) - contested) / visits
			keys[first+rand.N(contested)].visit()
		}
	})
	for _, k := range keys {
		if record := k.record(); record != "" {
			s.done(k.first, record)
		}
	}
}

// A key is what is known of one, by those who use it.
type key struct {
	*suite
	first owner

	owners atomic.Int32 // told that they are, and who have not given it up

	mu       sync.Mutex
	complete string // the record of the one that was told it is kept
}

func (k *key) record() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.complete
}

// visit is one request: it claims the key and, if it gets it, does something.
func (k *key) visit() {
	o := k.first.next("worker " + idempotency.NewFence().String()[:4])
	o.Takeover = rand.N(2) == 0
	before := k.record()
	a, err := k.store.Claim(k.ctx, o.Claim)
	fault := faultOf(a, o.Claim)
	switch {
	case err != nil || a.State == mismatch:
		fault = "claimed, in progress, done or abandoned"
	case before != "" && (a.State != isDone || string(a.Record) != before):
		fault = "done: " + quote([]byte(before))
	case a.State == claimed:
		k.work(o)
	}
	if fault != "" {
		k.Errorf("Claim(%v) = %v, want %s", o, show(a, err), fault)
	}
}

// work is what an owner does: it is alone, and its word counts until it ends.
func (k *key) work(o owner) {
	if n := k.owners.Add(1); n != 1 {
		k.Errorf("Claim(%v) = claimed, of what has %d owners; want in progress", o, n-1)
	}
	if rand.N(3) == 0 { // the answer was lost
		if a, err := k.store.Claim(k.ctx, o.Claim); err != nil || a.State != claimed {
			k.Errorf("Claim(%v) = %v, want claimed again", o, show(a, err))
		}
	}
	for range rand.N(3) {
		k.wantErr("Renew", o, k.store.Renew(k.ctx, o.Claim), nil)
	}
	if rand.N(6) == 0 {
		k.finish(o)
		return
	}
	k.owners.Add(-1) // it counts no more before it says so
	if rand.N(2) == 0 {
		k.wantErr("Release", o, k.store.Release(k.ctx, o.Claim), nil)
		k.late(o)
		return
	}
	k.wantErr("Renew", o, k.store.Renew(k.ctx, o.with(0).Claim), nil)
	if rand.N(4) == 0 {
		k.tooLate(o)
	}
}

// finish completes the work, perhaps twice.
func (k *key) finish(o owner) {
	record := "by " + o.Fence.String()
	k.wantErr("Complete", o, k.store.Complete(k.ctx, o.Claim, []byte(record)), nil)
	k.completed(o, record)
	if rand.N(2) == 0 {
		k.wantErr("Complete", o, k.store.Complete(k.ctx, o.Claim, []byte(record)), nil)
	}
}

// late is what one does that has released the key and does not know it.
func (k *key) late(o owner) {
	switch rand.N(3) {
	case 0:
		k.wantErr("Release", o, k.store.Release(k.ctx, o.Claim), lost)
	case 1:
		k.wantErr("Complete", o, k.store.Complete(k.ctx, o.Claim, []byte("a late record")), lost)
	}
}

// tooLate completes what was given up, which counts if nobody has taken over.
func (k *key) tooLate(o owner) {
	record := "late, by " + o.Fence.String()
	err := k.store.Complete(k.ctx, o.Claim, []byte(record))
	if err == nil {
		k.completed(o, record)
	} else if !errors.Is(err, lost) {
		k.Errorf("Complete(%v) = %v, want nil or %v", o, err, lost)
	}
}

// completed notes that the Store has taken the record.
func (k *key) completed(o owner, record string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.complete != "" {
		k.Errorf("Complete(%v) = nil, after it was nil for another; want %v", o, lost)
	}
	k.complete = record
}
