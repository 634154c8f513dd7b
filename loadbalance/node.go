package loadbalance

import (
	"math"
	"sync/atomic"
	"time"
)

// A Node is an endpoint as a Balancer knows it: with what is in flight there,
// how fast it answers and whether it is well. It can be read while the balancer
// runs, and stays what it was after its endpoint has left.
type Node struct {
	address  string
	balancer *Balancer
	endpoint atomic.Pointer[Endpoint]
	done     func(error)  // counts a call out; made once, so that a pick allocates nothing
	judged   atomic.Int64 // attempts in the current window of the failure rate
	failed   atomic.Int64
	window   atomic.Int64 // a reading of the clock: when the counting of the two began
	compared atomic.Int64 // a reading of the clock: when its latency was compared with that of its peers
	cameBack atomic.Int64 // a reading of the clock: the beginning of the slow start, of a new one too
	probing  atomic.Bool  // the single probe of an endpoint that was ejected is under way
	well     wellbeing    // guarded by the balancer's mutex

	_ [64]byte // what follows changes with every call and is read by every pick
	load
}

// load is what strategies compare: one cache line, and few enough words that a
// call changes it with six atomic operations.
type load struct {
	calls   atomic.Uint64 // in flight, and above those 32 bits the ones without an answer
	begun   atomic.Int64  // the sum of the times at which the latter began
	average atomic.Uint64 // see average
	scale   atomic.Uint64 // a float64: 1/weight
	state   atomic.Uint32
	streak  atomic.Int32 // failures in a row
}

const (
	oneCall    = 1
	oneWaiting = 1 << 32
)

func newNode(b *Balancer, e Endpoint) *Node {
	n := &Node{address: e.Address, balancer: b}
	n.done = func(error) { n.end() }
	n.describe(e)
	return n
}

func (n *Node) describe(e Endpoint) {
	n.endpoint.Store(&e)
	n.scale.Store(math.Float64bits(1 / float64(e.weight())))
}

// Endpoint returns the endpoint as it was given last.
func (n *Node) Endpoint() Endpoint { return *n.endpoint.Load() }

// Address returns the address of the endpoint.
func (n *Node) Address() string { return n.address }

// InFlight returns how many attempts are at the endpoint: picked, and their
// result neither failed nor closed.
func (n *Node) InFlight() int { return int(uint32(n.calls.Load())) }

// Latency returns the moving average of the time to an answer, in which peaks
// count at once and failures count as slow. 0 means that there was no answer
// yet.
func (n *Node) Latency() time.Duration {
	return time.Duration(average(n.average.Load()).latency())
}

// Failures returns how many attempts have failed in a row.
func (n *Node) Failures() int { return int(n.streak.Load()) }

// State returns whether the endpoint is picked.
func (n *Node) State() State { return State(n.state.Load()) }

// begin counts a call in that began at now.
func (n *Node) begin(now time.Duration) {
	n.calls.Add(oneWaiting + oneCall)
	n.begun.Add(int64(now))
}

// answered says that a call which began at the given time waits no more.
func (n *Node) answered(began time.Duration) {
	n.calls.Add(-oneWaiting & math.MaxUint64)
	n.begun.Add(-int64(began))
}

// end counts a call out. The last at an endpoint that has left releases what
// the endpoint had.
func (n *Node) end() {
	if uint32(n.calls.Add(math.MaxUint64)) == 0 && n.State() == Gone {
		n.balancer.release(n)
	}
}

// perWeight returns 1/weight.
func (n *Node) perWeight() float64 { return math.Float64frombits(n.scale.Load()) }

// cost returns what a strategy multiplies load with: 1/weight, and more during
// the slow start.
func (n *Node) cost(q query) float64 {
	if n.State() == Warming {
		return n.perWeight() / n.warmth(q.now())
	}
	return n.perWeight()
}
