package grpccall

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// unary is the interceptor of unary calls.
func (c *client) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	r := &Request{Method: method, Message: req, client: c, ctx: ctx, conn: cc, reply: reply, blank: before(reply), invoker: invoker}
	r.take(opts)
	if err := c.ready(r); err != nil {
		r.tell(nil, err)
		return err
	}
	if limit := r.serviceTimeout(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	resp, err := c.call(ctx, r)
	if !same(resp, reply) {
		r.end()
		if err == nil {
			err = r.deliver(resp)
		}
	}
	if err == nil && r.wants == nil {
		return nil
	}
	final := r.final(resp, err)
	err = c.outward(err)
	r.tell(final, err)
	return err
}

// invoke makes one attempt of a unary call.
func (c *client) invoke(ctx context.Context, call *backstay.Call, r *Request) (any, error) {
	a := r.attempt(call)
	if a == nil {
		return nil, context.Canceled
	}
	a.start(ctx, call, c, r)
	defer a.over()
	defer a.moved(call)
	err := r.invoker(a, r.Method, a.message, a.reply, r.conn, a.options(r)...)
	if err != nil {
		err = c.failure(ctx, r, a, err)
		a.finish(err)
		r.drop(a)
		return nil, err
	}
	return a.reply, nil
}

// deliver copies what another attempt than the first has decoded, or a
// middleware has set, to where the caller expects it.
func (r *Request) deliver(resp any) error {
	if resp == nil {
		return status.Errorf(codes.Internal, "grpccall: a middleware of the policy returned no error and no reply to %s", r.Method)
	}
	if !transfer(r.reply, resp) {
		return status.Errorf(codes.Internal, "grpccall: a middleware of the policy set a %T as the reply to %s, which is a %T", resp, r.Method, r.reply)
	}
	return nil
}

// final returns the attempt that the call ended with, or nil.
func (r *Request) final(resp any, err error) *attempt {
	if err == nil {
		return r.find(resp)
	}
	if f := failureIn(err); f != nil {
		return f.attempt
	}
	return nil
}
