package grpccall

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A heldStream is the grpc.ServerTransportStream of work that is done once. The
// metadata waits in it until the answer has been kept, so that nobody sees what
// does not count.
type heldStream struct {
	grpc.ServerTransportStream // the caller's; nil if there is none

	mu      sync.Mutex
	header  metadata.MD
	trailer metadata.MD
	sent    bool // as far as the handler knows, the header
	over    bool // the handler has returned
}

func newHeldStream(ctx context.Context) *heldStream {
	return &heldStream{ServerTransportStream: grpc.ServerTransportStreamFromContext(ctx)}
}

// in returns a context whose handler writes to the stream.
func (s *heldStream) in(ctx context.Context) context.Context {
	if s.ServerTransportStream == nil {
		return ctx
	}
	return grpc.NewContextWithServerTransportStream(ctx, s)
}

func (s *heldStream) SetHeader(md metadata.MD) error { return s.addHeader(md, false) }

func (s *heldStream) SendHeader(md metadata.MD) error { return s.addHeader(md, true) }

func (s *heldStream) addHeader(md metadata.MD, last bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent || s.over {
		return status.Error(codes.Internal, "grpccall: the header has been sent")
	}
	s.header, s.sent = metadata.Join(s.header, md), last
	return nil
}

func (s *heldStream) SetTrailer(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return status.Error(codes.Internal, "grpccall: the handler has returned")
	}
	s.trailer = metadata.Join(s.trailer, md)
	return nil
}

// end returns what the handler has written. It takes no more.
func (s *heldStream) end() (header, trailer metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return s.header, s.trailer
}

// send passes on what the handler has written. A caller who has gone is nobody
// to tell.
func (s *heldStream) send() {
	header, trailer := s.end()
	if s.ServerTransportStream == nil {
		return
	}
	_ = s.ServerTransportStream.SetTrailer(trailer)
	if s.sent {
		_ = s.ServerTransportStream.SendHeader(header)
	} else {
		_ = s.ServerTransportStream.SetHeader(header)
	}
}
