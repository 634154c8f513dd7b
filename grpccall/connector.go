package grpccall

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/backstay-go/backstay/loadbalance"
)

// A connector is the balancer of one gRPC channel: it keeps a connection to each
// endpoint, and its picker says which one a call goes to.
//
// Locks are taken in this order: updating, that of a leaf, that of its
// pick_first, watching, mu. gRPC and package loadbalance are called with
// updating at most, but for UpdateState, which calls nothing back.
type connector struct {
	cc     balancer.ClientConn
	opts   balancer.BuildOptions
	target string
	picker *picker
	now    atomic.Pointer[summary]
	source atomic.Pointer[source]
	leaves atomic.Pointer[map[string]*leaf] // copied to be changed
	ready  atomic.Int32                     // how many leaves are
	looks  atomic.Bool                      // gRPC is about to be asked to pick again

	updating sync.Mutex
	state    resolver.State // the last that there was

	mu         sync.Mutex
	choice     *choice
	states     balancer.ConnectivityStateEvaluator
	failure    error // of the last connection that failed
	unresolved error // why the resolver has no endpoints, or none that are newer
	paused     bool  // gRPC is told when all is done
	closed     bool
}

// A summary is the state of all connections.
type summary struct {
	state connectivity.State
	err   error // of picks in TRANSIENT_FAILURE
}

func newConnector(cc balancer.ClientConn, opts balancer.BuildOptions) *connector {
	g := &connector{cc: cc, opts: opts, target: opts.Target.String()}
	g.picker = newPicker(g)
	g.now.Store(&summary{state: connectivity.Connecting})
	g.leaves.Store(&map[string]*leaf{})
	return g
}

// errNoAddresses is what the resolver has done wrong.
var errNoAddresses = errors.New("produced zero addresses")

// UpdateClientConnState takes endpoints and config from gRPC.
func (g *connector) UpdateClientConnState(s balancer.ClientConnState) error {
	g.updating.Lock()
	defer g.updating.Unlock()
	g.hold()
	defer g.flush()
	chosen, ok := s.BalancerConfig.(*choice)
	if !ok {
		chosen = &choice{}
	}
	next := g.choose(chosen)
	err := g.resolved(next, s.ResolverState)
	g.use(next)
	return err
}

// resolved has the endpoints of the resolver connected, and known to src.
func (g *connector) resolved(src *source, s resolver.State) error {
	g.state = s
	switch {
	case src.fault != nil:
		return nil
	case !src.fed():
		g.unresolve(nil)
		for _, address := range src.balancer.Addresses() {
			g.connect(address, dial(address))
		}
		return nil
	}
	return g.feed(src, findings(s))
}

// feed makes the endpoints of a resolver those of the source.
func (g *connector) feed(src *source, all []found) error {
	endpoints := make([]loadbalance.Endpoint, len(all))
	for i, f := range all {
		endpoints[i] = f.endpoint
	}
	if err := (loadbalance.Config{Endpoints: endpoints}).Validate(); err != nil {
		g.unresolve(err)
		return balancer.ErrBadResolverState
	}
	// First those that have come, last those that have gone: what the balancer
	// picks in the meantime is there.
	for _, f := range all {
		g.connect(f.endpoint.Address, f.dial)
	}
	err := src.balancer.Update(endpoints...)
	g.retain(endpoints)
	if len(all) == 0 {
		err = errNoAddresses
	}
	g.unresolve(err)
	if err != nil {
		return balancer.ErrBadResolverState
	}
	return nil
}

// unresolve says what is wrong with the endpoints, or that nothing is.
func (g *connector) unresolve(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unresolved = err
}

// ResolverError takes the error of the resolver: the endpoints stay as they are.
func (g *connector) ResolverError(err error) {
	g.hold()
	defer g.flush()
	g.unresolve(err)
}

// UpdateSubConnState is not called where SubConns have listeners.
func (g *connector) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle has lost connections made again, which they are anyway.
func (g *connector) ExitIdle() {
	for _, l := range *g.leaves.Load() {
		l.exitIdle()
	}
}

// Close ends the connections when their calls have ended.
func (g *connector) Close() {
	g.updating.Lock()
	defer g.updating.Unlock()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, l := range *g.leaves.Load() {
		l.close()
	}
	g.leaves.Store(&map[string]*leaf{})
	if src := g.source.Swap(nil); src != nil {
		src.close(g)
	}
}

// connect connects to an endpoint, or has what is connected to it know its
// addresses.
func (g *connector) connect(address string, ep resolver.Endpoint) {
	if l := g.join(address); l != nil {
		l.dial(ep)
	}
}

// join returns the leaf at address, which may be new, or nil after Close.
func (g *connector) join(address string) *leaf {
	g.mu.Lock()
	defer g.mu.Unlock()
	leaves := *g.leaves.Load()
	if l := leaves[address]; l != nil || g.closed {
		return l
	}
	l := newLeaf(g, address)
	leaves = maps.Clone(leaves)
	leaves[address] = l
	g.leaves.Store(&leaves)
	g.states.RecordTransition(connectivity.Shutdown, connectivity.Connecting)
	return l
}

// retain drops all leaves but those of the endpoints.
func (g *connector) retain(endpoints []loadbalance.Endpoint) {
	stay := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		stay[e.Address] = true
	}
	for address := range *g.leaves.Load() {
		if !stay[address] {
			g.drop(address)
		}
	}
}

// drop ends the connection to address when the calls on it have ended.
func (g *connector) drop(address string) {
	if l := g.remove(address); l != nil {
		l.close()
	}
}

func (g *connector) remove(address string) *leaf {
	g.mu.Lock()
	defer g.mu.Unlock()
	leaves := *g.leaves.Load()
	l := leaves[address]
	if l == nil {
		return nil
	}
	leaves = maps.Clone(leaves)
	delete(leaves, address)
	g.leaves.Store(&leaves)
	g.become(l, link{state: connectivity.Shutdown})
	g.publish()
	return l
}

// hold keeps changes from gRPC until flush.
func (g *connector) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = true
}

func (g *connector) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = false
	g.publish()
}

// publish tells gRPC, and the calls that wait, what the connections are like.
// The mutex is held.
func (g *connector) publish() {
	if g.paused || g.closed {
		return
	}
	g.now.Store(g.sum())
	g.cc.UpdateState(balancer.State{ConnectivityState: g.now.Load().state, Picker: g.picker})
	if src := g.source.Load(); src != nil && src.channel != nil {
		src.channel.notify()
	}
}

// lookAgain has gRPC pick again soon for the calls that wait. It does so by
// itself when something changes in the connections, but not when a breaker lets
// calls pass again.
func (g *connector) lookAgain() {
	if g.looks.Swap(true) {
		return
	}
	time.AfterFunc(lookAgain, func() {
		g.looks.Store(false)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.publish()
	})
}

func (g *connector) sum() *summary {
	src := g.source.Load()
	switch {
	case src != nil && src.fault != nil:
		return &summary{connectivity.TransientFailure, src.fault}
	case len(*g.leaves.Load()) > 0:
		s := &summary{state: g.states.CurrentState()}
		if s.state == connectivity.TransientFailure {
			s.err = g.whyNot()
		}
		return s
	case src != nil && !src.fed():
		return &summary{state: connectivity.Connecting} // when there are endpoints
	}
	return &summary{connectivity.TransientFailure, fmt.Errorf("grpccall: the resolver: %v", g.unresolved)}
}

// whyNot returns why nothing is connected.
func (g *connector) whyNot() error {
	if g.unresolved == nil {
		return g.failure
	}
	return fmt.Errorf("%w; and the resolver: %v", g.failure, g.unresolved)
}

// trouble returns what is wrong with the endpoints, or nil.
func (g *connector) trouble() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if src := g.source.Load(); src != nil && src.fault != nil {
		return src.fault
	}
	if g.unresolved != nil {
		return fmt.Errorf("the resolver: %w", g.unresolved)
	}
	return nil
}

// health returns what is to be watched on connections.
func (g *connector) health() health {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.choice.health()
}
