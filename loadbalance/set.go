package loadbalance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// A set is the nodes that a balancer has at some time, and what picks from
// them.
type set struct {
	nodes   []*Node
	root    picker
	reserve atomic.Pointer[picker] // nil until it is needed
	closed  bool
}

// pick returns a node for q: one that q admits, else one that is not blocked
// though it was tried, else one that is not blocked though it was ejected, else
// any.
func (s *set) pick(q query) (*Node, bool) {
	n, probe := s.root.pick(q)
	q.again = true
	if n == nil && q.avoid&tried != 0 {
		q.avoid &^= tried
		q.avoid |= probes
		n, probe = s.root.pick(q)
	}
	if n == nil && q.avoid&blocked != 0 {
		n = s.ejected(q)
	}
	if n == nil && q.avoid&blocked != 0 {
		q.avoid = probes
		n, probe = s.root.pick(q)
	}
	return n, probe
}

// ejected returns a node that is not blocked where all are that are live: one
// that is ejected may work, and one without a connection cannot.
func (s *set) ejected(q query) *Node {
	p := q.seat.balancer.reserve(s)
	if p == nil {
		return nil
	}
	for _, q.avoid = range []avoid{tried | blocked | probes, blocked | probes} {
		if n, _ := p.pick(q); n != nil {
			return n
		}
	}
	return nil
}

// reserve returns the picker of s to which all nodes are live, or nil if they are
// anyway, or never to be, or s is no longer in use.
func (b *Balancer) reserve(s *set) picker {
	if p := s.reserve.Load(); p != nil {
		return *p
	}
	if b.health.PanicThreshold == Never || countPicked(s.nodes) == len(s.nodes) {
		return nil
	}
	b.mu.Lock()
	defer b.unlock()
	if p := s.reserve.Load(); p != nil {
		return *p
	}
	if b.set.Load() != s {
		return nil
	}
	p := b.strategy.make(site{balancer: b, reserve: true}, s.nodes)
	s.reserve.Store(&p)
	return p
}

// Update replaces the endpoints. Those that stay keep what is known of them;
// new ones begin slowly; those that are gone finish the calls that they have.
// With no endpoints, calls fail with a NoEndpointError until there are some.
//
// An error says what is wrong with the endpoints, which are then as they were.
func (b *Balancer) Update(endpoints ...Endpoint) error {
	if err := validate(endpoints); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.unlock()
	if b.closing {
		return ErrClosed
	}
	b.lookup = LookupStatus{FoundAt: time.Now()}
	b.replace(endpoints)
	return nil
}

// replace makes endpoints those of the balancer.
func (b *Balancer) replace(endpoints []Endpoint) {
	before := b.set.Load()
	if before != nil && before.is(endpoints) {
		return
	}
	nodes := make([]*Node, 0, len(endpoints))
	stay := make(map[*Node]bool, len(endpoints))
	anew := before == nil || len(before.nodes) == 0
	for _, e := range endpoints {
		n := b.join(e, anew)
		nodes = append(nodes, n)
		stay[n] = true
	}
	if before != nil {
		for _, n := range before.nodes {
			if !stay[n] {
				b.leave(n)
			}
		}
	}
	b.use(nodes)
	b.monitor.signal()
	if before == nil {
		close(b.ready)
	}
}

// rebuild makes the picker anew, from the same nodes. It reports whether the
// balancer is in use.
func (b *Balancer) rebuild() bool {
	b.mu.Lock()
	defer b.unlock()
	if s := b.set.Load(); s != nil && !b.closing {
		b.use(s.nodes)
	}
	return !b.closing
}

// use makes a picker of nodes and has calls go by it. Until then they go by the
// one before, so what counts for that is dropped afterwards.
func (b *Balancer) use(nodes []*Node) {
	s := site{balancer: b}
	if before := b.set.Load(); before != nil {
		s.before = before.root
	}
	old := make([]int, len(nodes))
	for i, n := range nodes {
		old[i] = len(n.partOf())
	}
	b.set.Store(&set{nodes: nodes, root: b.strategy.make(s, nodes)})
	for i, n := range nodes {
		n.forget(old[i])
	}
}

// is reports whether the nodes of the set are those endpoints.
func (s *set) is(endpoints []Endpoint) bool {
	return slices.EqualFunc(s.nodes, endpoints, func(n *Node, e Endpoint) bool {
		is := n.Endpoint()
		return is.Address == e.Address && is.Weight == e.Weight && is.Locality == e.Locality && is.Role == e.Role &&
			maps.Equal(is.Attributes, e.Attributes)
	})
}

// join returns the node of an endpoint, a new one or that which it has. Where
// there are others to carry the load, a new one begins slowly.
func (b *Balancer) join(e Endpoint, anew bool) *Node {
	n := b.nodes[e.Address]
	if n == nil {
		n = newNode(b, e)
		b.nodes[e.Address] = n
		if !anew {
			b.warm(n, nil)
		}
		return n
	}
	n.describe(e)
	if n.State() == Gone {
		b.warm(n, nil)
	}
	return n
}

// leave takes n out. Its calls go on.
func (b *Balancer) leave(n *Node) {
	n.well.stopTimer()
	b.become(n, Gone, nil)
	n.totals.Store(nil)
	if n.InFlight() == 0 {
		b.left(n)
	}
}

// release is called when the last call at a node that has left has ended.
func (b *Balancer) release(n *Node) {
	b.mu.Lock()
	defer b.unlock()
	if n.State() == Gone && n.InFlight() == 0 {
		b.left(n)
	}
}

// left releases what there is for the endpoint n. A pick from an older set may
// still choose n; then this happens again when that call has ended.
func (b *Balancer) left(n *Node) {
	if now := b.nodes[n.address]; now != nil && now != n {
		return // the address is another node's by now
	}
	delete(b.nodes, n.address)
	for _, f := range b.onLeave {
		b.queue = append(b.queue, func() { f(n.address) })
	}
	for _, g := range b.groups {
		b.queue = append(b.queue, func() { g.Forget(n.address) })
	}
	if b.closing && len(b.nodes) == 0 {
		b.finish()
	}
}

// OnLeave has f called with the address of each endpoint that is gone, when its
// last call has ended, and again where a call that had already picked it comes
// late: for those who keep something for each endpoint, such as
// connections. Package httpcall does so for its own.
func (b *Balancer) OnLeave(f func(address string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onLeave = append(b.onLeave, f)
}

// maxClose bounds how long Close waits where its context does not.
const maxClose = 30 * time.Second

// ErrClosed is the error of Update after Close.
var ErrClosed = errors.New("loadbalance: the balancer is closed")

// Close takes all endpoints out and waits until their calls have ended, at most
// until ctx ends, and at most 30 seconds where ctx has no deadline. If there are
// calls left then, the error tells how many, and is ctx's too. Calls that are
// made after Close fail with a NoEndpointError.
func (b *Balancer) Close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxClose)
		defer cancel()
	}
	select {
	case <-b.close():
		return nil
	case <-ctx.Done():
		return b.unclosed(ctx.Err())
	}
}

// close takes all endpoints out and returns what is closed when no call is left.
func (b *Balancer) close() <-chan struct{} {
	b.mu.Lock()
	defer b.unlock()
	if !b.closing {
		b.replace(nil)
		b.set.Store(&set{root: b.set.Load().root, closed: true})
		b.closing, b.closed = true, make(chan struct{})
		b.halt()
		if len(b.nodes) == 0 {
			b.finish()
		}
	}
	return b.closed
}

// finish says that no call is left after Close.
func (b *Balancer) finish() {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}

// unclosed returns the error of a Close that ended with err, or nil if the last
// call has ended in the meantime.
func (b *Balancer) unclosed(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := 0
	for _, n := range b.nodes {
		calls += n.InFlight()
	}
	if calls == 0 {
		return nil
	}
	return fmt.Errorf("loadbalance: closed while calls are in flight (%d): %w; a response body that is not closed keeps its call in flight", calls, err)
}
