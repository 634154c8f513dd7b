package storetest

import "github.com/backstay-go/backstay/idempotency"

const (
	claimed    = idempotency.Claimed
	inProgress = idempotency.InProgress
	isDone     = idempotency.Done
	mismatch   = idempotency.Mismatch
	abandoned  = idempotency.Abandoned
)

var lost = idempotency.ErrLeaseLost

func claimIsWonOnce(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.claim(first.next("second"), inProgress)
	s.claim(first.next("third").takingOver(), inProgress)
	s.complete(first, "the record", nil)
	s.done(first.next("fourth"), "the record")
	s.done(first.next("fifth").takingOver(), "the record")
}

// claimCanBeRepeated: an owner whose answer was lost asks again.
func claimCanBeRepeated(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.claim(first, claimed)
	s.claim(first.next("second"), inProgress)
	s.complete(first, "the record", nil)
	s.done(first, "the record")

	first = newOwner("first")
	s.claim(first.with(s.lease), claimed)
	s.claim(first, claimed)
	s.wait(s.lease)
	s.claim(first.next("second").takingOver(), inProgress)

	first = newOwner("first")
	s.claim(first, claimed)
	s.renew(first.with(0), nil)
	s.claim(first, claimed) // nobody has taken over
	s.claim(first.next("second").takingOver(), inProgress)
}

func releasedKeyIsFree(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.release(first, nil)
	s.lost(first) // and does not bring the record back
	second := first.next("second").changed()
	s.claim(second, claimed)
	s.lost(first)
	s.claim(second.next("third").takingOver(), inProgress)
	s.complete(second, "the second's", nil)
	s.lost(first)
	s.done(second.next("third"), "the second's")

	again := newOwner("first")
	s.claim(again, claimed)
	s.release(again, nil)
	s.claim(again, claimed)
}

func unclaimedKeyIsNobodys(s *suite) {
	first := newOwner("first")
	s.lost(first)
	s.claim(first.next("second"), claimed)
}

// fenceIsCompared: fences that have a byte in common with another's do not own
// what that one does.
func fenceIsCompared(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	for i := range first.Fence {
		other := first
		other.name = "another fence"
		other.Fence[i] ^= 1
		s.lost(other)
		s.claim(other, inProgress)
	}
	zero := first
	zero.name, zero.Fence = "a zero fence", idempotency.Fence{}
	s.lost(zero)
	s.renew(first, nil)
	s.complete(first, "the record", nil)
}

func fingerprintIsCompared(s *suite) {
	refused := func(o owner) {
		s.Helper()
		s.claim(o.changed(), mismatch)
		s.claim(o.next("another").changed(), mismatch)
		s.claim(o.next("another").changed().takingOver(), mismatch)
	}
	first := newOwner("first")
	s.claim(first, claimed)
	refused(first)
	s.renew(first.with(0), nil)
	refused(first)
	s.claim(first.next("second"), abandoned)
	third := first.next("third").takingOver()
	s.claim(third, claimed)
	refused(third)
	s.complete(third, "the record", nil)
	refused(third)
	s.done(first.next("fourth"), "the record")

	for i := range first.Fingerprint {
		other := first.next("another fingerprint")
		other.Fingerprint[i] ^= 0x80
		s.claim(other, mismatch)
	}
}

// idsAreApart: what one tenant does, no other sees. IDs are hashes of whose key
// it is, so two tenants have different ones; they may have any byte anywhere.
func idsAreApart(s *suite) {
	owners := []owner{newOwner("first")}
	for i := range owners[0].ID {
		o := owners[0].next("another ID")
		o.ID[i] ^= byte(1 + i)
		owners = append(owners, o)
	}
	for _, special := range []byte{0, '\n', '"', '\'', '%', '*', ':', '\\', '{', '}', 0x80, 0xff} {
		for range 2 {
			o := newOwner("special ID")
			for i := range len(o.ID) / 2 { // the other half keeps it apart from others
				o.ID[2*i] = special
			}
			owners = append(owners, o)
		}
	}
	for _, o := range owners {
		s.claim(o, claimed)
	}
	for _, o := range owners {
		s.complete(o, o.ID.String(), nil)
	}
	for _, o := range owners {
		s.done(o.next("reader"), o.ID.String())
	}
}
