package grpccall

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A channel is what the interceptors of a gRPC channel share with its balancer,
// where the policy has the balancer that picks: the policy picks an endpoint for
// each attempt, and the connections are made for the policy's endpoints.
type channel struct {
	id            string
	balancer      *loadbalance.Balancer
	stack         []backstay.Middleware
	breakers      []blocker // those of them that are by endpoint
	own           bool      // the endpoints come from elsewhere than a resolver
	health        health
	waitsForReady func(*backstay.Call) bool

	conn     atomic.Pointer[grpc.ClientConn]
	attached atomic.Pointer[connector] // nil until the first resolution, and while idle

	mu      sync.Mutex
	changed context.Context // ended by the next change, nil if nobody waits for one
	tell    context.CancelFunc
}

// newChannel returns the channel of a policy, or nil if the policy has no
// balancer.
func newChannel(p *backstay.Policy, cfg Config) *channel {
	c := &channel{
		stack:         p.Stack(),
		health:        health{service: cfg.HealthService, off: cfg.NoHealth},
		waitsForReady: func(*backstay.Call) bool { return false },
	}
	at := slices.IndexFunc(c.stack, picks)
	if at < 0 {
		return nil
	}
	if c.balancer, _ = c.stack[at].(*loadbalance.Balancer); c.balancer == nil {
		panic(fmt.Sprintf("grpccall: the policy picks endpoints with a %T, which knows nothing of connections; use a loadbalance.Balancer, with loadbalance.Custom for a strategy of your own", c.stack[at]))
	}
	c.own = cfg.IgnoreResolver || len(c.balancer.Addresses()) > 0 && !fed.has(c.balancer)
	for _, m := range c.stack[at:] {
		if b, ok := m.(blocker); ok && b.Traits().NeedsEndpoint {
			c.breakers = append(c.breakers, b)
		}
	}
	c.stack = append(slices.Insert(c.stack, at, backstay.Middleware(gate{c})), connected{c})
	c.follow()
	channels.add(c)
	return c
}

// A blocker turns calls away by their endpoint.
type blocker interface {
	backstay.Part
	Blocks(endpoint string) bool
}

// turnsAway reports whether a breaker beneath the balancer turns away what is for
// the endpoint at address.
func (c *channel) turnsAway(address string) bool {
	return slices.ContainsFunc(c.breakers, func(b blocker) bool { return b.Blocks(address) })
}

// barred reports whether a breaker turns calls away from what is connected.
func (c *channel) barred() bool {
	g := c.attached.Load()
	if g == nil || len(c.breakers) == 0 {
		return false
	}
	for address, l := range *g.leaves.Load() {
		if l.link.Load().state == connectivity.Ready && c.turnsAway(address) {
			return true
		}
	}
	return false
}

// picks reports whether m picks endpoints.
func picks(m backstay.Middleware) bool {
	p, ok := m.(backstay.Part)
	return ok && p.Traits().Picks
}

// policy returns the policy with what the channel adds to it: a gate above the
// balancer, and innermost what tells it which endpoints are connected.
func (c *channel) policy() *backstay.Policy { return backstay.New(c.stack...) }

// follow drops the connections to endpoints that the balancer has let go. The
// balancer does not keep c alive: it may outlive many channels.
func (c *channel) follow() {
	self := weak.Make(c)
	c.balancer.OnLeave(func(address string) {
		if c := self.Value(); c != nil && c.own {
			c.leave(address)
		}
	})
}

// attach says that g makes the connections from now on. Those to endpoints that
// have left while it did not are dropped.
func (c *channel) attach(g *connector) {
	c.attached.Store(g)
	if c.own {
		for address := range *g.leaves.Load() {
			c.leave(address)
		}
	}
}

func (c *channel) leave(address string) {
	if g := c.attached.Load(); g != nil && !slices.Contains(c.balancer.Addresses(), address) {
		g.drop(address)
	}
}

// serviceConfig returns a service config with the balancer added to it.
func (c *channel) serviceConfig(text string) string {
	if text == "" {
		text = "{}"
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		panic(err) // of what is valid
	}
	for _, taken := range []string{"loadBalancingConfig", "loadBalancingPolicy"} {
		if _, ok := fields[taken]; ok {
			panic(fmt.Sprintf("grpccall: the ServiceConfig has a %s, and the policy has a balancer; keep one of them", taken))
		}
	}
	fields["loadBalancingConfig"] = json.RawMessage(fmt.Sprintf(`[{%q:{"channel":%q}}]`, Name, c.id))
	whole, err := json.Marshal(fields)
	if err != nil {
		panic(err) // of what has been parsed before
	}
	return string(whole)
}

// serve says that cc has a call.
func (c *channel) serve(cc *grpc.ClientConn) {
	if c.conn.Load() != cc {
		c.conn.Store(cc)
	}
	c.wake()
}

// wake has the gRPC channel look for endpoints if it is idle. gRPC does so when a
// call reaches it, and ours wait for endpoints before they get there.
func (c *channel) wake() {
	if conn := c.conn.Load(); conn != nil && c.attached.Load() == nil {
		conn.Connect()
	}
}

// blocks reports whether the endpoint at address is not connected, as far as
// that is known. Asking for one that is new has it connected.
func (c *channel) blocks(address string) bool {
	g := c.attached.Load()
	return g != nil && g.blocks(address)
}

// why returns what the channel knows of why a call found no endpoint, or "".
func (c *channel) why() string {
	if g := c.attached.Load(); g != nil {
		if err := g.trouble(); err != nil {
			return err.Error()
		}
		if len(c.balancer.Nodes()) == 0 {
			return "the balancer of the policy has no endpoints"
		}
		return ""
	}
	conn := c.conn.Load()
	if conn == nil || conn.GetState() == connectivity.Ready {
		return ""
	}
	return fmt.Sprintf("the resolver of %s has not found any address yet, or the service config of the channel chooses another balancer", conn.CanonicalTarget())
}

// next returns a context that ends when something changes in the connections.
func (c *channel) next() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed, c.tell = context.WithCancel(context.Background())
	}
	return c.changed
}

// notify tells those who wait that something has changed.
func (c *channel) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed != nil {
		c.tell()
		c.changed, c.tell = nil, nil
	}
}
