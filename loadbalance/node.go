package loadbalance

import (
	"math"
	"sync/atomic"
	"time"
)

// A Node is an endpoint as a Balancer knows it: with what is in flight there,
// how fast it answers and whether it is well. It can be read while the balancer
// runs, and after its endpoint has left.
type Node struct {
	address  string
	balancer *Balancer
	endpoint atomic.Pointer[Endpoint]
	done     func(error)  // counts a call out; made once, so that a pick allocates nothing
	tally    tally        // for the failure rate
	compared atomic.Int64 // a reading of the clock: when its latency was compared with that of its peers
	cameBack atomic.Int64 // a reading of the clock: the beginning of the slow start, of a new one too
	probing  atomic.Int64 // a reading of the clock: when the single probe of an endpoint that was ejected began, or 0
	well     wellbeing    // guarded by the balancer's mutex

	_ [64]byte // what follows changes with every call and is read by every pick
	load
}

// load is what strategies compare: one cache line, and few enough words that a
// call changes it with five atomic operations.
type load struct {
	calls   atomic.Int64  // in flight
	waiting atomic.Uint64 // those without an answer, see wait
	average atomic.Uint64 // see average
	renewed atomic.Uint32 // the tick of the last observation, where a stream has renewed the average since, or 0
	inverse atomic.Uint64 // a float64: 1/weight
	state   atomic.Uint32
	streak  atomic.Int32             // failures in a row
	totals  atomic.Pointer[[]*total] // that it is part of, nil for most strategies
}

// wait is what a call that began at now adds to the word waiting while it waits:
// one in the upper 16 bits, and below them its beginning in units of 65 µs, of
// which the last 32 bits are kept, so that 65535 of them have room.
func wait(now time.Duration) uint64 { return 1<<ageBits + uint64(uint32(now>>ageUnit)) }

const (
	ageBits = 48
	ageUnit = 16
)

// ages returns how long the calls without an answer have waited together.
func (l *load) ages(now time.Duration) float64 {
	w := l.waiting.Load()
	n := w >> ageBits
	if n == 0 {
		return 0
	}
	ticks := int64(n*uint64(uint32(now>>ageUnit)) - w&(1<<ageBits-1))
	if ticks < 0 {
		// A call began after the clock was read, or the clock's 32 bits have
		// begun anew since some began, which is every 78 hours.
		ticks = max(0, int64(int32(ticks)))
	}
	return float64(ticks) * (1 << ageUnit)
}

func newNode(b *Balancer, e Endpoint) *Node {
	n := &Node{address: e.Address, balancer: b}
	n.done = func(error) { n.end() }
	n.tally.reset(b.time())
	n.describe(e)
	return n
}

func (n *Node) describe(e Endpoint) {
	n.endpoint.Store(&e)
	n.inverse.Store(math.Float64bits(1 / float64(e.weight())))
}

// Endpoint returns the endpoint as it was given last.
func (n *Node) Endpoint() Endpoint { return *n.endpoint.Load() }

// Address returns the address of the endpoint.
func (n *Node) Address() string { return n.address }

// InFlight returns how many attempts are at the endpoint: picked, and their
// result neither failed nor closed.
func (n *Node) InFlight() int { return int(n.calls.Load()) }

// Latency returns the moving average of the time to an answer, in which a
// failure counts as 2 seconds at least. It is as of the last answer, and 0 before
// the first, also after an endpoint has come back.
func (n *Node) Latency() time.Duration {
	return time.Duration(average(n.average.Load()).latency())
}

// Failures returns how many attempts have failed in a row.
func (n *Node) Failures() int { return int(n.streak.Load()) }

// State returns whether the endpoint is picked.
func (n *Node) State() State { return State(n.state.Load()) }

// begin counts a call in that began at now.
func (n *Node) begin(now time.Duration) {
	n.enter()
	n.waiting.Add(wait(now))
}

// enter counts a call in.
func (n *Node) enter() {
	n.calls.Add(1)
	n.tell(1)
}

// answered says that a call which began at the given time waits no more.
func (n *Node) answered(began time.Duration) {
	n.waiting.Add(-wait(began))
}

// end counts a call out. The last at an endpoint that has left releases what
// the endpoint had.
func (n *Node) end() {
	left := n.calls.Add(-1)
	n.tell(-1)
	if left == 0 && n.State() == Gone {
		n.balancer.release(n)
	}
}

// perWeight returns 1/weight.
func (n *Node) perWeight() float64 { return math.Float64frombits(n.inverse.Load()) }

// scarcity returns what a strategy multiplies the load of n with: 1/weight, and
// more during the slow start.
func (n *Node) scarcity(now time.Duration) float64 {
	if n.State() == Warming {
		return n.perWeight() / n.warmth(now)
	}
	return n.perWeight()
}
