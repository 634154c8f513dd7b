package grpccall

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

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
	// what it likes. One that cannot be copied, being no message of protobuf's or
	// a type around one, is shared by attempts that overlap, so the caller must
	// leave it alone until the last of them has ended.
	Message any

	client     *client
	ctx        context.Context // the caller's
	conn       *grpc.ClientConn
	opts       []grpc.CallOption // the caller's, without what wants
	wants      *wants            // nil for most
	idempotent bool

	reply   any // the caller's
	blank   any // as before returns it
	invoker grpc.UnaryInvoker

	streamer grpc.Streamer
	stream   *stream

	begun bool    // the first attempt is
	first attempt // here, so that it costs no allocation of its own

	mu     sync.Mutex
	others []*attempt // that are not the first
	over   bool       // the caller has what it gave us back
}

// RPC returns the RPC system, which is "grpc", and the method's full name
// without the leading slash.
func (r *Request) RPC() (system, method string) {
	return "grpc", strings.TrimPrefix(r.Method, "/")
}

// Streams reports whether the call is a stream, on which an answer may begin when
// something happens. Balancers ask.
func (r *Request) Streams() bool { return r.stream != nil }

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

// tell lets the caller's options know that the call is over.
func (r *Request) tell(final *attempt, err error) {
	r.show(final)
	r.finish(err)
}

// show writes what the caller wants to know of the call, as its final attempt
// has it: nothing where there was none that reached a server.
func (r *Request) show(final *attempt) {
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
	at := final.peer
	if at.Addr == (nowhere{}) {
		at = peer.Peer{}
	}
	for _, p := range w.peers {
		*p = at
	}
}

// finish calls the caller's functions for the end of the call.
func (r *Request) finish(err error) {
	if r.wants == nil {
		return
	}
	for _, f := range r.wants.finish {
		f(err)
	}
}

// attempt returns the next one, or nil if the call is over. Only the first can be
// that which the request has room for, and use the caller's messages: others may
// overlap, and a loser whose goroutine starts late must not read the message of a
// caller who has it back.
func (r *Request) attempt(call *backstay.Call) *attempt {
	if call.Alone() && !r.begun {
		r.begun = true
		r.first.message, r.first.reply = r.Message, r.reply
		return &r.first
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return nil
	}
	a := &attempt{message: clone(r.Message), reply: fresh(r.blank)}
	r.others = append(r.others, a)
	return a
}

// drop forgets the messages of an attempt that has failed.
func (r *Request) drop(a *attempt) {
	if a == &r.first {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a.message, a.reply = nil, nil
	r.others = slices.DeleteFunc(r.others, func(o *attempt) bool { return o == a })
}

// end says that the messages are the caller's again.
func (r *Request) end() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
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

// serviceTimeout returns the time that the channel's service config gives a call
// of the method, or 0. gRPC would give it to each attempt.
func (r *Request) serviceTimeout() time.Duration {
	if r.conn == nil {
		return 0
	}
	if limit := r.conn.GetMethodConfig(r.Method).Timeout; limit != nil {
		return *limit
	}
	return 0
}
