package grpccall

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A picker says which connection a call goes over. There is one for each
// connector: what it goes by is there.
type picker struct {
	connector *connector
	methods   methods
	alone     func(context.Context, *walkIn) (*loadbalance.Lease, error)
}

// A walkIn is an attempt of a call that is under no policy.
type walkIn struct {
	desk   *loadbalance.Desk
	method method
}

// Streams reports whether the call is a stream, which its definition says.
func (w *walkIn) Streams() bool { return w.method.streams }

func newPicker(g *connector) *picker {
	p := &picker{connector: g}
	p.methods.of = defined
	p.alone = backstay.Bind(nil, backstay.Op[*walkIn, *loadbalance.Lease]{
		Name: "gRPC",
		Prepare: func(call *backstay.Call, w *walkIn) {
			call.Op, call.Unsafe = w.method.op, !w.method.idempotent
		},
		Do: func(ctx context.Context, call *backstay.Call, w *walkIn) (*loadbalance.Lease, error) {
			return w.desk.Pick(ctx, call)
		},
	})
	return p
}

// Pick returns the connection for one attempt: that to the endpoint which the
// policy has picked, or to one that is picked now.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	src := p.connector.source.Load()
	if src == nil {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable // closed
	}
	if src.fault != nil {
		return balancer.PickResult{}, src.fault
	}
	a := attemptOf(info.Ctx)
	if a != nil && a.endpoint != "" && a.channel == src.channel {
		return p.pinned(src, a, info)
	}
	return p.late(src, a, info)
}

// pinned returns the connection to the endpoint of a. Where that has none and
// others have, a fails, so that the policy picks one of those. But one that is
// being connected had a connection when it was picked, or its key has no other
// endpoint: then a goes to another at once, or waits. So does one that had its
// connection and comes again: gRPC makes again what no server has looked at,
// which the policy does not know, and of a stream could not; or it retries, as
// the service config has it. If there is no other, it goes back.
func (p *picker) pinned(src *source, a *attempt, info balancer.PickInfo) (balancer.PickResult, error) {
	g := p.connector
	l := (*g.leaves.Load())[a.endpoint]
	k := link{}
	switch {
	case l != nil:
		k = *l.link.Load()
	case a.channel.own:
		g.connect(a.endpoint, dial(a.endpoint))
	default:
		k.refusal = src.stranger(a.endpoint)
	}
	others := g.ready.Load() > 0
	switch {
	case k.state == connectivity.Ready:
		return p.home(src, a, info, k.result), nil
	case a.placed.Load(), others && k.refusal == nil:
		result, err := p.late(src, a, info)
		switch {
		case err == errTurnedAway && k.refusal != nil:
			a.refuse()
		case err == errTurnedAway:
			err = balancer.ErrNoSubConnAvailable // it may be connected soon
		}
		if err == balancer.ErrNoSubConnAvailable && a.channel.barred() {
			g.lookAgain()
		}
		return result, err
	case others || l == nil && k.refusal != nil:
		a.refuse()
		return balancer.PickResult{}, k.refusal
	case k.err == nil:
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	return balancer.PickResult{}, k.err
}

// home returns the connection to the endpoint of a, which is result; or to
// another, where a has been there.
func (p *picker) home(src *source, a *attempt, info balancer.PickInfo, result balancer.PickResult) balancer.PickResult {
	if a.placed.Load() {
		if other, err := p.late(src, a, info); err == nil {
			l := a.leased.Load()
			if l == nil || l.Address() != a.endpoint {
				return other
			}
			p.giveBack(a, l)
		}
	}
	a.place()
	return result
}

// repicks bounds how often a pick is made that finds its connection lost.
const repicks = 3

// late picks an endpoint and returns the connection to it.
func (p *picker) late(src *source, a *attempt, info balancer.PickInfo) (balancer.PickResult, error) {
	g := p.connector
	switch s := g.now.Load(); s.state {
	case connectivity.Ready:
	case connectivity.TransientFailure:
		return balancer.PickResult{}, s.err
	default:
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	m := p.methods.get(info.FullMethodName)
	err := balancer.ErrNoSubConnAvailable
	for range repicks {
		lease, none := p.lease(src, a, info.Ctx, m)
		switch {
		case none != nil && g.source.Load() != src:
			return balancer.PickResult{}, balancer.ErrNoSubConnAvailable // there is another, which gRPC is about to be told
		case none != nil:
			return balancer.PickResult{}, src.refusal(none)
		}
		if src.turnsAway(lease.Address()) { // so do all: the desk passes over those that do
			p.giveBack(a, lease)
			return balancer.PickResult{}, errTurnedAway
		}
		if l := (*g.leaves.Load())[lease.Address()]; l != nil {
			k := l.link.Load()
			if k.state == connectivity.Ready {
				return balancer.PickResult{SubConn: k.result.SubConn, Done: onDone(info.Ctx, lease)}, nil
			}
			if err = k.err; err == nil {
				err = balancer.ErrNoSubConnAvailable
			}
		}
		p.giveBack(a, lease)
	}
	return balancer.PickResult{}, err
}

// errTurnedAway is the end of a pick that no breaker lets through. No breaker
// stands beneath the pick, which would turn the attempt away.
var errTurnedAway = status.Error(codes.Unavailable, "grpccall: the circuit breakers of all endpoints that are connected turn calls away")

// giveBack ends the lease of a, which goes nowhere by it.
func (p *picker) giveBack(a *attempt, lease *loadbalance.Lease) {
	if a != nil {
		a.leased.CompareAndSwap(lease, nil)
	}
	lease.End(errNotSent)
}

// lease picks with the Call of the attempt, so that it knows where the call has
// been, or with one that is made for that.
func (p *picker) lease(src *source, a *attempt, ctx context.Context, m method) (lease *loadbalance.Lease, err error) {
	if a == nil || a.target != p.connector.target { // an interceptor may call another channel with the context of an attempt
		return p.alone(ctx, &walkIn{src.desk, m})
	}
	if !a.lend(func(call *backstay.Call) { lease, err = src.desk.Pick(ctx, call) }) {
		lease, err = a.again(ctx, src.desk, m)
	}
	a.leased.Store(lease)
	return lease, err
}

// again picks for an attempt at a stream that gRPC makes again on a goroutine of
// its own: for a call like the one that it is of.
func (a *attempt) again(ctx context.Context, desk *loadbalance.Desk, m method) (*loadbalance.Lease, error) {
	pick := backstay.Bind(nil, backstay.Op[*Request, *loadbalance.Lease]{
		Name: m.op,
		Prepare: func(call *backstay.Call, _ *Request) {
			call.Target, call.IdempotencyKey, call.Unsafe, call.Attempt = authority(a.target), a.key, a.unsafe, a.number
			for _, address := range a.tried {
				call.Try(address, nil)
			}
		},
		Do: func(ctx context.Context, call *backstay.Call, _ *Request) (*loadbalance.Lease, error) {
			return desk.Pick(ctx, call)
		},
	})
	lease, err := pick(ctx, a.request)
	if err == nil && !slices.Contains(a.tried, lease.Address()) {
		a.tried = append(a.tried, lease.Address())
	}
	return lease, err
}

// errNotSent ends the lease of what no server has seen.
var errNotSent = &backstay.Error{NotSent: true, Class: backstay.Transient, Err: errors.New("grpccall: not sent")}

// onDone returns what gRPC is to call when the attempt has ended.
func onDone(ctx context.Context, lease *loadbalance.Lease) func(balancer.DoneInfo) {
	return func(info balancer.DoneInfo) { lease.End(outcome(ctx, info)) }
}

// outcome returns the end of an attempt as what it means for its endpoint.
func outcome(ctx context.Context, info balancer.DoneInfo) error {
	switch {
	case !info.BytesSent:
		return errNotSent
	case info.Err == nil:
		return nil
	}
	st := status.Convert(info.Err)
	if ctx.Err() != nil && (st.Code() == codes.Canceled || st.Code() == codes.DeadlineExceeded) {
		return ctx.Err()
	}
	return &backstay.Error{Class: ClassifyStatus(st), Type: nameOf(st.Code()), Err: info.Err}
}

// blocks reports whether the endpoint at address has no connection. One that the
// connector does not know yet is connected.
func (g *connector) blocks(address string) bool {
	l := (*g.leaves.Load())[address]
	if l != nil {
		return l.link.Load().state != connectivity.Ready
	}
	if src := g.source.Load(); src != nil && !src.fed() {
		g.connect(address, dial(address))
		src.channel.leave(address) // which it may have since the pick began
	}
	return true
}

// defined returns what the definition of a method says, if the program has it.
func defined(name string) method {
	m := method{op: strings.TrimPrefix(name, "/")}
	m.idempotent = levelOf(m.op) != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	if d := descriptorOf(m.op); d != nil {
		m.streams = d.IsStreamingClient() || d.IsStreamingServer()
	}
	return m
}
