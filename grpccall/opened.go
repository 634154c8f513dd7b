package grpccall

import (
	"context"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay"
)

// An opened is the stream of one attempt.
type opened struct {
	grpc.ClientStream
	attempt *attempt
	cancel  context.CancelFunc
	using   atomic.Int32      // calls of the caller's in it
	failure func(error) error // says what an error of it means for policy
}

// begin makes one attempt of a streaming call: it opens the stream, sends what
// the caller has sent, and waits for headers.
func (c *client) begin(ctx context.Context, call *backstay.Call, r *Request) (grpc.ClientStream, error) {
	a := &attempt{end: newEnding()}
	inner, cancel := context.WithCancel(ctx)
	call.OnDone(func(error) { cancel() })
	answered := false
	defer func() {
		a.over()
		if !answered {
			cancel()
		}
	}()
	a.start(inner, call, c)
	cs, err := r.streamer(a, r.stream.desc, r.conn, r.Method, a.options(r)...)
	a.over() // what gRPC picks from here on may be on another goroutine
	if err != nil {
		return nil, c.failure(ctx, r, a, err)
	}
	o := &opened{ClientStream: cs, attempt: a, cancel: cancel}
	o.failure = func(err error) error { return c.failure(ctx, r, a, err) }
	if err = r.stream.take(o); err == nil {
		err = o.answer(ctx)
	}
	if err != nil {
		return nil, r.stream.failure(o.failure(err))
	}
	answered = true
	return o, nil
}

// answer waits until there are headers, or the stream has ended without.
func (o *opened) answer(ctx context.Context) error {
	md, err := o.Header()
	if md != nil || err != nil {
		return err
	}
	a := o.attempt
	if !a.told.Load() && !a.end.isOver() && o.using.Load() == 0 {
		return nil // something between us and gRPC keeps it from us; the caller will see
	}
	select {
	case <-a.end.done:
		return a.end.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errTaken is the end of an attempt that overlaps with another, on a stream of
// which the caller can have one.
var errTaken = status.Error(codes.Internal, "grpccall: the caller already sends on another attempt's stream")

// take makes o the stream of the current attempt, and sends what has been sent
// before where that is kept.
func (s *stream) take(o *opened) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.desc.ClientStreams:
		if err := s.replay(o); err != nil {
			return err
		}
	case s.opened != nil:
		return errTaken
	}
	s.opened = o
	s.letGo()
	return nil
}

// replay sends on o what the caller has sent.
func (s *stream) replay(o *opened) error {
	if s.hasSent {
		if err := o.SendMsg(s.sent); err != nil && err != io.EOF {
			return err
		}
	}
	if s.closed {
		return o.CloseSend()
	}
	return nil
}

// failure returns err, the failure of an attempt that had opened, so that there
// is no other where the caller has something of this one.
func (s *stream) failure(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := failureIn(err); f.veto == "" && (s.desc.ClientStreams || s.committed) {
		f.veto = "body_not_replayable"
	}
	return err
}

// discard ends a stream that nobody will read.
func discard(inner grpc.ClientStream) {
	if o, ok := inner.(*opened); ok && o != nil {
		o.cancel()
	}
}

// hold keeps the call until its stream has ended.
func hold(inner grpc.ClientStream, done func(error)) grpc.ClientStream {
	if o, ok := inner.(*opened); ok && o != nil {
		o.attempt.end.then(func(err error) {
			if err != nil {
				err = o.failure(err)
			}
			done(err)
		})
	} else {
		done(nil) // a middleware's
	}
	return inner
}

// sizeOf returns how many bytes m takes, as far as that can be told.
func sizeOf(m any) int {
	switch m := m.(type) {
	case proto.Message:
		return proto.Size(m)
	case interface{ Size() int }:
		return m.Size()
	case []byte:
		return len(m)
	case *[]byte:
		return len(*m)
	}
	return 0
}
