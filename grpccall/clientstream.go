package grpccall

import (
	"context"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

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
// that cannot be copied, being no message of protobuf's or a type around one, must
// not change before the call has ended.
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
	if err == io.EOF {
		return err
	}
	return s.limited(err)
}

// limited returns err, with which the stream has ended, so that a limit of the
// policy is found in it that has ended it.
func (s *stream) limited(err error) error {
	o, ok := s.inner.(*opened)
	if !ok || err == nil || o.ctx.Err() == nil || context.Cause(o.ctx) == o.ctx.Err() {
		return err
	}
	return s.client.outward(o.failure(err))
}
