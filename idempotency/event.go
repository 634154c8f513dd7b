package idempotency

import "context"

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
