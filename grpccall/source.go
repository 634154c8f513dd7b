package grpccall

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A source is where a connector's picks come from: the balancer of a policy, or
// one of its own.
type source struct {
	balancer *loadbalance.Balancer
	desk     *loadbalance.Desk
	channel  *channel // whose policy it is, or nil
	fault    error    // why the channel is not to be used
}

// choose returns the source of picks that chosen asks for: the one there is if
// nothing has changed.
func (g *connector) choose(chosen *choice) *source {
	g.mu.Lock()
	before := g.choice
	g.choice = chosen
	g.mu.Unlock()
	src := g.source.Load()
	if src != nil && chosen.health() != before.health() {
		defer func() {
			for _, l := range *g.leaves.Load() {
				l.rewatch()
			}
		}()
	}
	switch {
	case src != nil && chosen.same(before):
		return src
	case chosen.channel != nil:
		return g.share(chosen.channel)
	}
	return g.open(&source{balancer: loadbalance.NewBalancer(loadbalance.Config{Strategy: chosen.config.strategy()})})
}

// open gives src a desk. An endpoint without a connection is passed over, and one
// that a breaker of the policy turns calls away from.
func (g *connector) open(src *source) *source {
	src.desk = src.balancer.Desk(func(address string) bool {
		return g.blocks(address) || src.turnsAway(address)
	})
	return src
}

// turnsAway reports whether a breaker of the policy turns away what is for the
// endpoint at address.
func (s *source) turnsAway(address string) bool {
	return s.channel != nil && s.channel.turnsAway(address)
}

// refusal returns err, for which there is no endpoint, as a status if a call that
// waits is not to wait for another, as its policy would not: gRPC has it wait for
// anything else until something changes in the connections, and that an endpoint
// is no longer ejected changes none.
func (s *source) refusal(err error) error {
	if backstay.Classify(err) == backstay.Permanent || s.channel != nil && !empty(err) {
		return status.Error(codes.Unavailable, err.Error())
	}
	return err
}

var errShared = errors.New("grpccall: the balancer of the policy serves another gRPC channel already; make a policy with a balancer of its own for each channel, or one DialOptions each where the balancer has endpoints of its own")

// share returns c as a source. Where another connector has it, the source has a
// fault until that is closed.
func (g *connector) share(c *channel) *source {
	if !c.own {
		fed.add(c.balancer)
	}
	src := g.open(&source{balancer: c.balancer, channel: c})
	if !claims.take(src.claim(), g) {
		src.fault = errShared
	}
	return src
}

// claim is what one connector can have at a time: to say what the endpoints of a
// balancer are, or to be what a channel is connected by.
func (s *source) claim() any {
	if s.channel.own {
		return s.channel
	}
	return s.balancer
}

// stranger returns why there is no connection to the endpoint at address, which
// the resolver has not found: it has left, or somebody else has brought it.
func (s *source) stranger(address string) error {
	why := "the resolver does not have it any more"
	if slices.Contains(s.balancer.Addresses(), address) {
		why = "the balancer of the policy has it from elsewhere than the resolver; set Config.IgnoreResolver where Follow or Update brings the endpoints"
	}
	return status.Error(codes.Unavailable, "grpccall: no connection to "+address+": "+why)
}

// fed reports whether the source gets its endpoints from the resolver.
func (s *source) fed() bool { return s.channel == nil || !s.channel.own }

// use has picks come from src.
func (g *connector) use(src *source) {
	before := g.source.Swap(src)
	if src.channel != nil && src.fault == nil {
		src.channel.attach(g)
	}
	if before != nil && before != src {
		before.close(g)
	}
}

// close ends the use of s by g. Calls go on, and nothing waits for them.
func (s *source) close(g *connector) {
	if s.channel == nil {
		ended, end := context.WithCancel(context.Background())
		end()
		_ = s.balancer.Close(ended) // tells that there are calls, which end in their own time
		return
	}
	s.channel.attached.CompareAndSwap(g, nil)
	s.channel.notify()
	if next := claims.leave(s.claim(), g); next != nil {
		next.succeed()
	}
}

// succeed is called when the channel that g waited for is free.
func (g *connector) succeed() {
	g.updating.Lock()
	defer g.updating.Unlock()
	src := g.source.Load()
	if src == nil || src.fault == nil {
		return
	}
	g.hold()
	defer g.flush()
	free := g.open(&source{balancer: src.balancer, channel: src.channel})
	_ = g.resolved(free, g.state) // the resolver has been told
	g.source.Store(free)
	free.channel.attach(g)
}
