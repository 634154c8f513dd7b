package storetest

import (
	"crypto/rand"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// An owner is a Claim, and what failures call it. The methods return changed
// copies.
type owner struct {
	idempotency.Claim
	name string
}

// newOwner returns the Claim of a key that nobody has, with times that do not
// end while a test runs.
func newOwner(name string) owner {
	o := owner{name: name, Claim: idempotency.Claim{Fence: idempotency.NewFence(), Lease: time.Minute, TTL: time.Hour}}
	_, _ = rand.Read(o.ID[:]) // never fails
	_, _ = rand.Read(o.Fingerprint[:])
	return o
}

// next returns one who wants the work of the same key.
func (o owner) next(name string) owner {
	o.name, o.Fence = name, idempotency.NewFence()
	return o
}

// with returns o with another lease.
func (o owner) with(lease time.Duration) owner {
	o.Lease = lease
	return o
}

// keeping returns o with another TTL, and a lease that is no longer.
func (o owner) keeping(ttl time.Duration) owner {
	o.TTL, o.Lease = ttl, min(o.Lease, ttl)
	return o
}

// takingOver returns o as it asks to take over.
func (o owner) takingOver() owner {
	o.Takeover = true
	return o
}

// changed returns o with another fingerprint.
func (o owner) changed() owner {
	o.Fingerprint[len(o.Fingerprint)-1] ^= 1
	o.name += ", another fingerprint"
	return o
}

// String names the owner, and what is special about its Claim.
func (o owner) String() string {
	s := o.name
	if o.Takeover {
		s += ", Takeover"
	}
	if o.Lease < time.Minute {
		s += ", Lease " + o.Lease.String()
	}
	if o.TTL < time.Hour {
		s += ", TTL " + o.TTL.String()
	}
	return s
}
