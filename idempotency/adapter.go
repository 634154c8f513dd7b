package idempotency

import (
	"context"
	"fmt"
)

// Refuse returns the *Error of a request that does not come as far as Do, and
// tells OnEvent of it. It is for those who bring a Guard to another protocol, as
// package grpccall does: is is what they have against the request, ErrMissing,
// ErrTooLarge or ErrNoTenant, and detail is how to mend it, without the key.
//
// It panics if is says nothing about keys.
func (g *Guard) Refuse(ctx context.Context, is error, detail string) error {
	if kindOf(func(k kind) bool { return k.is == is }) == nil {
		panic(fmt.Sprintf("idempotency: %q is no reason to refuse a request; give an error such as ErrMissing", is))
	}
	return g.refuse(ctx, is, detail, 0)
}

// Unreadable returns the *Error of a request whose record, which Do has
// returned, cannot be read, and tells OnEvent that the store has failed. The
// work was done, so the error unwraps to ErrNotKept. The text of err must not
// hold the record.
func (g *Guard) Unreadable(ctx context.Context, err error) error {
	g.tell(ctx, StoreFailed, err)
	return newError(ErrNotKept, "the work was done, and its answer cannot be read", 0)
}

// Undoes reports whether work that is not recorded leaves nothing behind and may
// be done again: the store is a Transactor, and OnLeaseExpiry says Reexecute.
func (g *Guard) Undoes() bool { return g.tx != nil && g.cfg.OnLeaseExpiry == Reexecute }
