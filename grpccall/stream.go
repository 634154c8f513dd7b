package grpccall

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A stream is what the caller of a streaming call gets. The policy runs on a
// goroutine of its own, since its attempts begin before the caller has said what
// to send and last until headers come. What a middleware panics with goes on
// where the caller waits for the call to begin, or for a message.
//
// Where only the server streams, the attempts are the policy's until one of them
// has headers: the one message that is sent is kept for the next attempt. Where
// the client streams, what it sends is not kept: the first attempt that opens is
// the caller's.
type stream struct {
	client *client
	r      *Request
	desc   *grpc.StreamDesc
	over   chan struct{} // closed when the policy has returned, and the caller's options know if that was the end
	shown  sync.Once
	cancel context.CancelFunc // of the time that the service config gives the call, or nil

	mu      sync.Mutex
	changed sync.Cond // opened or settled; its lock is mu
	begun   bool
	kept    bool    // each attempt sends r.Message, of which the caller's SendMsg was
	single  bool    // one attempt may open, and no other
	opened  *opened // which the caller's doings go to; nil between two attempts
	last    *opened // that was in opened
	lost    error   // the failure of the single one
	thrown  bool    // panic was
	settled bool

	// What the policy returned; not written once it has settled.
	inner grpc.ClientStream
	err   error
	final *attempt
	panic any // the mutex is held for this one
}

// stream is the interceptor of streaming calls.
func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	r := &Request{Method: method, client: c, ctx: ctx, conn: cc, streamer: streamer}
	r.take(opts)
	s := &stream{client: c, r: r, desc: desc, over: make(chan struct{})}
	s.changed.L = &s.mu
	r.stream = s
	if err := c.ready(r); err != nil {
		r.tell(nil, err)
		return nil, err
	}
	if limit := r.serviceTimeout(); limit > 0 {
		r.ctx, s.cancel = context.WithTimeout(ctx, limit)
	}
	if desc.ClientStreams {
		if err := s.open(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// open waits until an attempt has opened. It returns the error of a call for
// which none did; RecvMsg has that of one which failed thereafter.
func (s *stream) open() error {
	s.await(func() bool { return s.last != nil || s.settled })
	if s.latest() != nil {
		return nil
	}
	<-s.over
	s.rethrow()
	return s.err
}

// latest returns the attempt that opened last, or nil.
func (s *stream) latest() *opened {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// await begins the call and waits until what has changed makes ready report
// true, for which the mutex is held. It is at the latest when the policy has
// returned, which it does when the caller's context ends.
func (s *stream) await(ready func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	for !ready() {
		s.changed.Wait()
	}
}

// begin has the policy make the call, once. A caller who wants something of the
// stream before he has sent the one message gets the attempt that he has it of.
// The mutex is held.
func (s *stream) begin() {
	if !s.begun {
		s.begun = true
		s.single = s.single || !s.kept
		go s.run()
	}
}

// run makes the call.
func (s *stream) run() {
	var inner grpc.ClientStream
	err := errGone
	defer func() {
		if p := recover(); p != nil {
			s.catch(p)
			err = errPanicked
		}
		s.settle(inner, err)
	}()
	inner, err = s.client.open(s.r.ctx, s.r)
	if err == nil && inner == nil {
		err = status.Errorf(codes.Internal, "grpccall: a middleware of the policy returned no error and no stream for %s", s.r.Method)
	}
}

// What is left of a call whose policy did not return.
var (
	errGone     = status.Error(codes.Internal, "grpccall: a middleware of the policy ended its goroutine")
	errPanicked = status.Error(codes.Internal, "grpccall: a middleware of the policy panicked")
)

// settle lets the caller have what the policy returned.
func (s *stream) settle(inner grpc.ClientStream, err error) {
	defer close(s.over)
	defer func() {
		if p := recover(); p != nil {
			s.catch(p) // the caller's own, from OnFinish
		}
	}()
	s.mu.Lock()
	o, _ := inner.(*opened)
	switch {
	case err != nil:
		// gRPC may yet write to an attempt that it has not told the end of.
		if f := failureIn(err); f != nil && f.attempt.told.Load() {
			s.final = f.attempt
		}
		s.err = s.client.outward(err)
	case o != nil:
		s.inner, s.final = inner, o.attempt
	default:
		s.inner = inner
	}
	s.settled = true
	s.changed.Broadcast()
	s.mu.Unlock()
	switch {
	case err != nil:
		s.tell(s.err)
	case o != nil:
		o.attempt.end.then(s.tell)
	}
}

// tell tells the caller's call options that the call is over, once. Whoever
// comes second returns when the variables are written.
func (s *stream) tell(err error) {
	first := false
	s.shown.Do(func() {
		first = true
		s.r.show(s.final)
	})
	if first {
		if s.cancel != nil {
			defer s.cancel()
		}
		s.r.finish(s.limited(unlessEOF(err)))
	}
}

// unlessEOF returns err, with which a stream has ended, unless it is that of a
// success.
func unlessEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// catch keeps a panic of the policy's goroutine for the caller's.
func (s *stream) catch(p any) {
	s.mu.Lock()
	s.panic = p
	s.mu.Unlock()
}

// rethrow lets a panic go on where somebody can recover it, once: what he then
// does with the stream fails.
func (s *stream) rethrow() {
	s.mu.Lock()
	p := s.panic
	if s.thrown {
		p = nil
	}
	s.thrown = s.thrown || p != nil
	s.mu.Unlock()
	if p != nil {
		panic(p)
	}
}

// current returns the stream that what the caller does goes to, as soon as there
// is one, or the error that the call has ended with.
func (s *stream) current() (grpc.ClientStream, error) {
	var o *opened
	s.await(func() bool {
		if !s.settled {
			o = s.opened
		}
		return o != nil || s.settled
	})
	if o != nil {
		return o, nil
	}
	return s.inner, s.err
}

// result waits for the policy, and returns what that did.
func (s *stream) result() (grpc.ClientStream, error) {
	s.await(func() bool { return s.settled })
	return s.inner, s.err
}
