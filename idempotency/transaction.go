package idempotency

import (
	"context"
	"errors"
)

// A Transactor is a Store that can make the record a part of what the work
// changes, so that both are there or neither is.
type Transactor interface {
	Store

	// Begin returns a context for the work of c, in which the work finds its
	// transaction by the Store's own means, and that transaction. Nothing need
	// happen until the work asks for it.
	Begin(ctx context.Context, c Claim) (context.Context, Tx)
}

// ErrTransactionEnded is what the Complete of a Tx returns where the work has
// committed or rolled back the transaction itself, as by a deferred Rollback.
// Nobody can tell which, so the Guard answers ErrOutcomeUnknown, from the first
// request on: leave both to the Guard.
var ErrTransactionEnded = errors.New("idempotency: the work has committed or rolled back its transaction itself; leave that to the Guard")

// A Tx is the transaction of one owner's work. It is not safe for concurrent
// use.
type Tx interface {
	// Complete keeps the record and commits what the work has changed, both or
	// neither. It returns ErrLeaseLost if the record has another owner or is
	// complete, and ErrTransactionEnded if the work has left nothing to commit. After any
	// other error it may have done both: a Claim tells.
	Complete(ctx context.Context, record []byte) error

	// Rollback undoes what the work has changed. The record is as it was. After
	// Complete it does nothing.
	Rollback() error
}
