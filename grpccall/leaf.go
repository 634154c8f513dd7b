package grpccall

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// A leaf connects to one endpoint.
//
// It has gRPC's own pick_first do so, as gRPC's round_robin does: that tries the
// addresses of the endpoint, two families at a time, keeps TRANSIENT_FAILURE
// until there is a connection, and heeds a healthCheckConfig. A SubConn over
// several addresses does less, and gRPC is going to drop it. Between them
// round_robin has endpointsharding, which knows endpoints by all of their
// addresses and takes them from a resolver only; ours keep their connection when
// an address is added to them, and may be connected when a call needs them.
type leaf struct {
	balancer.ClientConn // the channel, to pick_first
	parent              *connector
	address             string
	link                atomic.Pointer[link]

	mu     sync.Mutex // held while pick_first is called
	first  balancer.Balancer
	closed bool

	// What follows is guarded by the mutex of the parent.
	raw        link // without health
	notServing bool

	watching sync.Mutex // held while the link or the watch is replaced
	unwatch  func()
}

// A link is the connection to an endpoint at some time.
type link struct {
	state   connectivity.State // READY, CONNECTING or TRANSIENT_FAILURE
	result  balancer.PickResult
	err     error // why there is no connection
	refusal error // the status of a pick that goes elsewhere for that
}

func newLeaf(parent *connector, address string) *leaf {
	l := &leaf{ClientConn: parent.cc, parent: parent, address: address, unwatch: func() {}}
	l.raw = link{state: connectivity.Connecting}
	l.link.Store(&link{state: connectivity.Connecting})
	l.first = balancer.Get(pickfirst.Name).Build(l, parent.opts)
	return l
}

// dial has the leaf connect to ep. Where it is connected to one of the
// addresses, it stays so.
func (l *leaf) dial(ep resolver.Endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	state := pickfirst.EnableHealthListener(resolver.State{Endpoints: []resolver.Endpoint{ep}})
	_ = l.first.UpdateClientConnState(balancer.ClientConnState{ResolverState: state}) // fails without addresses
}

func (l *leaf) exitIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.first.ExitIdle()
	}
}

// close ends the connection when the calls on it have ended.
func (l *leaf) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.first.Close()
	}
}

// NewSubConn is for pick_first. A connection that is lost is made again at once,
// when pick_first has dealt with the loss.
func (l *leaf) NewSubConn(addresses []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	listener := opts.StateListener
	opts.StateListener = func(s balancer.SubConnState) {
		listener(s)
		if s.ConnectivityState == connectivity.Idle {
			l.exitIdle()
		}
	}
	//lint:ignore SA1019 pick_first gives one address, which is what stays
	return l.ClientConn.NewSubConn(addresses, opts)
}

// UpdateState is for pick_first, which holds a lock meanwhile.
func (l *leaf) UpdateState(s balancer.State) {
	k := link{state: s.ConnectivityState}
	switch k.state {
	case connectivity.Idle:
		k.state = connectivity.Connecting // as it will be in a moment
	case connectivity.Ready:
		k.result, _ = s.Picker.Pick(balancer.PickInfo{})
	case connectivity.TransientFailure:
		_, err := s.Picker.Pick(balancer.PickInfo{})
		k = failed(fmt.Errorf("grpccall: no connection to %s: %w", l.address, err))
	}
	l.watching.Lock()
	defer l.watching.Unlock()
	l.unwatch()
	l.parent.linked(l, k)
	l.watch(k)
}

// rewatch has the health watched as the config now has it.
func (l *leaf) rewatch() {
	l.watching.Lock()
	defer l.watching.Unlock()
	l.unwatch()
	l.watch(l.parent.relinked(l))
}

func failed(err error) link {
	return link{state: connectivity.TransientFailure, err: err, refusal: status.Error(codes.Unavailable, err.Error())}
}

// watch has the health of the server watched on a connection.
func (l *leaf) watch(k link) {
	l.unwatch = func() {}
	h := l.parent.health()
	if k.state != connectivity.Ready || h.off {
		return
	}
	w := &watch{service: h.service, tell: func(serving bool) { l.parent.told(l, serving) }}
	_, l.unwatch = k.result.SubConn.GetOrBuildProducer(w)
}

// errNotServing is why an endpoint is not used that is connected.
var errNotServing = errors.New("its health is NOT_SERVING")

// now returns the link as it is for picks.
func (l *leaf) now() link {
	if l.raw.state == connectivity.Ready && l.notServing {
		return failed(fmt.Errorf("grpccall: %s is connected and not used: %w", l.address, errNotServing))
	}
	return l.raw
}

// linked takes the state of a connection.
func (g *connector) linked(l *leaf, k link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.raw, l.notServing = k, false
	g.relink(l)
}

// relinked returns the state of a connection, and forgets what its server has
// said of its health.
func (g *connector) relinked(l *leaf) link {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.notServing = false
	g.relink(l)
	return l.raw
}

// told takes what a server says of its health.
func (g *connector) told(l *leaf, serving bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.notServing == serving {
		l.notServing = !serving
		g.relink(l)
	}
}

// relink has picks see what has become of l.
func (g *connector) relink(l *leaf) {
	if l.link.Load().state != connectivity.Shutdown {
		g.become(l, l.now())
		g.publish()
	}
}

func (g *connector) become(l *leaf, k link) {
	was := l.link.Swap(&k).state
	switch {
	case was != connectivity.Ready && k.state == connectivity.Ready:
		g.ready.Add(1)
	case was == connectivity.Ready && k.state != connectivity.Ready:
		g.ready.Add(-1)
	}
	if k.err != nil {
		g.failure = k.err
	}
	g.states.RecordTransition(was, k.state)
}
