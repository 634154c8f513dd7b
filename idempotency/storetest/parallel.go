package storetest

import (
	"fmt"
	"sync"

	"github.com/backstay-go/backstay/idempotency"
)

const (
	contestants = 50
	rounds      = 3
)

func oneOfFiftyWins(s *suite) {
	for range rounds {
		s.contest(newOwner("contestant"))
	}
}

func oneOfFiftyTakesOver(s *suite) {
	silent, quitters := make([]owner, rounds), make([]owner, rounds)
	for i := range rounds {
		silent[i] = newOwner("silent").with(s.lease)
		s.claim(silent[i], claimed)
		quitters[i] = newOwner("quitter")
		s.claim(quitters[i], claimed)
		s.renew(quitters[i].with(0), nil)
	}
	s.wait(s.lease)
	for i := range rounds {
		s.contest(silent[i].next("contestant").takingOver())
		s.contest(quitters[i].next("contestant").takingOver())
		s.lost(silent[i])
		s.lost(quitters[i])
	}
}

func oneOfFiftyWinsAfterTheTTL(s *suite) {
	pending, done := make([]owner, rounds), make([]owner, rounds)
	for i := range rounds {
		pending[i], done[i] = newOwner("pending"), newOwner("done")
		s.claim(pending[i].keeping(s.lease), claimed)
		s.claim(done[i], claimed)
		s.complete(done[i].keeping(s.lease), "the record", nil)
	}
	s.wait(s.lease)
	for i := range rounds {
		s.contest(pending[i].next("contestant").changed())
		s.contest(done[i].next("contestant").changed())
		s.lost(pending[i])
		s.lost(done[i])
	}
}

// contest has many claim o's key at the same time, and wants one to win it and
// the others to be told so.
func (s *suite) contest(o owner) {
	s.Helper()
	o = o.with(newOwner("").Lease)
	all := make([]owner, contestants)
	answers, errs := make([]idempotency.Answer, contestants), make([]error, contestants)
	together(contestants, func(i int) {
		all[i] = o.next(fmt.Sprint(o.name, " ", i))
	}, func(i int) {
		answers[i], errs[i] = s.store.Claim(s.ctx, all[i].Claim)
	})
	var winners []owner
	for i, a := range answers {
		if errs[i] != nil || a.State != claimed && a.State != inProgress {
			s.Errorf("Claim(%v) = %v, want claimed or in progress", all[i], show(a, errs[i]))
		} else if fault := faultOf(a, o.Claim); fault != "" {
			s.Errorf("Claim(%v) = %v, want %s", all[i], show(a, nil), fault)
		}
		if errs[i] == nil && a.State == claimed {
			winners = append(winners, all[i])
		}
	}
	if len(winners) != 1 {
		s.Errorf("Claim(%v) by %d at the same time = claimed for %d of them, want 1", o, contestants, len(winners))
		s.FailNow()
	}
	s.renew(winners[0], nil)
	s.claim(o.next("afterwards").takingOver(), inProgress)
	s.complete(winners[0], "the winner's", nil)
	s.done(o.next("afterwards"), "the winner's")
}

// together prepares n goroutines one after the other and then has them do
// something at the same time.
func together(n int, prepare, do func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		prepare(i)
		all.Go(func() {
			<-start
			do(i)
		})
	}
	close(start)
	all.Wait()
}
