package idempotency

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"time"
)

// A Store remembers which keys were used, for what, and what came of it. It is
// where processes that serve the same callers agree on who does the work of a
// key: Memory is for one process, and the modules redisstore and pgstore are
// for several.
//
// Each method is one atomic operation, decided by the store's own clock: a read
// and then a write would let two callers win. A Store is safe for concurrent
// use. The package storetest holds the tests that every Store has to pass.
//
// All methods may be repeated with the same Claim, since an answer can be lost
// on the way to the store as on any other. A Release that is repeated may say
// ErrLeaseLost.
type Store interface {
	// Claim asks for the work of c.ID. Of all that ask, one is told Claimed:
	// where there is no record of the ID, or one that has outlived its TTL, or,
	// if c.Takeover, one whose owner has let its lease run out. The record is
	// then c's: it has c.Fingerprint and c.Fence, and a new lease and TTL. A
	// claim with the fence of the record's owner is told Claimed again, and
	// begins a new lease.
	//
	// A record with another fingerprint is a Mismatch, whatever its state.
	Claim(ctx context.Context, c Claim) (Answer, error)

	// Renew begins a new lease and TTL. A lease of 0 gives the record up: it is
	// as if the lease had run out.
	//
	// Renew, Complete and Release change nothing and return ErrLeaseLost if the
	// record is gone or has another fence. The fence alone decides: an owner
	// whose lease has run out is still the owner until another has taken over.
	Renew(ctx context.Context, c Claim) error

	// Complete keeps the result of the work for c.TTL from now. A record may be
	// empty, and a nil one is.
	Complete(ctx context.Context, c Claim, record []byte) error

	// Release removes the record, so that the next claim gets the work. One that
	// is complete stays, with ErrLeaseLost.
	Release(ctx context.Context, c Claim) error
}

// A Claim is one owner's claim to the work of a key. It is a value: to claim
// anew, make one with a Fence of its own.
type Claim struct {
	// ID is whose key it is, and which.
	ID ID

	// Fingerprint tells the request from others.
	Fingerprint Fingerprint

	// Fence tells the owner from all others, of this ID and before and after it.
	Fence Fence

	// Lease is how long the owner may be silent before it is taken for dead.
	Lease time.Duration

	// TTL is how long the record is kept. It is at least as long as Lease.
	TTL time.Duration

	// Takeover asks for the work also if an earlier owner may have done a part
	// of it: the lease has run out, and nothing is known of the outcome.
	Takeover bool
}

// An Answer is what a Store says to a Claim.
type Answer struct {
	State State

	// Record is what Complete was given, of a State Done: empty but not nil if
	// that was empty, and nil if the Store has not kept it.
	Record []byte

	// LeaseLeft is how long the owner's lease still runs, of a State InProgress.
	// Nobody is asked to come back later than that.
	LeaseLeft time.Duration
}

// A State is how it stands with a key, for one who claims it. The zero State is
// none.
type State uint8

const (
	none State = iota
	// Claimed: the work is the claimer's.
	Claimed
	// InProgress: another has claimed it, and its lease runs.
	InProgress
	// Done: it is complete, and here is the record.
	Done
	// Mismatch: the key was used before, with another request.
	Mismatch
	// Abandoned: another has claimed it and has let its lease run out. The claim
	// does not ask to take over, so it stays unknown what was done.
	Abandoned
)

var stateNames = [...]string{"none", "claimed", "in progress", "done", "mismatch", "abandoned"}

// String returns the name of s in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// ErrLeaseLost is what Renew, Complete and Release return to one who is not, or
// no longer, the owner of the record.
var ErrLeaseLost = errors.New("idempotency: lease lost")

// An ID is where a Store has the record of a key: a hash of whose it is and of
// the key itself, which no Store needs to know.
type ID [32]byte

// String returns the ID in hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// A Fingerprint is a hash of a request: what must be the same in all requests
// with the same key.
type Fingerprint [32]byte

// String returns the fingerprint in hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// A Fence tells one owner of a record from all others.
type Fence [16]byte

// String returns the fence in hexadecimal digits.
func (f Fence) String() string { return hex.EncodeToString(f[:]) }

// NewFence returns a Fence that nobody has had before, of random bits.
func NewFence() Fence {
	var f Fence
	_, _ = rand.Read(f[:]) // never fails
	return f
}
