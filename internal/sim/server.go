package sim

import (
	"errors"
	"time"
)

var (
	// ErrFailed is the answer of a failing server.
	ErrFailed = errors.New("sim: the server failed")

	// ErrFull is the answer of a server that has no room in its queue.
	ErrFull = errors.New("sim: the server's queue is full")

	// ErrTimeout ends an attempt that has no answer in time.
	ErrTimeout = errors.New("sim: no answer in time")
)

// failsIn is how long a server takes to say no.
const failsIn = 500 * time.Microsecond

// flaking is how often a flaking server says no.
const flaking = 0.25

// slowness is how many times longer a gray-slow server takes.
const slowness = 20

// An attempt is a call at a server.
type attempt struct {
	fiber    *fiber
	work     time.Duration // at speed 1
	luck     float64       // from 0 to 1; errors are for those who have little
	answered bool          // or timed out
}

type server struct {
	world   *world
	number  int
	speed   float64
	change  Change // Heal, Slow, Hang, Fail or Flake
	member  bool
	life    int // goes up when all that the server had is lost
	busy    int
	waiting []*attempt
}

// accept takes an attempt; the answer comes with a later event.
func (s *server) accept(a *attempt) {
	switch {
	case s.change == Hang:
	case s.change == Fail, s.change == Flake && a.luck < flaking:
		s.world.after(failsIn, func() { s.world.answer(a, ErrFailed) })
	case s.busy < s.world.Workers:
		s.begin(a)
	case len(s.waiting) < s.world.Queue:
		s.waiting = append(s.waiting, a)
	default:
		s.world.after(failsIn, func() { s.world.answer(a, ErrFull) })
	}
}

func (s *server) begin(a *attempt) {
	s.busy++
	life := s.life
	takes := time.Duration(float64(a.work) / s.pace())
	s.world.tally.worked(s.world.now, s.world.now+takes, s.number)
	s.world.after(takes, func() {
		if s.life != life {
			return
		}
		s.busy--
		if len(s.waiting) > 0 {
			next := s.waiting[0]
			s.waiting = s.waiting[1:]
			s.begin(next)
		}
		if a.luck < s.world.scenario.Errors {
			s.world.answer(a, ErrFailed)
		} else {
			s.world.answer(a, nil)
		}
	})
}

func (s *server) pace() float64 {
	if s.change == Slow {
		return s.speed / slowness
	}
	return s.speed
}

// become changes the state of health.
func (s *server) become(c Change) {
	s.change = c
	if c == Hang || c == Heal {
		s.life++
		s.busy, s.waiting = 0, nil
	}
}

// expected is when a call that comes now would be done, as far as the queue and
// the speed tell, in mean service times.
func (s *server) expected() float64 {
	wait := 0.0
	if s.busy == s.world.Workers {
		wait = float64(len(s.waiting)+1) / float64(s.world.Workers)
	}
	return (1 + wait) / s.pace()
}
