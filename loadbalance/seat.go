package loadbalance

import (
	"context"
	"slices"

	"github.com/backstay-go/backstay"
)

// A seat is a balancer's place in one policy.
type seat struct {
	balancer *Balancer
	next     backstay.Func
	blockers []blocker // the breakers beneath, and what knows connections
	connects bool      // one of them knows connections
}

// run makes one attempt.
func (s *seat) run(ctx context.Context, call *backstay.Call) error { return s.place(ctx, call, nil) }

// place makes one attempt at the endpoint that it picks, and lost are those that
// it has found not to be connected. Where a breaker beneath turns it away it picks
// again: that the breaker does not block when the pick looks says little if many
// calls look at the same time.
func (s *seat) place(ctx context.Context, call *backstay.Call, lost []string) error {
	for i := 0; ; i++ {
		n, probe, err := s.choose(ctx, call, lost)
		if err != nil {
			s.reject(call, err)
			return err
		}
		a := n.attempt(call, s.balancer.now(call), probe)
		if err = s.try(ctx, call, a); err == nil || i == maxRepicks || !s.rejected(call, err) || !s.Untried(ctx, call) {
			return err
		}
		call.Begin() // or the rejection would be when the call had its answer
	}
}

// try makes the attempt a. One that has ended at another endpoint says nothing
// about its own.
func (s *seat) try(ctx context.Context, call *backstay.Call, a attempt) error {
	n := a.node
	a.begin()
	judged := false
	defer func() {
		if !judged { // panicked, perhaps in a method of the error
			a.answered()
			n.end()
			s.balancer.panicked(a, s.balancer.time())
		}
	}()
	err := s.next(ctx, call)
	at := s.balancer.ended(call)
	away := call.Moved() || err != nil && s.turnedAway(call, err)
	v := judge(ctx, call, n, at-a.began, err)
	judged = true
	a.answered()
	if away {
		n.end()
		a.ignore()
		return err
	}
	call.OnDone(n.done)
	s.balancer.settle(a, at, v, err)
	return err
}

// turnedAway reports whether err is how an endpoint is passed over that the
// pick should have passed over. It says nothing about its health.
func (s *seat) turnedAway(call *backstay.Call, err error) bool {
	return s.rejected(call, err) || s.connects && unconnected(err)
}

// rejected reports whether err is the rejection of a breaker beneath.
func (s *seat) rejected(call *backstay.Call, err error) bool {
	return len(s.blockers) > 0 && !call.Sent() && backstay.TypeOf(err) == circuitOpen
}

// circuitOpen is the error type of a breaker's rejection.
const circuitOpen = "circuit_open"

// reject tells that there is no endpoint for the call.
func (s *seat) reject(call *backstay.Call, err error) {
	if call.Watched() {
		call.Emit(backstay.Event{Kind: backstay.EventReject, Attempt: call.Attempt, Source: s.balancer.strategy.name, Reason: backstay.TypeOf(err), Err: err})
	}
}

// blocks reports whether a breaker would turn a call to n away.
func (s *seat) blocks(n *Node) bool {
	for _, b := range s.blockers {
		if b.Blocks(n.address) {
			return true
		}
	}
	return false
}

// maxRepicks bounds how often a pick is done again because an attempt that
// overlaps has just taken the same node. Only a strategy that goes for nodes it
// was not offered comes near.
const maxRepicks = 8

// choose picks a node and marks it as tried. Where another attempt of the call
// has marked it since the pick, it picks again, as long as there is one that is
// left for this attempt.
func (s *seat) choose(ctx context.Context, call *backstay.Call, lost []string) (*Node, bool, error) {
	set, err := s.balancer.current(ctx, call)
	if err != nil {
		return nil, false, err
	}
	q := query{ctx: ctx, call: call, seat: s, lost: lost}
	if len(s.blockers) > 0 {
		q.avoid = blocked
	}
	if call.TriedCount() > 0 {
		q.avoid |= tried
	}
	for i := 0; ; i++ {
		n, probe := set.pick(q)
		if n == nil {
			return nil, false, s.balancer.none(set.why(q))
		}
		if call.Try(n.address, s) || i == maxRepicks || !s.Untried(ctx, call) {
			return n, probe, nil
		}
		if probe {
			n.probing.Store(0)
		}
		q.avoid |= tried
	}
}

// Untried reports whether there is a node for the call that none of its
// attempts was given.
func (s *seat) Untried(ctx context.Context, call *backstay.Call) bool {
	set := s.balancer.set.Load()
	if set == nil {
		return false
	}
	n, _ := set.root.pick(query{ctx: ctx, call: call, seat: s, avoid: tried | blocked | probes | trial})
	return n != nil
}

// open reports whether there is a node for the call that is not blocked, and not
// at one of the addresses that are lost.
func (s *seat) open(ctx context.Context, call *backstay.Call, lost []string) bool {
	set := s.balancer.set.Load()
	if set == nil {
		return false
	}
	n, _ := set.root.pick(query{ctx: ctx, call: call, seat: s, lost: lost, avoid: blocked | probes | trial})
	return n != nil && !slices.Contains(lost, n.address) // a strict key has no other
}
