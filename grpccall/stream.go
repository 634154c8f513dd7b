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
// to send and last until headers come.
//
// Where only the server streams, the attempts are the policy's until one of them
// has headers: the one message that is sent is kept for the next attempt. Where
// the client streams, what it sends is not kept: the first attempt that opens is
// the caller's.
type stream struct {
	client *client
	r      *Request
	desc   *grpc.StreamDesc
	start  sync.Once
	begun  chan struct{} // closed when the caller can go on: an attempt has opened, or there will be none
	over   chan struct{} // closed when the policy has returned

	mu        sync.Mutex
	isBegun   bool
	sent      any // the message, where only the server streams
	hasSent   bool
	closed    bool // CloseSend was called
	committed bool // there must not be another attempt
	opened    *opened
	ended     bool // the caller's OnFinish functions were called

	// What the policy returned; to be read once over is closed.
	inner grpc.ClientStream
	err   error
	final *attempt
	panic any
}

// stream is the interceptor of streaming calls.
func (c *client) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	r := &Request{Method: method, client: c, ctx: ctx, conn: cc, streamer: streamer}
	r.take(opts)
	s := &stream{client: c, r: r, desc: desc, begun: make(chan struct{}), over: make(chan struct{})}
	r.stream = s
	if err := c.ready(r); err != nil {
		r.tell(nil, err)
		return nil, err
	}
	if desc.ClientStreams {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// begin has the policy make the call, and waits until an attempt has opened. It
// returns the error of a call for which none did.
func (s *stream) begin() error {
	s.start.Do(func() { go s.run() })
	select {
	case <-s.begun:
	case <-s.r.ctx.Done():
		<-s.over // for the policy ends with the caller's context
	}
	select {
	case <-s.over:
		s.rethrow()
		if s.inner == nil {
			return s.err
		}
	default:
	}
	return nil
}

// run makes the call.
func (s *stream) run() {
	returned := false
	var inner grpc.ClientStream
	var err error
	defer func() {
		if !returned {
			if s.panic = recover(); s.panic == nil {
				err = status.Error(codes.Internal, "grpccall: a middleware of the policy ended its goroutine")
			} else {
				err = status.Error(codes.Internal, "grpccall: the policy panicked")
			}
		}
		s.settle(inner, err)
	}()
	inner, err = s.client.open(s.r.ctx, s.r)
	returned = true
	if err == nil && inner == nil {
		err = status.Errorf(codes.Internal, "grpccall: a middleware of the policy returned no error and no stream for %s", s.r.Method)
	}
}

// settle lets the caller have what the policy returned.
func (s *stream) settle(inner grpc.ClientStream, err error) {
	o, _ := inner.(*opened)
	if err != nil {
		if f := failureIn(err); f != nil {
			s.final = f.attempt
		}
		s.err = s.client.outward(err)
	} else {
		s.inner = inner
		if o != nil {
			s.final = o.attempt
		}
	}
	close(s.over)
	s.mu.Lock()
	s.letGo()
	s.mu.Unlock()
	switch {
	case s.err != nil:
		s.end(s.err)
	case o != nil:
		o.attempt.end.then(s.end)
	}
}

// letGo lets the caller go on. The mutex is held.
func (s *stream) letGo() {
	if !s.isBegun {
		s.isBegun = true
		close(s.begun)
	}
}

// end tells the caller's call options that the call is over.
func (s *stream) end(err error) {
	s.mu.Lock()
	before := s.ended
	s.ended = true
	s.mu.Unlock()
	if before {
		return
	}
	if err == io.EOF {
		err = nil
	}
	s.r.tell(s.final, err)
}

// rethrow lets a panic of the policy go on where somebody can recover it.
func (s *stream) rethrow() {
	if s.panic != nil {
		panic(s.panic)
	}
}

// current returns the stream that the caller works with, or the error that the
// call has ended with. Where only the server streams it waits for the policy.
func (s *stream) current() (grpc.ClientStream, error) {
	if s.desc.ClientStreams {
		s.mu.Lock()
		o := s.opened
		s.mu.Unlock()
		if o != nil {
			return o, nil
		}
	}
	select {
	case <-s.over:
	default:
		if err := s.begin(); err != nil {
			return nil, err
		}
		<-s.over
	}
	s.rethrow()
	return s.inner, s.err
}

// Header returns the headers, as soon as they have come. There are none where
// the call failed without; RecvMsg tells why.
func (s *stream) Header() (metadata.MD, error) {
	inner, err := s.current()
	if err != nil {
		return nil, nil
	}
	return inner.Header()
}

// Trailer returns the trailers of the attempt that the call ended with.
func (s *stream) Trailer() metadata.MD {
	inner, err := s.current()
	switch {
	case err == nil:
		return inner.Trailer()
	case s.final != nil:
		return s.final.trailer
	}
	return nil
}

// Context returns the context of the stream. After it was called there is no
// further attempt.
func (s *stream) Context() context.Context {
	s.mu.Lock()
	s.committed = true
	s.mu.Unlock()
	_ = s.begin() // RecvMsg tells
	s.mu.Lock()
	o := s.opened
	s.mu.Unlock()
	if o == nil {
		return s.r.ctx
	}
	return o.Context()
}

// SendMsg sends m. Where only the server streams, that begins the call, and m
// must not change before the call has ended.
func (s *stream) SendMsg(m any) error {
	if !s.desc.ClientStreams {
		return s.request(m)
	}
	inner, err := s.current()
	if err != nil {
		return io.EOF // RecvMsg tells why
	}
	o, ok := inner.(*opened)
	if !ok {
		return inner.SendMsg(m)
	}
	o.using.Add(1)
	defer o.using.Add(-1)
	return o.SendMsg(m)
}

// request sends the one message that there is where only the server streams.
func (s *stream) request(m any) error {
	s.mu.Lock()
	if s.hasSent || s.closed {
		s.mu.Unlock()
		return status.Error(codes.Internal, "SendMsg called after CloseSend")
	}
	s.sent, s.hasSent = m, true
	s.committed = s.committed || sizeOf(m) > s.client.cfg.BufferSize
	var err error
	if s.opened != nil { // by a caller who has asked for headers first
		err = s.opened.SendMsg(m)
	}
	s.mu.Unlock()
	if err != nil && err != io.EOF {
		return err
	}
	s.start.Do(func() {
		s.r.Message = m
		go s.run()
	})
	return s.begin()
}

// CloseSend says that nothing more is sent.
func (s *stream) CloseSend() error {
	s.mu.Lock()
	s.closed = true
	o := s.opened
	s.mu.Unlock()
	if o != nil {
		return o.CloseSend()
	}
	_ = s.begin() // RecvMsg tells
	return nil
}

// RecvMsg receives the next message into m.
func (s *stream) RecvMsg(m any) error {
	inner, err := s.current()
	if err != nil {
		return err
	}
	o, ok := inner.(*opened)
	if !ok {
		return inner.RecvMsg(m) // a middleware's
	}
	o.using.Add(1)
	defer o.using.Add(-1)
	err = o.RecvMsg(m)
	if err == nil && s.desc.ServerStreams {
		return nil
	}
	o.attempt.end.with(err)
	if err == nil || err == io.EOF {
		return err
	}
	if <-s.over; s.err != nil {
		s.rethrow()
		return s.err // with what the policy has to say
	}
	return err
}
