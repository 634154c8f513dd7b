package grpccall

import (
	"cmp"
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/backstay-go/backstay"
)

// An opened is the stream of one attempt.
type opened struct {
	grpc.ClientStream
	r       *Request
	ctx     context.Context // the policy's
	attempt *attempt
	cancel  context.CancelFunc

	cut  bool  // gRPC has finished it, and may not know how it ended
	gone error // what RecvMsg returns where that is out of reach

	once sync.Once
	done func(error) // ends the call
	stop func() bool // keeps the end of the context from ending it
}

// A launch is an attempt with what belongs to it, which costs one allocation.
type launch struct {
	attempt attempt
	ending  ending
	opened  opened
	tried   [2]string // room for where most calls have been
}

// begin makes one attempt of a streaming call: it opens the stream, sends the
// message that is kept, and waits for headers.
func (c *client) begin(ctx context.Context, call *backstay.Call, r *Request) (grpc.ClientStream, error) {
	s := r.stream
	if err := s.take(nil); err != nil {
		return nil, err
	}
	l := &launch{}
	a, o := &l.attempt, &l.opened
	a.end = &l.ending
	inner, cancel := context.WithCancel(ctx)
	call.OnDone(func(error) { cancel() }) // at the end of the attempt, or of its stream
	defer a.over()
	defer a.moved(call)
	a.start(inner, call, c, r)
	cs, err := r.streamer(a, s.desc, r.conn, r.Method, a.options(r)...)
	a.remember(call, l.tried[:0])
	a.over() // what gRPC picks from here on may be on another goroutine
	if err != nil {
		return nil, c.failure(ctx, r, a, err)
	}
	o.ClientStream, o.r, o.ctx, o.attempt, o.cancel = cs, r, ctx, a, cancel
	if err := s.use(ctx, o); err != nil {
		return nil, err
	}
	a.answered()
	return o, nil
}

// failure says what err, the end of o, means for policy.
func (o *opened) failure(err error) error {
	return o.r.client.failure(o.ctx, o.r, o.attempt, err)
}

// use makes o the stream of the current attempt until it has headers.
func (s *stream) use(ctx context.Context, o *opened) error {
	if s.kept {
		if err := o.send(s.r.Message); err != nil {
			return s.failed(o, err)
		}
	}
	if err := s.take(o); err != nil {
		return err
	}
	if err := o.answer(ctx); err != nil {
		return s.failed(o, err)
	}
	return s.take(o) // which the caller may have fixed on another meanwhile
}

// send sends m, and that it is all. That the stream has ended is for answer.
func (o *opened) send(m any) error {
	if err := o.SendMsg(m); err != nil && err != io.EOF {
		return err
	}
	return o.CloseSend()
}

// answer waits until there are headers, or the stream has ended without.
func (o *opened) answer(ctx context.Context) error {
	md, err := o.Header()
	if md != nil || err != nil {
		return err
	}
	err, over := o.attempt.end.told()
	switch {
	case !over:
		// gRPC is about to tell the end of ctx. Else something between us and
		// gRPC keeps the end of the stream from us, and the caller will see it.
		return ctx.Err()
	case err != nil:
		return err
	}
	// gRPC calls it a success, too, where it was over before all had been sent. If
	// the server had answered there are headers by now, and RecvMsg tells how it
	// ended. What a server ends without headers has a content-type.
	if md, _ := o.Header(); md != nil {
		o.cut = true
		o.attempt.end.retract()
		return nil
	}
	if len(o.attempt.trailer) == 0 {
		return cmp.Or(ctx.Err(), errCut)
	}
	return unlessEOF(o.ClientStream.RecvMsg(&emptypb.Empty{}))
}

// errTaken is the end of an attempt that overlaps with another, on a stream of
// which the caller can have one. It says nothing about the callee.
var errTaken = &backstay.Error{
	Err:     status.Error(codes.Internal, "grpccall: the caller already uses another attempt's stream"),
	Class:   backstay.Canceled,
	NotSent: true,
	Type:    "body_not_replayable",
}

// errDiscarded is the end of an attempt after one that the policy did not want,
// though it had headers and the caller had used its stream.
var errDiscarded = &backstay.Error{
	Err:     status.Error(codes.Internal, "grpccall: the policy has given up the attempt whose stream the caller uses"),
	Class:   backstay.Canceled,
	NotSent: true,
	Type:    "body_not_replayable",
}

// take makes o the stream that what the caller does goes to, unless there can be
// one only and has been. o may be nil, to ask.
func (s *stream) take(o *opened) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lost != nil:
		return s.lost
	case o == nil && s.settled: // a loser that starts late
		return errTaken
	case s.single && s.opened != nil && s.opened != o:
		return errTaken
	case o != nil:
		s.opened, s.last = o, o
		s.changed.Broadcast()
	}
	return nil
}

// failed returns what err, the end of o without headers, means for policy: no
// other attempt where the caller has something of this one.
func (s *stream) failed(o *opened, err error) error {
	err = o.failure(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.single:
		if f := failureIn(err); f.veto == "" {
			f.veto = "body_not_replayable"
		}
		if s.opened == o {
			s.lost = err
		}
	case s.opened == o:
		s.opened = nil
	}
	return err
}

// discard ends a stream that nobody will read.
func discard(inner grpc.ClientStream) {
	if o, ok := inner.(*opened); ok && o != nil {
		o.r.stream.discarded(o)
		o.cancel()
	}
}

// discarded says that o, which has headers, will not be the caller's: its time
// was up when they came, or a middleware does not want it.
func (s *stream) discarded(o *opened) {
	ctx := o.ctx.Err()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.opened != o || s.settled:
	case !s.single:
		s.opened = nil
	case ctx != nil:
		s.lost = o.failure(status.FromContextError(ctx).Err())
	default:
		s.lost = errDiscarded
	}
}

// hold keeps the call until its stream has ended: as gRPC says, or its reader,
// or at the latest with its context.
func hold(inner grpc.ClientStream, done func(error)) grpc.ClientStream {
	o, ok := inner.(*opened)
	if !ok || o == nil {
		done(nil) // a middleware's
		return inner
	}
	o.done = done
	o.stop = context.AfterFunc(o.attempt.Context, o.expired)
	o.attempt.end.then(o.ended)
	return inner
}

// expired ends the call with the context of its stream.
func (o *opened) expired() {
	err := status.FromContextError(o.attempt.Context.Err()).Err()
	o.finish(err)
	if o.cut {
		o.attempt.end.with(err) // which gRPC does not tell any more
	}
}

// ended ends the call with its stream.
func (o *opened) ended(err error) {
	o.stop()
	o.finish(err)
}

func (o *opened) finish(err error) {
	o.once.Do(func() {
		if err != nil {
			err = o.failure(err)
		}
		o.done(err)
	})
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
