package grpccall

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/backstay-go/backstay"
)

// A Request is what middleware sees of a gRPC call, with
// backstay.Peek[*grpccall.Request]. It is for reading. What an attempt sends as
// metadata is in its context, and changed there.
type Request struct {
	// Method is the full name, such as "/orders.v1.Orders/Get".
	Method string

	// Message is what is sent, or nil for a stream on which the client sends
	// what it likes.
	Message any

	client     *client
	ctx        context.Context // the caller's
	conn       *grpc.ClientConn
	opts       []grpc.CallOption // the caller's, without what wants
	wants      *wants            // nil for most
	idempotent bool

	reply   any // the caller's
	invoker grpc.UnaryInvoker

	streamer grpc.Streamer
	stream   *stream

	mu     sync.Mutex
	others []*attempt // that are not the first
	begun  bool       // the first is
	first  attempt    // here, so that it costs no allocation of its own
}

// RPC returns the RPC system, which is "grpc", and the method's full name
// without the leading slash.
func (r *Request) RPC() (system, method string) {
	return "grpc", strings.TrimPrefix(r.Method, "/")
}

// SetHeader returns ctx with the metadata to be sent in which key has this value
// only; without any if value is empty.
func (r *Request) SetHeader(ctx context.Context, key, value string) context.Context {
	if value == "" && len(metadata.ValueFromOutgoingContext(ctx, key)) == 0 {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = metadata.MD{}
	}
	md.Delete(key)
	if value != "" {
		md.Set(key, value)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// wants is what call options of the caller ask to be told of the call. Attempts
// may overlap, so each has it written for itself.
type wants struct {
	headers  []*metadata.MD
	trailers []*metadata.MD
	peers    []*peer.Peer
	finish   []func(error)
}

// take sets the options of the caller.
func (r *Request) take(opts []grpc.CallOption) {
	r.opts = opts
	for i, o := range opts {
		switch o.(type) {
		case idempotent:
			r.idempotent = true
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption:
			if r.wants == nil {
				r.wants = &wants{}
				r.opts = append(make([]grpc.CallOption, 0, len(opts)), opts[:i]...)
			}
			r.wants.add(o)
			continue
		}
		if r.wants != nil {
			r.opts = append(r.opts, o)
		}
	}
}

func (w *wants) add(o grpc.CallOption) {
	switch o := o.(type) {
	case grpc.HeaderCallOption:
		w.headers = append(w.headers, o.HeaderAddr)
	case grpc.TrailerCallOption:
		w.trailers = append(w.trailers, o.TrailerAddr)
	case grpc.PeerCallOption:
		w.peers = append(w.peers, o.PeerAddr)
	case grpc.OnFinishCallOption:
		w.finish = append(w.finish, o.OnFinish)
	}
}

// tell writes what the caller wants to know of the call, as its final attempt
// has it: nothing where there was none that reached a server.
func (r *Request) tell(final *attempt, err error) {
	w := r.wants
	if w == nil {
		return
	}
	if final == nil {
		final = &attempt{}
	}
	for _, h := range w.headers {
		*h = final.header
	}
	for _, t := range w.trailers {
		*t = final.trailer
	}
	for _, p := range w.peers {
		*p = final.peer
	}
	for _, f := range w.finish {
		f(err)
	}
}

// attempt returns the next one. Only the first can be that which the request has
// room for, and only where no other may overlap with it.
func (r *Request) attempt(call *backstay.Call) *attempt {
	if call.Alone() && !r.begun {
		r.begun = true
		return &r.first
	}
	a := &attempt{}
	r.mu.Lock()
	r.others = append(r.others, a)
	r.mu.Unlock()
	return a
}

// find returns the attempt that decoded reply, or nil.
func (r *Request) find(reply any) *attempt {
	if same(r.first.reply, reply) {
		return &r.first
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.others {
		if same(a.reply, reply) {
			return a
		}
	}
	return nil
}

// serviceRetries reports whether the channel's service config has gRPC retry the
// method.
func (r *Request) serviceRetries() bool {
	return r.conn != nil && r.conn.GetMethodConfig(r.Method).RetryPolicy != nil
}
