package idempotency

import (
	"context"
	"time"
)

// A Guard does the work of each key once, and repeats what it came to for those
// who ask again. Handler puts one before an http.Handler; Do is for everything
// else, such as the consumer of a queue. It is safe for concurrent use.
type Guard struct {
	cfg    GuardConfig
	store  Store
	tx     Transactor // nil if the store is none
	doubts doubts
}

// NewGuard returns a Guard. It panics if cfg is not valid.
func NewGuard(cfg GuardConfig) *Guard {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	cfg = cfg.defaults()
	if cfg.Store == nil {
		cfg.Store = NewMemory(MemoryConfig{})
	}
	g := &Guard{cfg: cfg, store: cfg.Store}
	g.tx, _ = cfg.Store.(Transactor)
	return g
}

// A Request is what somebody wants done once.
type Request struct {
	// Tenant is whose key it is. What one tenant does is hidden from the others.
	Tenant string

	// Key is the key, without quotes. Without one Do returns ErrMissing.
	Key string

	// Fingerprint tells the request from others with the same key. See
	// FingerprintOf.
	Fingerprint Fingerprint
}

// A Result is what a piece of work came to.
type Result struct {
	// Record is what those get who ask again. It may be empty.
	Record []byte

	Verdict Verdict

	// NotKept says that what the work came to cannot be repeated, for it was too
	// long or went out as a stream. Those who ask again get ErrNotKept.
	NotKept bool
}

// kept is what is stored of the result.
func (r Result) kept() []byte {
	if r.NotKept {
		return []byte(notKept)
	}
	return r.Record
}

// A Verdict says what is to become of the key, and of the transaction where the
// store is a Transactor.
type Verdict uint8

const (
	// Commit: the work is done. The record is kept, and the transaction commits.
	Commit Verdict = iota
	// Reject: the work was looked at and refused, and would be again. The record
	// is kept, and the transaction is rolled back.
	Reject
	// Release: nothing was done, and another attempt may succeed. The key is free
	// again, and the transaction is rolled back.
	Release
)

// Do does the work of req unless it has been done, and returns its record, and
// whether it is that of an earlier time.
//
// The context of work does not end with ctx: what was begun is brought to its
// end, and kept, although the caller has gone. It ends after Timeout, and with
// the cause ErrLeaseLost when the store could not be reached for so long that
// another may have taken over. With a Transactor it holds the transaction.
//
// Do returns an *Error that unwraps to ErrMissing, ErrInProgress, ErrMismatch,
// ErrOutcomeUnknown, ErrNotKept or ErrUnavailable if the work was not done, or
// not by this call. A record that could not be kept is no error where the work
// was done: OnEvent is told.
//
// A Do beneath the work of the same key is a part of it, and only calls its own
// work: a guard that stands twice in the way does no harm.
//
// If work panics, the panic goes on, and what was done counts as unknown: see
// OnLeaseExpiry. So does the panic of a Store or of OnEvent, after which the key
// waits for its lease to run out.
func (g *Guard) Do(ctx context.Context, req Request, work func(context.Context) Result) (record []byte, replayed bool, err error) {
	if req.Key == "" {
		return nil, false, g.refuse(ctx, ErrMissing, "the key is empty", 0)
	}
	c := g.claimFor(req)
	if owned, ok := ctx.Value(ownedKey{}).(*ID); ok && *owned == c.ID {
		return work(ctx).Record, false, nil // of this very request, in another place above
	}
	a, began, err := g.claim(ctx, &c)
	if err != nil {
		return g.unavailable(ctx, work, err)
	}
	switch a.State {
	case Claimed:
		return g.own(ctx, c, began, work)
	case Done:
		switch {
		case a.Record == nil || string(a.Record) == notKept:
			return nil, false, g.refuse(ctx, ErrNotKept, "the work was done, and its answer was not kept", 0)
		case string(a.Record) == outcomeUnknown:
			return nil, false, g.refuse(ctx, ErrOutcomeUnknown, lookFirst, 0)
		}
		g.tell(ctx, Replayed, nil)
		return a.Record, true, nil
	case InProgress:
		return nil, false, g.refuse(ctx, ErrInProgress, "try again with the same key", wait(a.LeaseLeft))
	case Mismatch:
		return nil, false, g.refuse(ctx, ErrMismatch, "the first request with this key asked for something else, which for HTTP is a matter of method, path, query, content type and body; use a new key for a new request", 0)
	default: // Abandoned
		return nil, false, g.refuse(ctx, ErrOutcomeUnknown, lookFirst, 0)
	}
}

// lookFirst is what a caller is told who cannot be told more.
const lookFirst = "find out whether it was done before it is sent with a new key"

// Records that no work has of itself.
const (
	// outcomeUnknown is that of work which must not be done again although
	// nobody knows what it came to.
	outcomeUnknown = "\x00backstay: outcome unknown"
	// notKept is that of work whose answer was too long, a stream, or cut short.
	notKept = "\x00backstay: answer not kept"
)

// retryAfter is what a caller is asked to wait for work in progress: the least
// that the header can say.
const retryAfter = time.Second

// wait is what a caller is asked to wait for an owner whose lease still runs
// for left, which a store may have rounded to nothing.
func wait(left time.Duration) time.Duration {
	if left <= 0 {
		return retryAfter
	}
	return min(left, retryAfter)
}

// ownedKey is under which the context of the work has the *ID of its claim.
type ownedKey struct{}

// unavailable is what comes of a claim that failed.
func (g *Guard) unavailable(ctx context.Context, work func(context.Context) Result, err error) ([]byte, bool, error) {
	g.tell(ctx, StoreFailed, err)
	if !g.cfg.FailOpen {
		return nil, false, g.refuse(ctx, ErrUnavailable, "try again with the same key", retryAfter)
	}
	g.tell(ctx, Unprotected, nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.cfg.Timeout)
	defer cancel()
	return work(ctx).Record, false, nil
}

// own does the work of a claim that was granted.
func (g *Guard) own(ctx context.Context, c Claim, began time.Time, work func(context.Context) Result) ([]byte, bool, error) {
	o := &owner{lease: lease{g: g, c: c, detached: context.WithoutCancel(ctx)}}
	working, cancel := context.WithTimeout(o.detached, g.cfg.Timeout)
	defer cancel()
	working = o.hold(context.WithValue(working, ownedKey{}, &o.c.ID), began)
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			o.abandon()
		}
	}()
	if g.tx != nil {
		working, o.tx = g.tx.Begin(working, c)
	}
	res := work(working)
	returned = true
	err := o.settle(res)
	if err == nil {
		return res.Record, false, nil
	}
	return nil, false, err
}

// refuse returns the error of a request that is not served, and tells of it.
func (g *Guard) refuse(ctx context.Context, is error, detail string, after time.Duration) error {
	e := newError(is, detail, after)
	g.tell(ctx, Refused, e)
	return e
}
