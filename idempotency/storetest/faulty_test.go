package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// A faulty is a Store with a flaw. With none, it is as a Store should be. Its
// answers take a while, in which they can be lost.
type faulty struct {
	flaw string

	mu      sync.Mutex
	down    bool
	broken  bool
	records map[string]*record
	effects []string // of committed work
}

type record struct {
	idempotency.Claim
	leaseEnd, end time.Time
	done          bool
	kept          []byte
}

const takes = 500 * time.Microsecond

var errDown = errors.New("connection refused")

func (f *faulty) has(flaw string) bool { return f.flaw == flaw }

// restart forgets what the flaw has it forget, and refuses calls for a while.
func (f *faulty) restart() {
	f.mu.Lock()
	f.down = true
	maps.DeleteFunc(f.records, func(_ string, r *record) bool {
		return f.has("forgets all at a restart") || f.has("forgets claims at a restart") && !r.done
	})
	f.mu.Unlock()
	<-time.After(100 * time.Millisecond)
	f.mu.Lock()
	f.down = false
	f.mu.Unlock()
}

// do calls what with the lock held, and then its answer is on the way.
func (f *faulty) do(ctx context.Context, what func() error) error {
	if err := ctx.Err(); err != nil && !f.has("ignores the context") {
		f.mu.Lock()
		f.broken = f.broken || f.has("breaks when a call is canceled")
		f.mu.Unlock()
		return err
	}
	f.mu.Lock()
	if f.down || f.broken {
		f.mu.Unlock()
		return errDown
	}
	err := what()
	f.mu.Unlock()
	select {
	case <-time.After(takes):
		return err
	case <-ctx.Done():
		if f.has("ignores the context") {
			return err
		}
		return ctx.Err()
	}
}

func (f *faulty) key(c idempotency.Claim) string {
	switch {
	case f.has("looks at half of the ID"):
		return string(c.ID[:16])
	case f.has("ends the ID at a NUL"):
		id, _, _ := strings.Cut(string(c.ID[:]), "\x00")
		return id
	}
	return string(c.ID[:])
}

// find returns the record of c that lives.
func (f *faulty) find(c idempotency.Claim) *record {
	r := f.records[f.key(c)]
	switch {
	case r == nil || f.has("never forgets"):
		return r
	case r.done && f.has("forgets what is done when the lease ends"):
		if !time.Now().Before(r.leaseEnd) {
			return nil
		}
	case r.done && f.has("never forgets what is done"), !r.done && f.has("never forgets what is pending"):
		return r
	}
	if !time.Now().Before(r.end) {
		return nil
	}
	return r
}

func (f *faulty) Claim(ctx context.Context, c idempotency.Claim) (a idempotency.Answer, err error) {
	err = f.do(ctx, func() error {
		r := f.find(c)
		a = f.judge(r, c)
		if a.State == claimed && f.readsFirst(r, c) {
			f.mu.Unlock()
			<-time.After(takes)
			f.mu.Lock()
		}
		if a.State == claimed {
			f.take(r, c)
		}
		return nil
	})
	if err != nil {
		return idempotency.Answer{}, err
	}
	return a, nil
}

// readsFirst reports whether the claim is not one operation.
func (f *faulty) readsFirst(r *record, c idempotency.Claim) bool {
	switch f.flaw {
	case "reads, then writes":
		return true
	case "reads, then takes over":
		return r != nil && r.Fence != c.Fence
	case "reads, then replaces what is past its TTL":
		return r == nil && f.records[f.key(c)] != nil
	}
	return false
}

func (f *faulty) take(r *record, c idempotency.Claim) {
	now := time.Now()
	if r != nil && r.Fence == c.Fence && f.has("keeps the lease of a claim that is repeated") {
		return
	}
	f.records[f.key(c)] = &record{Claim: c, leaseEnd: now.Add(c.Lease), end: now.Add(c.TTL)}
}

// judge answers the claim.
func (f *faulty) judge(r *record, c idempotency.Claim) idempotency.Answer {
	if r == nil {
		return idempotency.Answer{State: claimed}
	}
	left := time.Until(r.leaseEnd)
	switch {
	case f.has("gives the work to all"):
		return idempotency.Answer{State: claimed}
	case r.Fingerprint != c.Fingerprint && !f.overlooks(r, c):
		if f.has("tells the record of another request") {
			return idempotency.Answer{State: mismatch, Record: bytes.Clone(r.kept)}
		}
		return idempotency.Answer{State: mismatch}
	case r.done && f.has("gives its own slice"):
		return idempotency.Answer{State: isDone, Record: r.kept}
	case r.done:
		return idempotency.Answer{State: isDone, Record: bytes.Clone(r.kept)}
	case r.Fence == c.Fence && !f.has("does not know its owner"):
		return idempotency.Answer{State: claimed}
	case left > 0 && c.Takeover && f.has("takes over too early"):
		return idempotency.Answer{State: claimed}
	case left > 0 && f.has("tells no time"):
		return idempotency.Answer{State: inProgress}
	case left > 0 && f.has("tells the TTL"):
		return idempotency.Answer{State: inProgress, LeaseLeft: time.Until(r.end)}
	case left > 0:
		return idempotency.Answer{State: inProgress, LeaseLeft: left}
	case c.Takeover && !f.has("never gives the work again") || f.has("takes over unasked"):
		return idempotency.Answer{State: claimed}
	}
	return idempotency.Answer{State: abandoned}
}

// overlooks reports whether the wrong fingerprint is not noticed.
func (f *faulty) overlooks(r *record, c idempotency.Claim) bool {
	switch f.flaw {
	case "has no fingerprints":
		return true
	case "compares fingerprints of what is done":
		return !r.done
	case "takes over another request's":
		return !r.done && c.Takeover && time.Until(r.leaseEnd) <= 0
	case "compares half of the fingerprint":
		return bytes.Equal(r.Fingerprint[:16], c.Fingerprint[:16])
	}
	return false
}

// own calls what with the record that c owns.
func (f *faulty) own(ctx context.Context, method string, c idempotency.Claim, what func(r *record) error) error {
	return f.do(ctx, func() error {
		r := f.find(c)
		switch {
		case r == nil:
			return lost
		case f.has(method + " compares no fence"):
		case f.has("compares a byte of the fence") && r.Fence[0] == c.Fence[0]:
		case r.Fence != c.Fence:
			return lost
		case f.has("takes those who are late for dead") && !time.Now().Before(r.leaseEnd):
			return lost
		}
		return what(r)
	})
}

func (f *faulty) Renew(ctx context.Context, c idempotency.Claim) error {
	return f.own(ctx, "Renew", c, func(r *record) error {
		if r.done && !f.has("reopens what is done") || f.has("does not renew") {
			return nil
		}
		r.done = false
		if c.Lease > 0 || !f.has("lets nobody give up") {
			r.leaseEnd = time.Now().Add(c.Lease)
		}
		if !f.has("renews no TTL") {
			r.end = time.Now().Add(c.TTL)
		}
		return nil
	})
}

func (f *faulty) Complete(ctx context.Context, c idempotency.Claim, kept []byte) error {
	err := f.own(ctx, "Complete", c, func(r *record) error {
		if r.done {
			if f.has("completes once") {
				return lost
			}
			return nil
		}
		r.done, r.kept = true, f.keep(kept)
		if !f.has("begins no TTL when it is done") {
			r.end = time.Now().Add(c.TTL)
		}
		return nil
	})
	if f.has("completes what nobody has claimed") && errors.Is(err, lost) {
		return f.do(ctx, func() error {
			if f.find(c) != nil {
				return lost
			}
			f.take(nil, c)
			f.records[f.key(c)].done = true
			return nil
		})
	}
	return err
}

// keep returns the copy that is kept of a record.
func (f *faulty) keep(record []byte) []byte {
	switch {
	case f.has("keeps the caller's slice"):
		return record
	case f.has("keeps an empty record as none"):
		return bytes.Clone(append([]byte(nil), record...))
	case f.has("ends a record at a NUL"):
		before, _, _ := bytes.Cut(record, []byte{0})
		return append([]byte{}, before...)
	case f.has("keeps text"):
		return []byte(strings.ToValidUTF8(string(record), "?"))
	case f.has("keeps 1 MiB"):
		record = record[:min(len(record), 1<<20)]
	}
	return append([]byte{}, record...)
}

func (f *faulty) Release(ctx context.Context, c idempotency.Claim) error {
	return f.own(ctx, "Release", c, func(r *record) error {
		switch {
		case f.has("releases nothing"):
			return nil
		case r.done && !f.has("releases what is done"):
			return lost
		case f.has("releases to those who take over"):
			r.leaseEnd = time.Now()
			return nil
		}
		delete(f.records, f.key(c))
		return nil
	})
}
