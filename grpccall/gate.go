package grpccall

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A gate stands directly above the balancer and holds calls back while nothing
// is connected yet, as gRPC does before it picks: a call that picked now would
// wait for its own endpoint, which may be the one that never answers.
type gate struct{ channel *channel }

func (g gate) String() string          { return "ready" }
func (g gate) Traits() backstay.Traits { return backstay.Traits{} }

func (g gate) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if g.channel.connecting() {
			if err := g.channel.settle(ctx); err != nil {
				return err
			}
			call.Waited() // which is no latency of an endpoint
		}
		switch {
		case g.channel.over():
			return errClosed
		case g.channel.deposed(ctx):
			return errDeposed
		}
		mark := call.Begin()
		err := next(ctx, call)
		if !g.persists(call, err) {
			return err
		}
		return g.persist(ctx, call, call.Split(mark), next, err)
	}
}

// connecting reports whether nothing is connected yet, and may be soon.
func (c *channel) connecting() bool {
	g := c.attached.Load()
	if g == nil {
		return c.resolving()
	}
	return g.now.Load().state == connectivity.Connecting && len(*g.leaves.Load()) > 0
}

// resolving reports whether gRPC is looking for addresses, which it does again
// for a call that waits where it has become idle: it does not count that.
func (c *channel) resolving() bool {
	c.wake()
	conn := c.conn.Load()
	return conn != nil && conn.GetState() == connectivity.Connecting
}

// settle waits until something is connected, or nothing can be. Should gRPC let
// the channel become idle meanwhile, which takes the connections away that are
// being made, the call is to wait where gRPC counts it.
func (c *channel) settle(ctx context.Context) error {
	var first *connector
	for c.connecting() {
		now := c.attached.Load()
		if first == nil {
			first = now
		} else if now != first {
			return nil
		}
		changed, stop := context.WithCancel(ctx)
		release := context.AfterFunc(c.next(), stop)
		switch conn := c.conn.Load(); {
		case !c.connecting(): // since before next
		case c.attached.Load() == nil && conn != nil:
			conn.WaitForStateChange(changed, connectivity.Connecting)
		default:
			<-changed.Done()
		}
		release()
		stop()
		if ctx.Err() != nil {
			return tired(ctx, c.why())
		}
	}
	return nil
}

// persists reports whether the call would rather wait than fail with err. Only
// wait-for-ready calls do, and only for endpoints and connections.
func (g gate) persists(call *backstay.Call, err error) bool {
	if err == nil || backstay.Classify(err) != backstay.Transient {
		return false
	}
	switch backstay.TypeOf(err) {
	case noEndpoint:
		return empty(err) && g.channel.waitsForReady(call)
	case notConnected:
		return g.channel.waitsForReady(call)
	}
	return false
}

// The types of errors for which a call may wait.
const (
	noEndpoint   = "no_endpoint"
	notConnected = "not_connected"
)

// empty reports whether err is that the balancer had no endpoints. It may have
// some by now.
func empty(err error) bool {
	none, ok := errors.AsType[*loadbalance.NoEndpointError](err)
	return ok && none.Empty()
}

// errClosed is the end of a call on a channel that is closed: what gRPC says.
var errClosed = &backstay.Error{Err: status.Error(codes.Canceled, "grpc: the client connection is closing"), Class: backstay.Canceled, NotSent: true}

// over reports whether the gRPC channel is closed. One with a connector is not,
// which costs less to see.
func (c *channel) over() bool {
	if c.attached.Load() != nil {
		return false
	}
	conn := c.conn.Load()
	return conn != nil && conn.GetState() == connectivity.Shutdown
}

// persist makes the call again whenever something has changed, until it gets
// somewhere. Each time is a fork of its own, since what ended with err was sent,
// as far as the policy knows.
func (g gate) persist(ctx context.Context, call, last *backstay.Call, next backstay.Func, err error) error {
	defer func() {
		if last != nil { // a panic
			last.Discard(backstay.ErrPanicked)
		}
	}()
	for {
		if ctx.Err() != nil {
			err = tired(ctx, err.Error())
			break
		}
		changed := g.channel.next() // first, or a change while the call looks would be missed
		if g.channel.over() {
			err = errClosed
			break
		}
		g.channel.wake() // which is idle by now where nothing was found for long
		again, forkErr := call.Fork()
		if forkErr != nil {
			break
		}
		again.Attempt = call.Attempt
		failed := last
		last = again
		failed.Discard(err)
		if err = next(ctx, last); !g.persists(call, err) {
			break
		}
		wait(ctx, changed, backstay.TypeOf(err) == noEndpoint || g.channel.barred())
	}
	adopted := last
	last = nil
	call.Adopt(adopted)
	return err
}

// lookAgain is how often a call looks for what nobody tells of: the first
// endpoints of a balancer that gets them from elsewhere, and a breaker that lets
// calls pass again.
const lookAgain = 100 * time.Millisecond

// wait returns when one of the contexts has ended, or it is time to look.
func wait(ctx, changed context.Context, look bool) {
	var tick <-chan time.Time
	if look {
		t := time.NewTimer(lookAgain)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-changed.Done():
	case <-tick:
	case <-ctx.Done():
	}
}
