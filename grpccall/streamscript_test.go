package grpccall_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
)

// A scene is a stream on one of its two sides, which exchange texts.
type scene struct {
	side
	request string // what Watch has received before its handler runs
	method  string
	gate    chan struct{} // for order between the two sides
}

// A side is the stream as the client or the server has it.
type side interface {
	Context() context.Context
	SendMsg(m any) error
	RecvMsg(m any) error
}

// An act is what one side does. It returns what is wrong with that.
type act func(s *scene) error

// message returns an empty message of what the side receives.
func (s *scene) message() any {
	_, client := s.side.(grpc.ClientStream)
	switch {
	case s.method == chat:
		return &pb.ChatMessage{}
	case client:
		return &pb.Order{}
	}
	return &pb.WatchRequest{}
}

// saying returns a message with the text of what the side sends.
func (s *scene) saying(text string) any {
	_, client := s.side.(grpc.ClientStream)
	switch {
	case s.method == chat:
		return &pb.ChatMessage{Text: text}
	case client:
		return &pb.WatchRequest{Id: text}
	}
	return &pb.Order{Id: text}
}

func textOf(m any) string {
	switch m := m.(type) {
	case *pb.ChatMessage:
		return m.Text
	case *pb.WatchRequest:
		return m.Id
	case *pb.Order:
		return m.Id
	}
	return "?"
}

// utters sends the texts.
func utters(texts ...string) act {
	return func(s *scene) error {
		for _, text := range texts {
			if err := s.SendMsg(s.saying(text)); err != nil {
				return fmt.Errorf("SendMsg(%.10s) = %w, want nil", text, err)
			}
		}
		return nil
	}
}

// hears receives the texts.
func hears(texts ...string) act {
	return func(s *scene) error {
		for _, want := range texts {
			got := s.request
			if s.request = ""; got == "" {
				m := s.message()
				if err := s.RecvMsg(m); err != nil {
					return fmt.Errorf("RecvMsg() = %w, want %q", err, want)
				}
				got = textOf(m)
			}
			if got != want {
				return fmt.Errorf("RecvMsg() = %q, want %q", got, want)
			}
		}
		return nil
	}
}

// endsWith receives the end.
func endsWith(code codes.Code) act {
	return func(s *scene) error {
		err := s.RecvMsg(s.message())
		if err == nil || status.Code(unlessEOF(err)) != code {
			return fmt.Errorf("RecvMsg() = %v, want %v", err, code)
		}
		return nil
	}
}

// fails ends the server's side.
func fails(code codes.Code) act {
	return func(*scene) error { return status.Error(code, "scripted") }
}

// hearsClose receives that the client sends nothing more.
func hearsClose(s *scene) error {
	if err := s.RecvMsg(s.message()); err != io.EOF {
		return fmt.Errorf("RecvMsg() = %v, want EOF", err)
	}
	return nil
}

func closesSend(s *scene) error { return s.side.(grpc.ClientStream).CloseSend() }

// isAttempt checks grpc-previous-rpc-attempts.
func isAttempt(previous string) act {
	return func(s *scene) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		if got := strings.Join(md["grpc-previous-rpc-attempts"], ","); got != previous {
			return fmt.Errorf("previous attempts %q, want %q", got, previous)
		}
		return nil
	}
}

func sendsHeader(s *scene) error {
	return s.side.(grpc.ServerStream).SendHeader(metadata.Pairs("scripted", "yes"))
}

// getsHeader asks for headers, of which there are some or none.
func getsHeader(some bool) act {
	return func(s *scene) error {
		md, err := s.side.(grpc.ClientStream).Header()
		if err != nil || (len(md) > 0) != some {
			return fmt.Errorf("Header() = %v, %v, want some: %v", md, err, some)
		}
		return nil
	}
}

func takesContext(s *scene) error {
	if s.Context() == nil {
		return fmt.Errorf("Context() = nil")
	}
	return nil
}

// waits until the other side goesOn.
func waits(s *scene) error {
	select {
	case <-s.gate:
		return nil
	case <-time.After(within):
		return fmt.Errorf("the other side did not go on")
	}
}

func goesOn(s *scene) error {
	close(s.gate)
	return nil
}

// pushesBack sets the trailer of gRFC A6.
func pushesBack(values ...string) act {
	return func(s *scene) error {
		s.side.(grpc.ServerStream).SetTrailer(metadata.MD{"grpc-retry-pushback-ms": values})
		return nil
	}
}

func all(acts ...act) []act { return acts }

// What gRPC tries of its own retries of streams, in its test TestRetryStreaming,
// under a policy. A message that is sent can be repeated where there is one; what
// gRPC repeats of client streams passes through once, with its failure.
//
// G-1, G-6, G-7, G-8, G-16, G-18, G-19, G-20
func TestTheScriptsOfGRPCHold(t *testing.T) {
	const un = codes.Unavailable
	large := strings.Repeat("x", 500)
	scripts := []struct {
		name   string
		method string
		server [][]act // of each attempt
		client []act
	}{
		{"a code that is not tried again", watch,
			[][]act{{hears("1"), fails(codes.Internal)}},
			all(utters("1"), endsWith(codes.Internal))},
		{"one retry is needed", watch,
			[][]act{{isAttempt(""), hears("1"), fails(un)}, {hears("1"), isAttempt("1"), utters("1")}},
			all(utters("1"), hears("1"), endsWith(codes.OK))},
		{"more failures than attempts", watch,
			[][]act{{hears("1"), fails(un)}, {hears("1"), isAttempt("1"), fails(un)}, {isAttempt("2"), hears("1"), fails(un)}, {isAttempt("3"), hears("1"), fails(un)}},
			all(utters("1"), endsWith(un), endsWith(un))},
		{"no retry after a message", watch,
			[][]act{{hears("1"), fails(un)}, {hears("1"), utters("3"), fails(un)}},
			all(utters("1"), hears("3"), endsWith(un))},
		{"the messages 0 1 0 1 2 of others", watch,
			[][]act{{utters("0", "1"), fails(un)}},
			all(utters("1"), hears("0", "1"), endsWith(un))},
		{"a retry while Header waits", watch,
			[][]act{{hears("1"), fails(un)}, {hears("1"), isAttempt("1")}},
			all(utters("1"), getsHeader(false), endsWith(codes.OK))},
		{"headers of the attempt that has some", watch,
			[][]act{{hears("1"), fails(un)}, {hears("1"), sendsHeader, utters("2")}},
			all(utters("1"), getsHeader(true), hears("2"), endsWith(codes.OK))},
		{"no retry after headers", watch,
			[][]act{{hears("1"), sendsHeader, fails(un)}},
			all(utters("1"), getsHeader(true), endsWith(un))},
		{"no retry after Context", watch,
			[][]act{{hears("1"), waits, fails(un)}},
			all(utters("1"), takesContext, goesOn, endsWith(un))},
		{"what is all is told again", watch,
			[][]act{{hears("1"), hearsClose, fails(un)}, {hears("1"), hearsClose, utters("1", "3", "5")}},
			all(utters("1"), closesSend, hears("1", "3", "5"), endsWith(codes.OK))},
		{"it is told without CloseSend", watch,
			[][]act{{hears("1"), hearsClose, fails(un)}, {hears("1"), hearsClose, utters("1")}},
			all(utters("1"), hears("1"), endsWith(codes.OK))},
		{"a second message where there can be one", watch,
			[][]act{{hears("1"), hearsClose, utters("1")}},
			all(utters("1"), refusesToSend, hears("1"), endsWith(codes.OK))},
		{"a pushback below 0", watch,
			[][]act{{hears("1"), pushesBack("-1"), fails(un)}},
			all(utters("1"), endsWith(un))},
		{"a pushback that is no number", watch,
			[][]act{{hears("1"), pushesBack("xxx"), fails(un)}},
			all(utters("1"), endsWith(un))},
		{"two pushbacks", watch,
			[][]act{{hears("1"), pushesBack("100", "10"), fails(un)}},
			all(utters("1"), endsWith(un))},
		{"a pushback of 10 ms", watch,
			[][]act{{hears("1"), pushesBack("10"), fails(un)}, {hears("1"), utters("2")}},
			all(utters("1"), hears("2"), endsWith(codes.OK))},
		{"more than the buffer holds", watch,
			[][]act{{hears(large), fails(un)}},
			all(utters(large), endsWith(un))},

		{"two messages of a client", chat,
			[][]act{{hears("1", "2"), fails(un)}},
			all(utters("1", "2"), endsWith(un))},
		{"three messages of a client", chat,
			[][]act{{hears("1", "2", "3"), utters("5")}},
			all(utters("1", "2", "3"), hears("5"), endsWith(codes.OK))},
		{"a client's failure before it sends", chat,
			[][]act{{fails(un)}},
			all(endsWith(un), endsWith(un))},
		{"a client's end", chat,
			[][]act{{hears("1", "2"), hearsClose, utters("1", "3", "5")}},
			all(utters("1", "2"), closesSend, hears("1", "3", "5"), endsWith(codes.OK))},
		{"headers before a client sends", chat,
			[][]act{{sendsHeader, hears("1"), fails(un)}},
			all(getsHeader(true), utters("1"), endsWith(un))},
		{"to and fro", chat,
			[][]act{{hears("1"), utters("1"), hears("2"), utters("2"), hearsClose}},
			all(utters("1"), hears("1"), utters("2"), hears("2"), closesSend, endsWith(codes.OK))},
		{"a pushback on a client's stream", chat,
			[][]act{{hears("1"), pushesBack("0"), fails(un)}},
			all(utters("1"), endsWith(un))},
	}
	for _, r := range scripts {
		t.Run(r.name, func(t *testing.T) {
			gate := make(chan struct{})
			s := &server{}
			play := func(n int, sc *scene) error {
				if n > len(r.server) {
					return status.Errorf(codes.Internal, "attempt %d, want %d", n, len(r.server))
				}
				for _, a := range r.server[n-1] {
					if err := a(sc); err != nil {
						if _, scripted := status.FromError(err); !scripted {
							t.Errorf("attempt %d: %v", n, err)
						}
						return err
					}
				}
				return nil
			}
			s.watch = func(n int, req *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.Order]) error {
				return play(n, &scene{side: stream, request: req.Id, method: watch, gate: gate})
			}
			s.chat = func(n int, stream grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
				return play(n, &scene{side: stream, method: chat, gate: gate})
			}
			calls := newTally()
			conn := startConn(t, s, backstay.New(calls, attempting(4)), grpccall.Config{BufferSize: 200, Idempotent: func(string) bool { return true }})
			stream, err := conn.NewStream(limited(t), descOf(r.method), r.method)
			if err != nil {
				t.Fatalf("NewStream() = %v, want a stream", err)
			}
			sc := &scene{side: stream, method: r.method, gate: gate}
			for i, a := range r.client {
				if err := a(sc); err != nil {
					t.Fatalf("act %d: %v", i, err)
				}
			}
			if got := len(s.attempts()); got != len(r.server) {
				t.Errorf("%d attempts, want %d", got, len(r.server))
			}
			calls.end(t)
			if n := calls.inFlight(); n != 0 {
				t.Errorf("%d calls in flight after the end, want 0", n)
			}
		})
	}
}

// refusesToSend sends where nothing more may be.
func refusesToSend(s *scene) error {
	if err := s.SendMsg(s.saying("2")); status.Code(err) != codes.Internal {
		return fmt.Errorf("SendMsg() after the last = %v, want Internal", err)
	}
	return nil
}
