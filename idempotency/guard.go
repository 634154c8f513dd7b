package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// GuardConfig describes a Guard. The zero value is fit for production where one
// process serves all requests.
type GuardConfig struct {
	// Store is where keys are remembered. nil means a Memory of the guard's own,
	// which knows nothing of other processes and of what was before a restart.
	Store Store

	// Name sets the guard apart from others that have the same store: the same
	// key under another name is another key. Services that share a store have
	// names of their own.
	Name string

	// Lease is how long the work may not be heard of before its process is taken
	// for dead. It is renewed at each third of it. 0 means 30 seconds.
	Lease time.Duration

	// TTL is how long a key is remembered. Callers must have given up trying
	// again by then. 0 means 24 hours.
	TTL time.Duration

	// Timeout is how long the work may take before its context ends. Work that
	// does not heed that keeps its key to its end. 0 means one minute.
	Timeout time.Duration

	// StoreTimeout is how long a claim, and afterwards the keeping of a result,
	// may take with what it takes to repeat them, if the store heeds its context.
	// 0 means 5 seconds.
	StoreTimeout time.Duration

	// OnLeaseExpiry is what becomes of work that somebody began and was not
	// heard of again. The zero value means Fail, and Reexecute with a Transactor,
	// where work that was not finished has left nothing behind.
	OnLeaseExpiry OnLeaseExpiry

	// FailOpen does the work without protection when the store cannot be asked.
	// Otherwise the request fails with ErrUnavailable.
	FailOpen bool

	// OnEvent is told what became of each request, for logs and counts. It is
	// called in the request's goroutine, or in that of a timer, where a panic
	// ends the process, and must be safe for concurrent use. nil means nobody.
	OnEvent func(context.Context, Event)
}

// OnLeaseExpiry says what becomes of work whose owner was not heard of again.
type OnLeaseExpiry uint8

const (
	// Fail answers ErrOutcomeUnknown until the TTL has passed. The work is never
	// done twice, as long as all that share the store and the Name say so: end
	// the old processes before new ones begin that say Reexecute.
	Fail OnLeaseExpiry = iota + 1
	// Reexecute does the work again. It is for work that is harmless to do twice,
	// or that leaves nothing behind unless it is complete.
	Reexecute
)

// Validate reports what is wrong with the config.
func (c GuardConfig) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Lease", c.Lease}, {"TTL", c.TTL}, {"Timeout", c.Timeout}, {"StoreTimeout", c.StoreTimeout}} {
		if d.value < 0 {
			return fmt.Errorf("idempotency: %s is %v; give a duration, or 0 for the default", d.name, d.value)
		}
	}
	switch d := c.defaults(); {
	case d.Lease < minLease:
		return fmt.Errorf("idempotency: Lease is %v, too short to be renewed over a network; give at least %v", d.Lease, minLease)
	case d.StoreTimeout < minLease:
		return fmt.Errorf("idempotency: StoreTimeout is %v, too short for a round trip; give at least %v", d.StoreTimeout, minLease)
	case d.TTL < d.Lease:
		return fmt.Errorf("idempotency: a TTL of %v would forget a key whose work is still being done; give at least the Lease of %v", d.TTL, d.Lease)
	case d.OnLeaseExpiry > Reexecute:
		return fmt.Errorf("idempotency: OnLeaseExpiry is %d; give Fail or Reexecute", d.OnLeaseExpiry)
	case d.FailOpen && isTransactor(d.Store):
		return errors.New("idempotency: FailOpen with a Transactor would do the work without its transaction; leave it out")
	}
	return nil
}

// minLease leaves a renewal, which has a third of it, time for a round trip.
const minLease = 50 * time.Millisecond

func (c GuardConfig) defaults() GuardConfig {
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	or(&c.Lease, 30*time.Second)
	or(&c.TTL, 24*time.Hour)
	or(&c.Timeout, time.Minute)
	or(&c.StoreTimeout, 5*time.Second)
	if c.OnLeaseExpiry == 0 {
		c.OnLeaseExpiry = Fail
		if isTransactor(c.Store) {
			c.OnLeaseExpiry = Reexecute
		}
	}
	return c
}

func isTransactor(s Store) bool {
	_, ok := s.(Transactor)
	return ok
}

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
// If work panics, the panic goes on, and what was done counts as unknown: see
// OnLeaseExpiry. So does the panic of a Store or of OnEvent, after which the key
// waits for its lease to run out.
func (g *Guard) Do(ctx context.Context, req Request, work func(context.Context) Result) (record []byte, replayed bool, err error) {
	if req.Key == "" {
		return nil, false, g.refuse(ctx, ErrMissing, "the key is empty", 0)
	}
	c := g.claimFor(req)
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
		return nil, false, g.refuse(ctx, ErrMismatch, "method, path, query, content type or body differ from those of the first request with this key; use a new key for a new request", 0)
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

func (g *Guard) claimFor(req Request) Claim {
	return Claim{
		ID:          idOf(g.cfg.Name, req.Tenant, req.Key),
		Fingerprint: req.Fingerprint,
		Lease:       g.cfg.Lease,
		TTL:         g.cfg.TTL,
		Takeover:    g.cfg.OnLeaseExpiry == Reexecute,
	}
}

// claim asks the store for the work of c, and sets its fence: that of a claim in
// doubt, if there is one. If it is granted, the lease began after began. A
// caller that goes away meanwhile does not stop it, or nobody would know whether
// it was granted.
func (g *Guard) claim(ctx context.Context, c *Claim) (a Answer, began time.Time, err error) {
	ctx = context.WithoutCancel(ctx)
	end := time.Now().Add(g.cfg.StoreTimeout)
	fence, doubted := g.doubts.take(c.ID)
	if !doubted {
		fence = NewFence()
	}
	for {
		c.Fence = fence
		a, began, err = g.ask(ctx, end, *c)
		if g.mayOwn(a, err, doubted) {
			g.doubts.add(*c)
		}
		if err != nil || a.State != InProgress && a.State != Abandoned {
			return a, began, err
		}
		if fence, doubted = g.doubts.take(c.ID); !doubted {
			return a, began, nil
		}
	}
}

// mayOwn reports whether a claim may have been granted that nobody will work
// under now. With FailOpen somebody will, unprotected: to have it done again at
// once is worse than to have the next caller told that the outcome is unknown.
func (g *Guard) mayOwn(a Answer, err error, doubted bool) bool {
	if err != nil {
		return !g.cfg.FailOpen
	}
	return doubted && a.State == Mismatch // with the request that was in doubt
}

// ask claims, once more if that fails: with the same fence, so that a claim
// whose answer was lost is not taken for another's.
func (g *Guard) ask(ctx context.Context, end time.Time, c Claim) (a Answer, began time.Time, err error) {
	for range 2 {
		began = time.Now()
		each, cancel := g.attempt(ctx, end)
		a, err = g.store.Claim(each, c)
		cancel()
		switch {
		case err != nil:
		case a.State == none || a.State > Abandoned:
			err = fmt.Errorf("idempotency: the store answered a claim with state %d", a.State)
		case a.State == Claimed && time.Since(began) >= c.Lease:
			err = errors.New("idempotency: the store granted a claim too late: its lease may have run out")
		default:
			return a, began, nil
		}
	}
	return Answer{}, began, err
}

// attempt returns a context for one operation of the store, which leaves time for
// another before end.
func (g *Guard) attempt(ctx context.Context, end time.Time) (context.Context, context.CancelFunc) {
	if soon := time.Now().Add(g.cfg.StoreTimeout / 2); soon.Before(end) {
		end = soon
	}
	return context.WithDeadline(ctx, end)
}

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
	working = o.hold(working, began)
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

// An Event is something that a Guard did about a request. It never has a key.
type Event struct {
	// Guard is the guard's Name.
	Guard string

	Kind EventKind

	// Err is why, of the kinds Refused, Unrecorded, LeaseLost and StoreFailed.
	// That of a refusal is an *Error, whose Detail says more than its text, or
	// what reading the body has met.
	Err error
}

// An EventKind is what happened. Of each request that a Guard is asked about,
// exactly one of Executed, Replayed, Refused, Unprotected and Panicked is told.
type EventKind string

const (
	// Executed: the work was begun now and has come to its end, whatever its
	// verdict.
	Executed EventKind = "executed"
	// Replayed: the record of an earlier time was given.
	Replayed EventKind = "replayed"
	// Refused: the request was answered with an *Error.
	Refused EventKind = "refused"
	// Unprotected: the store could not be asked, and the work was done all the
	// same, because of FailOpen.
	Unprotected EventKind = "unprotected"
	// Panicked: the work was begun, and panicked.
	Panicked EventKind = "panicked"

	// Unrecorded: what the work came to could not be kept, or its key not be
	// freed. Those who ask again get ErrOutcomeUnknown when the lease has run
	// out, or with Reexecute have it done again.
	Unrecorded EventKind = "unrecorded"
	// LeaseLost: the context of the work was ended, because another may have
	// taken over.
	LeaseLost EventKind = "lease_lost"
	// StoreFailed: an operation of the store failed.
	StoreFailed EventKind = "store_failed"
)

func (g *Guard) tell(ctx context.Context, kind EventKind, err error) {
	if g.cfg.OnEvent != nil {
		g.cfg.OnEvent(ctx, Event{Guard: g.cfg.Name, Kind: kind, Err: err})
	}
}
