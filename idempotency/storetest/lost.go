package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// canceledContext: a call whose context has ended returns, with an error that
// does not speak for the Store, and leaves the Store fit for others.
func canceledContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	first := newOwner("first")
	ended := func(method string, call func() error) {
		s.Helper()
		start := time.Now()
		err, took := call(), time.Since(start)
		if err == nil || errors.Is(err, lost) || took > 5*time.Second {
			s.Errorf("%s(first) with a canceled context = %v after %v, want an error of the context at once", method, err, took)
		}
	}
	ended("Claim", func() error { _, err := s.store.Claim(ctx, first.Claim); return err })
	s.claim(first, claimed)
	ended("Renew", func() error { return s.store.Renew(ctx, first.Claim) })
	ended("Complete", func() error { return s.store.Complete(ctx, first.Claim, []byte("the record")) })
	s.complete(first, "the record", nil)
	s.done(first.next("second"), "the record")

	third := newOwner("third")
	s.claim(third, claimed)
	ended("Release", func() error { return s.store.Release(ctx, third.Claim) })
	if err := s.store.Release(s.ctx, third.Claim); err != nil && !errors.Is(err, lost) {
		s.Errorf("Release(third) = %v, want nil or %v", err, lost)
	}
	s.claim(third.next("fourth"), claimed)
}

// lostAnswer: an owner that does not know whether it was heard says it again.
func lostAnswer(s *suite) {
	for range 30 {
		first := newOwner("first")
		s.unsure(func(ctx context.Context) error { _, err := s.store.Claim(ctx, first.Claim); return err })
		s.claim(first, claimed)
		s.claim(first.next("second"), inProgress)
		s.unsure(func(ctx context.Context) error { return s.store.Renew(ctx, first.Claim) })
		s.renew(first, nil)
		s.unsure(func(ctx context.Context) error { return s.store.Complete(ctx, first.Claim, []byte("the record")) })
		s.complete(first, "the record", nil)
		s.done(first.next("second"), "the record")

		third := newOwner("third")
		s.claim(third, claimed)
		s.unsure(func(ctx context.Context) error { return s.store.Release(ctx, third.Claim) })
		if err := s.store.Release(s.ctx, third.Claim); err != nil && !errors.Is(err, lost) {
			s.Errorf("Release(third) = %v, want nil or %v", err, lost)
		}
		s.claim(third.next("fourth"), claimed)
	}
}

// unsure calls the Store with a context that ends soon, perhaps in the middle.
func (s *suite) unsure(call func(context.Context) error) {
	ctx, cancel := context.WithTimeout(s.ctx, rand.N(time.Millisecond))
	defer cancel()
	if err := call(ctx); errors.Is(err, lost) {
		s.Errorf("a call by the owner, cut short = %v, want nil or an error of the context", err)
	}
}

// restartForgetsNothing: what the Store has said holds after a restart.
func restartForgetsNothing(s *suite) {
	pending, done, released, quitter := newOwner("pending"), newOwner("done"), newOwner("released"), newOwner("quitter")
	for _, o := range []owner{pending, done, released, quitter} {
		s.claim(o, claimed)
	}
	s.complete(done, "the record", nil)
	s.release(released, nil)
	s.renew(quitter.with(0), nil)

	s.restart()
	s.patiently(pending.next("second"), inProgress)
	s.claim(pending.changed(), mismatch)
	s.renew(pending, nil)
	s.done(done.next("second"), "the record")
	s.claim(quitter.next("second"), abandoned)
	s.claim(released.next("second"), claimed)
	s.lost(released)

	s.restart()
	s.patiently(pending, claimed)
	s.complete(pending, "the record", nil)
	s.done(pending.next("second"), "the record")
	s.complete(quitter, "the record", nil)
	s.done(quitter.next("second"), "the record")
}

// oneWinsAcrossARestart: contestants claim keys while the server ends and
// starts. Each asks until it has an answer, as one whose answer was lost does.
func oneWinsAcrossARestart(s *suite) {
	const keys, contestants = 40, 8
	end := time.Now().Add(time.Minute)
	winners := make([][contestants]owner, keys)
	firsts := make([]owner, keys)
	for k := range firsts {
		firsts[k] = newOwner("contestant")
	}
	var all sync.WaitGroup
	for i := range contestants {
		all.Go(func() {
			for k, first := range firsts {
				o := first.next("contestant")
				a, err := s.persist(o, end)
				if err != nil || a.State != claimed && a.State != inProgress {
					s.Errorf("Claim(%v) across a restart = %v, want claimed or in progress", o, show(a, err))
					return
				}
				if a.State == claimed {
					winners[k][i] = o
				}
				<-time.After(s.lease / 20) // so that the restart is in the middle
			}
		})
	}
	<-time.After(s.lease / 10)
	s.restart()
	all.Wait()
	for k := range winners {
		var won []owner
		for _, o := range winners[k] {
			if o.name != "" {
				won = append(won, o)
			}
		}
		if len(won) != 1 {
			s.Errorf("Claim(%v) by %d across a restart = claimed for %d of them, want 1", firsts[k], contestants, len(won))
			continue
		}
		s.complete(won[0], "the winner's", nil)
		s.done(firsts[k], "the winner's")
	}
}

// patiently is claim, for a server that is about to be ready.
func (s *suite) patiently(o owner, want idempotency.State) {
	s.Helper()
	if a, err := s.persist(o, time.Now().Add(time.Minute)); err != nil || a.State != want {
		s.Errorf("Claim(%v) after a restart = %v, want %v", o, show(a, err), want)
		s.FailNow()
	}
}

// persist claims until there is an answer.
func (s *suite) persist(o owner, end time.Time) (a idempotency.Answer, err error) {
	for time.Now().Before(end) {
		ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
		a, err = s.store.Claim(ctx, o.Claim)
		cancel()
		if err == nil {
			break
		}
		<-time.After(s.lease / 10)
	}
	return a, err
}
