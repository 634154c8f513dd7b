package grpccall

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/deadline"
	"github.com/backstay-go/backstay/loadbalance"
)

// Metadata of ours.
const (
	previousAttempts = "grpc-previous-rpc-attempts" // gRFC A6
	keyHeader        = "idempotency-key"
)

// An attempt is one at a gRPC call: the context that it is made with, and what
// becomes of it.
type attempt struct {
	context.Context
	request  *Request
	key      string // the idempotency key, or ""
	unsafe   bool
	number   int      // which attempt of its call it is
	tried    []string // of a stream: where its call has been, see remember
	target   string   // of its channel, or ""
	endpoint string   // where the policy's balancer sends it, or ""
	channel  *channel

	opts    [4]grpc.CallOption // room for those that most have
	header  metadata.MD
	trailer metadata.MD
	peer    peer.Peer
	message any     // of a unary one
	reply   any     // of a unary one
	end     *ending // of a stream

	placed  atomic.Bool                       // it was given a connection to its endpoint
	refused atomic.Bool                       // its endpoint has no connection, and others have
	leased  atomic.Pointer[loadbalance.Lease] // of what was picked late, or nil
	told    atomic.Bool                       // gRPC has told the end of it
	toldErr error                             // with which; to be read once told is true

	mu   sync.Mutex
	call *backstay.Call // while it may be used
}

// attemptKey is the key of the attempt in the contexts made of it.
type attemptKey struct{}

// attemptOf returns the attempt that ctx belongs to, or nil.
func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// Value returns the attempt itself, or what the policy's context has.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Deadline returns when the attempt has to end, which goes to the server. The
// time for the first answer is not that of a stream.
func (a *attempt) Deadline() (time.Time, bool) {
	if a.end != nil {
		return deadline.Lasting(a.Context)
	}
	return a.Context.Deadline()
}

// start makes a an attempt under ctx.
func (a *attempt) start(ctx context.Context, call *backstay.Call, c *client, r *Request) {
	a.Context = outgoing(ctx, call)
	a.peer.Addr = nowhere{}
	a.call, a.request, a.key, a.unsafe, a.number = call, r, call.IdempotencyKey, call.Unsafe, call.Attempt
	if conn := c.connection(r.conn); conn != nil {
		a.target = conn.whole
	}
	if c.channel != nil {
		a.endpoint, a.channel = call.Endpoint, c.channel
	}
}

// lend calls f with the attempt's Call, if that can be used now, and reports
// whether it did.
func (a *attempt) lend(f func(call *backstay.Call)) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.call == nil {
		return false
	}
	f(a.call)
	return true
}

// answered says that the answer to a has begun to come.
func (a *attempt) answered() {
	if l := a.leased.Load(); l != nil {
		l.Answered()
	}
}

// finish ends the lease of a, which has failed with err, in case gRPC does not:
// two replies are a failure after which it leaves a call as it is.
func (a *attempt) finish(err error) {
	if l := a.leased.Load(); l != nil {
		l.End(err)
	}
}

// over says that the Call is not to be used any more.
func (a *attempt) over() {
	a.mu.Lock()
	a.call = nil
	a.mu.Unlock()
}

// place says that the attempt has a connection to its endpoint.
func (a *attempt) place() {
	a.placed.Store(true)
	if a.leased.Load() != nil {
		a.leased.Store(nil) // it was elsewhere, and is back
	}
}

// moved tells the policy where the attempt has been if that is not where the
// policy's balancer sent it. One that is back was elsewhere for a while.
func (a *attempt) moved(call *backstay.Call) {
	if a.endpoint == "" {
		return
	}
	call.Endpoint = a.endpoint
	if l := a.leased.Load(); l != nil && l.Address() != a.endpoint {
		call.Move(l.Address())
	}
}

// remember keeps where the call has been, for picks that are made when the Call
// is not to be used any more.
func (a *attempt) remember(call *backstay.Call, room []string) { a.tried = call.AppendTried(room) }

// refuse says that the endpoint of the attempt has no connection while others
// have one.
func (a *attempt) refuse() { a.refused.Store(true) }

// options returns the caller's options and those by which the attempt learns
// what becomes of it. They are not the caller's own variables, since attempts may
// overlap.
func (a *attempt) options(r *Request) []grpc.CallOption {
	opts := append(a.opts[:0], r.opts...)
	opts = append(opts, grpc.Trailer(&a.trailer), grpc.Peer(&a.peer), grpc.OnFinish(a.finished))
	if r.wants != nil {
		opts = append(opts, grpc.Header(&a.header))
	}
	return opts[:len(opts):len(opts)] // or two who append to it would share what follows
}

// finished is told by gRPC that the attempt is over. The first time counts: what
// stands between us and gRPC may send more than once.
func (a *attempt) finished(err error) {
	a.mu.Lock()
	if !a.told.Load() {
		a.toldErr = err
		a.told.Store(true)
	}
	a.mu.Unlock()
	if a.end != nil {
		a.end.with(err)
	}
}

// nowhere is the peer of an attempt that gRPC has had no stream for. That there
// is no address proves nothing, for some connections have none.
type nowhere struct{}

func (nowhere) Network() string { return "" }
func (nowhere) String() string  { return "" }

// unsent reports whether it is sure that no server has seen the attempt, which
// has ended with err: gRPC has ended it with that very error, and never had a
// stream for it on a connection. Otherwise what stands between us and gRPC has
// kept our options from it, or has sent something else since.
func (a *attempt) unsent(err error) bool {
	return a.told.Load() && a.peer.Addr == nowhere{} && within(err, a.toldErr)
}

// within reports whether one of the errors in err's tree is that one itself.
func within(err, one error) bool {
	if one == nil || !reflect.TypeOf(one).Comparable() {
		return false
	}
	if reflect.TypeOf(err) == reflect.TypeOf(one) && err == one {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return within(e.Unwrap(), one)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), func(inner error) bool { return within(inner, one) })
	}
	return false
}

// outgoing returns ctx with the metadata of an attempt. That of the caller is
// copied before it is changed.
func outgoing(ctx context.Context, call *backstay.Call) context.Context {
	number := len(metadata.ValueFromOutgoingContext(ctx, previousAttempts)) > 0 || call.Attempt > 1
	key := call.IdempotencyKey != "" && !has(metadata.ValueFromOutgoingContext(ctx, keyHeader), call.IdempotencyKey)
	if !number && !key {
		return ctx
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = metadata.MD{}
	}
	delete(md, previousAttempts)
	if call.Attempt > 1 {
		md.Set(previousAttempts, strconv.Itoa(call.Attempt-1))
	}
	if key {
		md.Set(keyHeader, call.IdempotencyKey)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

func has(values []string, one string) bool { return len(values) == 1 && values[0] == one }
