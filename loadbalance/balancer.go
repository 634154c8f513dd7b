package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/clock"
)

// Config describes a Balancer. The zero value is fit for production, once
// Update or Follow has brought endpoints.
type Config struct {
	// Strategy says which endpoint a call goes to. The zero value means
	// PeakEWMA().
	Strategy Strategy

	// Endpoints are the first ones. Where there are none, calls wait until
	// Update or Follow brings some.
	Endpoints []Endpoint

	// Health says when endpoints are left alone.
	Health HealthConfig

	// Wait is how long a call waits for the first endpoints, where there were
	// none yet, if its context allows as much. 0 means 5 seconds.
	Wait time.Duration

	// MaxStale is how long endpoints that Follow has found are kept while its
	// lookups fail or find none. Then there are none, and calls fail. 0 means 10
	// minutes; Never keeps them.
	MaxStale time.Duration

	// OnChange is told when an endpoint changes its state, in order, on the
	// goroutine of a call or a timer: it must return soon. It may use the
	// balancer.
	OnChange func(Change)
}

// A Change of the state of an endpoint.
type Change struct {
	Endpoint Endpoint
	From, To State
	Err      error // the failure that made the change, if one did
}

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	if c.Wait < 0 {
		return fmt.Errorf("loadbalance: Wait is %v; give a positive duration, or 0 for 5s", c.Wait)
	}
	if c.MaxStale < 0 && c.MaxStale != Never {
		return fmt.Errorf("loadbalance: MaxStale is %v; give a positive duration, 0 for 10m, or Never", c.MaxStale)
	}
	return errors.Join(c.Health.Validate(), validate(c.Endpoints))
}

// A Balancer gives each attempt of a call an endpoint. It is a
// backstay.Middleware and safe for concurrent use. The zero value is not ready
// and its Wrap panics: make one with New or NewBalancer.
type Balancer struct {
	strategy Strategy
	health   HealthConfig
	wait     time.Duration
	maxStale time.Duration
	onChange func(Change)
	seed     uint64
	set      atomic.Pointer[set]
	ready    chan struct{} // closed by the first Update

	clock  func() time.Duration                      // nil means that of the calls
	after  func(time.Duration, func()) (stop func()) // time.AfterFunc
	random func() uint64                             // nil means rand.Uint64

	mu       sync.Mutex
	nodes    map[string]*Node // by address; those that have left until their last call has ended
	closed   chan struct{}    // closed when the last call after Close has ended
	closing  bool
	warming  int           // how many nodes are in their slow start
	judged   time.Duration // when failure rates were last compared
	onLeave  []func(address string)
	groups   []forgetter // the breakers beneath
	lookup   LookupStatus
	follow   loop
	monitor  loop
	queue    []func()
	handling bool
}

// New returns a balancer over the given addresses: "host:port" for calls over a
// network, and any name that the function under the policy understands. It is
// NewBalancer with defaults for the rest.
//
// It panics if there is no address, or one is empty, a URL, or given twice.
func New(s Strategy, addresses ...string) *Balancer {
	if s.make == nil {
		panic("loadbalance: New needs a strategy, such as PeakEWMA()")
	}
	if len(addresses) == 0 {
		panic("loadbalance: New needs at least one address, such as \"10.0.0.1:80\"; NewBalancer can wait for a resolver")
	}
	return NewBalancer(Config{Strategy: s, Endpoints: Endpoints(addresses...)})
}

// NewBalancer returns a balancer. It panics if cfg is not valid.
func NewBalancer(cfg Config) *Balancer {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	b := newBalancer(cfg)
	if len(cfg.Endpoints) > 0 {
		b.mustUpdate(cfg.Endpoints)
	}
	return b
}

func newBalancer(cfg Config) *Balancer {
	b := &Balancer{
		strategy: cfg.Strategy,
		health:   cfg.Health.defaults(),
		wait:     cmp.Or(cfg.Wait, 5*time.Second),
		maxStale: cmp.Or(cfg.MaxStale, 10*time.Minute),
		onChange: cfg.OnChange,
		seed:     rand.Uint64(),
		ready:    make(chan struct{}),
		nodes:    map[string]*Node{},
		after: func(d time.Duration, f func()) func() {
			t := time.AfterFunc(d, f)
			return func() { t.Stop() }
		},
	}
	if b.strategy.make == nil {
		b.strategy = PeakEWMA()
	}
	return b
}

func (b *Balancer) mustUpdate(endpoints []Endpoint) {
	if err := b.Update(endpoints...); err != nil {
		panic(err.Error())
	}
}

// String returns "balance(strategy over n)".
func (b *Balancer) String() string {
	return fmt.Sprintf("balance(%s over %d)", b.strategy.name, len(b.Nodes()))
}

// Traits states that the balancer picks.
func (b *Balancer) Traits() backstay.Traits { return backstay.Traits{Picks: true} }

// Nodes returns the endpoints, in the order they were given.
func (b *Balancer) Nodes() []*Node {
	if s := b.set.Load(); s != nil {
		return slices.Clone(s.nodes)
	}
	return nil
}

// Addresses returns the addresses of the endpoints, in the order they were
// given.
func (b *Balancer) Addresses() []string {
	var addresses []string
	for _, n := range b.Nodes() {
		addresses = append(addresses, n.address)
	}
	return addresses
}

// Wrap returns next with an endpoint picked for each call. In a Policy the
// balancer sees the breakers beneath it too, and passes over endpoints whose
// breaker is open.
func (b *Balancer) Wrap(next backstay.Func) backstay.Func { return b.WrapOver(next, nil) }

// now returns when the call began, which most of the policy reads too.
func (b *Balancer) now(call *backstay.Call) time.Duration {
	if b.clock != nil {
		return b.clock()
	}
	return call.Began()
}

// ended returns when the call had its answer.
func (b *Balancer) ended(call *backstay.Call) time.Duration {
	if b.clock != nil {
		return b.clock()
	}
	return call.Ended()
}

// time returns the present, where there is no call.
func (b *Balancer) time() time.Duration {
	if b.clock != nil {
		return b.clock()
	}
	return clock.Now()
}

// draw returns random bits, where there is no query.
func (b *Balancer) draw() uint64 {
	if b.random != nil {
		return b.random()
	}
	return rand.Uint64()
}

// place returns where n is in the balancer's own order.
func (b *Balancer) place(n *Node) uint64 {
	d := xxhash.NewWithSeed(b.seed)
	_, _ = d.WriteString(n.address)
	return d.Sum64()
}

// unlock gives the mutex back and then calls the functions that are queued, in
// order and one at a time: they may use the balancer.
func (b *Balancer) unlock() {
	defer b.mu.Unlock()
	for !b.handling && len(b.queue) > 0 {
		f := b.queue[0]
		b.queue = b.queue[1:]
		b.handle(f)
	}
}

// handle calls f without the mutex. A panic of f is not that of the call which
// it is told of; should f end the goroutine, others go on with the queue.
func (b *Balancer) handle(f func()) {
	b.handling = true
	b.mu.Unlock()
	defer func() {
		_ = recover()
		b.mu.Lock()
		b.handling = false
	}()
	f()
}

// wrapping is what WrapOver finds beneath the balancer.
type (
	// A blocker turns calls away by their endpoint. One that Judges is a breaker;
	// another knows which endpoints are connected.
	blocker interface{ Blocks(endpoint string) bool }
	// A forgetter keeps something for each endpoint.
	forgetter interface{ Forget(endpoint string) }
)

// WrapOver returns next with an endpoint picked for each call, given the
// middleware beneath.
func (b *Balancer) WrapOver(next backstay.Func, below []backstay.Middleware) backstay.Func {
	b.mustBeMade()
	s := &seat{balancer: b, next: next}
	for _, m := range below {
		p, ok := m.(backstay.Part)
		if !ok || !p.Traits().NeedsEndpoint {
			continue
		}
		if g, ok := m.(blocker); ok {
			s.blockers = append(s.blockers, g)
			s.connects = s.connects || !p.Traits().Judges
		}
		if g, ok := m.(forgetter); ok {
			b.remember(g)
		}
	}
	if s.connects {
		return s.connected
	}
	return s.run
}

// remember has g told of endpoints that have left, once however many policies
// it is in.
func (b *Balancer) remember(g forgetter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !reflect.TypeOf(g).Comparable() || !slices.Contains(b.groups, g) {
		b.groups = append(b.groups, g)
	}
}

func (b *Balancer) mustBeMade() {
	if b.ready == nil {
		panic("loadbalance: this Balancer was not made with New; loadbalance.New(loadbalance.PeakEWMA(), \"10.0.0.1:80\") makes one")
	}
}

// current returns the nodes, and waits for the first where there were none yet.
func (b *Balancer) current(ctx context.Context, call *backstay.Call) (*set, error) {
	if s := b.set.Load(); s != nil {
		return s, nil
	}
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-b.ready:
		call.Waited() // which is no latency of the endpoint
		return b.set.Load(), nil
	case <-t.C:
		return nil, b.none(cause{text: fmt.Sprintf("none were found in %v; Update or Follow brings them", b.wait), empty: true})
	case <-ctx.Done():
		return nil, &backstay.Error{NotSent: true, Class: backstay.Classify(ctx.Err()), Err: fmt.Errorf("loadbalance: waiting for the first endpoints, which Update or Follow brings: %w", ctx.Err())}
	}
}

// none returns the error of a call that no endpoint can be given.
func (b *Balancer) none(c cause) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stale()
	return &NoEndpointError{Why: c.text, Err: b.lookup.Err, final: c.final, empty: c.empty}
}
