package grpccall

import (
	"context"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// A client is what the interceptors of a channel have in common.
type client struct {
	cfg     Config
	channel *channel // nil where the policy has no balancer
	methods methods
	conn    atomic.Pointer[connection] // the one that was used last
	call    func(context.Context, *Request) (any, error)
	open    func(context.Context, *Request) (grpc.ClientStream, error)
}

func newClient(p *backstay.Policy, cfg Config, ch *channel) *client {
	if cfg.BufferSize == 0 {
		cfg.BufferSize = 256 << 10
	}
	c := &client{cfg: cfg, channel: ch}
	if ch != nil {
		ch.waitsForReady = waitsForReady
		p = ch.policy()
	}
	c.methods.of = c.describe
	c.call = backstay.Bind(p, backstay.Op[*Request, any]{Name: "gRPC", Prepare: c.prepare, Do: c.invoke})
	c.open = backstay.Bind(p, backstay.Op[*Request, grpc.ClientStream]{
		Name: "gRPC", Prepare: c.prepare, Do: c.begin, Discard: discard, Hold: hold,
	})
	return c
}

// prepare tells the policy what kind of call it is.
func (c *client) prepare(call *backstay.Call, r *Request) {
	m := c.methods.get(r.Method)
	call.Op = m.op
	call.Unsafe = !m.idempotent && !r.idempotent
	if conn := c.connection(r.conn); conn != nil {
		call.Target, call.Traced = conn.target, conn.traced
	} else {
		call.Traced = c.cfg.Traced
	}
	if keys := metadata.ValueFromOutgoingContext(r.ctx, keyHeader); len(keys) > 0 {
		call.IdempotencyKey = keys[0]
	}
}

// ready readies the channel for a call, or says why there cannot be one.
func (c *client) ready(r *Request) error {
	switch keys := metadata.ValueFromOutgoingContext(r.ctx, keyHeader); {
	case len(keys) > 1:
		return status.Errorf(codes.InvalidArgument, "grpccall: the metadata %s has %d values; send one key, or leave it to idempotency.Keys", keyHeader, len(keys))
	case len(keys) == 1 && keys[0] == "":
		return status.Errorf(codes.InvalidArgument, "grpccall: the metadata %s is empty; send a key, or leave it to idempotency.Keys", keyHeader)
	}
	if r.conn == nil {
		return nil
	}
	if c.channel != nil {
		c.channel.serve(r.conn)
	}
	if c.cfg.ServiceRetry == RefuseServiceRetry && r.serviceRetries() {
		return status.Errorf(codes.FailedPrecondition, "grpccall: the service config has a retryPolicy for %s, and the policy would retry too; take one of them out, or set Config.ServiceRetry", r.Method)
	}
	return nil
}

// A connection is what is known of a channel.
type connection struct {
	of     *grpc.ClientConn
	whole  string // its target as it is
	target string
	traced bool
}

// connection returns what is known of cc. Interceptors mostly serve one.
func (c *client) connection(cc *grpc.ClientConn) *connection {
	if cc == nil {
		return nil
	}
	conn := c.conn.Load()
	if conn == nil || conn.of != cc {
		whole := cc.CanonicalTarget()
		conn = &connection{of: cc, whole: whole, target: authority(whole), traced: c.cfg.Traced || traced(cc)}
		c.conn.Store(conn)
	}
	return conn
}

// authority returns a target without its scheme and the server that resolves it.
func authority(target string) string {
	scheme, rest, ok := strings.Cut(target, ":")
	if !ok {
		return target
	}
	if scheme == "unix" {
		return strings.TrimPrefix(rest, "//") // a path
	}
	if rest, ok = strings.CutPrefix(rest, "//"); ok {
		_, rest, _ = strings.Cut(rest, "/")
	}
	if rest == "" {
		return target
	}
	return rest
}

// waitsForReady reports whether the caller would rather wait for a connection
// than fail.
func waitsForReady(call *backstay.Call) bool {
	r, ok := backstay.Peek[*Request](call)
	if !ok {
		return false
	}
	for i := len(r.opts) - 1; i >= 0; i-- {
		if o, ok := r.opts[i].(grpc.FailFastCallOption); ok {
			return !o.FailFast
		}
	}
	if r.conn == nil {
		return false
	}
	wait := r.conn.GetMethodConfig(r.Method).WaitForReady
	return wait != nil && *wait
}
