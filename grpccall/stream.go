package grpccall

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
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
		s.r.finish(unlessEOF(err))
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

// Header returns the headers, as soon as they have come. There are none where
// the call failed without; RecvMsg tells why.
func (s *stream) Header() (metadata.MD, error) {
	inner, err := s.result()
	if err != nil {
		return nil, nil
	}
	return inner.Header()
}

// Trailer returns the trailers of the attempt that the call ended with.
func (s *stream) Trailer() metadata.MD {
	inner, err := s.result()
	switch {
	case err == nil:
		return inner.Trailer()
	case s.final != nil:
		return s.final.trailer
	}
	return nil
}

// Context returns the context of the stream. After it was called no further
// attempt opens.
func (s *stream) Context() context.Context {
	s.mu.Lock()
	s.single = true
	s.mu.Unlock()
	inner, err := s.current()
	if err == nil {
		return inner.Context()
	}
	if o := s.latest(); o != nil {
		return o.Context()
	}
	ended, cancel := context.WithCancel(s.r.ctx)
	cancel()
	return ended
}

// SendMsg sends m. Where only the server streams, that begins the call, and an m
// that is no proto.Message must not change before the call has ended.
func (s *stream) SendMsg(m any) error {
	if !s.desc.ClientStreams {
		if first, err := s.keep(m); err != nil {
			return err
		} else if first {
			return s.open()
		}
	}
	inner, err := s.current()
	if err == nil {
		err = inner.SendMsg(m)
	} else {
		err = io.EOF // RecvMsg tells why
	}
	if err == io.EOF && !s.desc.ClientStreams {
		return nil
	}
	return err
}

// keep makes m the message that each attempt sends, and reports whether it is.
// Where there is an attempt already, m is for that.
func (s *stream) keep(m any) (first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.kept:
		return false, status.Error(codes.Internal, "SendMsg called after CloseSend")
	case s.begun:
		return false, nil
	}
	s.r.Message, s.kept = m, true
	if s.single = s.single || sizeOf(m) > s.client.cfg.BufferSize; !s.single {
		s.r.Message = clone(m) // the caller may change m from now on
	}
	s.begin()
	return true, nil
}

// CloseSend says that nothing more is sent, which goes without saying for a
// message that is kept.
func (s *stream) CloseSend() error {
	s.mu.Lock()
	kept := s.kept
	s.mu.Unlock()
	if kept {
		return nil
	}
	if inner, err := s.current(); err == nil {
		return inner.CloseSend()
	}
	return nil // RecvMsg tells
}

// RecvMsg receives the next message into m.
func (s *stream) RecvMsg(m any) error {
	select {
	case <-s.over:
	default:
		_, _ = s.result()
		<-s.over
	}
	if s.err != nil {
		s.rethrow()
		return s.err
	}
	err := s.inner.RecvMsg(m)
	if err == nil && s.desc.ServerStreams {
		return nil
	}
	if o, ok := s.inner.(*opened); ok {
		o.attempt.end.with(unlessEOF(err))
	}
	s.tell(err)
	s.rethrow()
	return err
}
