package storetest

import "time"

func leaseKeepsOthersOut(s *suite) {
	start := time.Now()
	first := newOwner("first").with(s.lease)
	s.claim(first, claimed)
	s.until(first.next("second"), start, s.lease, inProgress, abandoned)
	s.claim(first.next("third"), abandoned)
}

func leaseIsTakenOver(s *suite) {
	start := time.Now()
	first := newOwner("first").with(s.lease)
	s.claim(first, claimed)
	second := first.next("second").with(s.lease).takingOver()
	s.until(second, start, s.lease, inProgress, claimed)

	third := newOwner("third")
	s.claim(third, claimed)
	s.renew(third.with(0), nil)
	fourth := third.next("fourth").takingOver()
	s.claim(fourth, claimed)
	s.claim(fourth, claimed)
	s.claim(fourth.next("fifth").takingOver(), inProgress)
	s.complete(fourth, "the fourth's", nil)
	s.done(third, "the fourth's")
}

func renewedLeaseHolds(s *suite) {
	first := newOwner("first")
	s.claim(first.with(s.lease), claimed)
	s.renew(first, nil)
	s.wait(s.lease)
	if a := s.claim(first.next("second").takingOver(), inProgress); a.LeaseLeft <= s.lease {
		s.Errorf("Claim(second) = %v, want more of the renewed lease of %v left", show(a, nil), first.Lease)
	}

	start := time.Now() // and a shorter one ends earlier
	s.renew(first.with(s.lease), nil)
	s.until(first.next("third"), start, s.lease, inProgress, abandoned)
}

func ownerCanGiveUp(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.renew(first.with(0), nil)
	s.claim(first.next("second"), abandoned)
	s.renew(first, nil)
	s.claim(first.next("third"), inProgress)
	s.renew(first.with(0), nil)
	s.complete(first, "the record", nil)
	s.done(first.next("fourth"), "the record")
}

func lateOwnerChangesNothing(s *suite) {
	silent := newOwner("silent").with(s.lease)
	s.claim(silent, claimed)
	quitter := newOwner("quitter")
	s.claim(quitter, claimed)
	s.renew(quitter.with(0), nil)
	s.wait(s.lease)
	for _, late := range []owner{silent, quitter} {
		heir := late.next("heir of " + late.name).with(time.Minute).takingOver()
		s.claim(heir, claimed)
		s.lost(late)
		s.claim(late.with(time.Minute), inProgress)
		s.claim(late.with(time.Minute).takingOver(), inProgress)
		s.renew(heir, nil)
		s.complete(heir, "the heir's", nil)
		s.lost(late)
		s.done(late, "the heir's")
	}
}

// lateOwnerIsStillTheOwner: nobody else has done anything, so the work is of
// use, and no harm is done.
func lateOwnerIsStillTheOwner(s *suite) {
	late := make([]owner, 4)
	for i := range late {
		late[i] = newOwner("late").with(s.lease)
		s.claim(late[i], claimed)
	}
	s.wait(s.lease)
	for _, o := range late {
		s.claim(o.next("second"), abandoned)
	}
	s.renew(late[0].with(time.Minute), nil)
	s.claim(late[0].next("third").with(time.Minute).takingOver(), inProgress)
	s.complete(late[1], "the record", nil)
	s.done(late[1].next("third").takingOver(), "the record")
	s.release(late[2], nil)
	s.claim(late[2].next("third"), claimed)
	s.claim(late[3].with(time.Minute), claimed)
	s.claim(late[3].next("third").with(time.Minute).takingOver(), inProgress)
}
