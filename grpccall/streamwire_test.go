package grpccall_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
)

// A vandal is a server of HTTP/2 that misbehaves frame by frame, as grpc.Server
// cannot be made to. Each stream, in order, gets the deed of its number; the last
// is for all that follow.
type vandal struct {
	addr  string
	deeds []deed

	mu      sync.Mutex
	streams int
}

// A deed answers a stream, and reports whether the connection lives on.
type deed func(c net.Conn, stream uint32) bool

// The frames of RFC 9113, section 6.
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4
	framePing     = 0x6
	frameGoAway   = 0x7

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
)

func writeFrame(c io.Writer, kind, flags byte, stream uint32, payload []byte) {
	head := make([]byte, 9, 9+len(payload))
	head[0], head[1], head[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	head[3], head[4] = kind, flags
	binary.BigEndian.PutUint32(head[5:], stream)
	_, _ = c.Write(append(head, payload...))
}

// fields encodes header fields as literals: RFC 7541, section 6.2.2.
func fields(pairs ...string) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, 0)
		for _, text := range pairs[i : i+2] {
			b = append(append(b, byte(len(text))), text...)
		}
	}
	return b
}

// resets ends a stream with an error code of RFC 9113, section 7.
func resets(code uint32) deed {
	return func(c net.Conn, stream uint32) bool {
		writeFrame(c, frameReset, 0, stream, binary.BigEndian.AppendUint32(nil, code))
		return true
	}
}

// trailersOnly ends a stream with a status and no headers.
func trailersOnly(code codes.Code, more ...string) deed {
	return func(c net.Conn, stream uint32) bool {
		all := append([]string{":status", "200", "content-type", "application/grpc", "grpc-status", fmt.Sprint(int(code))}, more...)
		writeFrame(c, frameHeaders, flagEndHeaders|flagEndStream, stream, fields(all...))
		return true
	}
}

// answers sends headers, messages that are empty, and what follows.
func answers(messages int, then deed) deed {
	return func(c net.Conn, stream uint32) bool {
		writeFrame(c, frameHeaders, flagEndHeaders, stream, fields(":status", "200", "content-type", "application/grpc"))
		for range messages {
			writeFrame(c, frameData, 0, stream, make([]byte, 5))
		}
		return then(c, stream)
	}
}

// trailers end a stream after headers.
func trailers(code codes.Code) deed {
	return func(c net.Conn, stream uint32) bool {
		writeFrame(c, frameHeaders, flagEndHeaders|flagEndStream, stream, fields("grpc-status", fmt.Sprint(int(code))))
		return true
	}
}

// cuts sends half of a message and ends the connection.
func cuts(c net.Conn, stream uint32) bool {
	writeFrame(c, frameData, 0, stream, []byte{0, 0, 0, 0, 9, 1, 2})
	return false
}

// dies ends the connection.
func dies(net.Conn, uint32) bool { return false }

// goesAway says that no stream of the connection was processed, and ends it.
func goesAway(c net.Conn, stream uint32) bool {
	writeFrame(c, frameGoAway, 0, 0, binary.BigEndian.AppendUint64(nil, 0))
	return false
}

// otherwise answers as something that is no gRPC server does.
func otherwise(httpStatus string) deed {
	return func(c net.Conn, stream uint32) bool {
		writeFrame(c, frameHeaders, flagEndHeaders|flagEndStream, stream, fields(":status", httpStatus, "content-type", "text/html"))
		return true
	}
}

func serveVandal(t testing.TB, deeds ...deed) *vandal {
	lis := listen(t)
	w := &vandal{addr: lis.Addr().String(), deeds: deeds}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			wg.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() {
		lis.Close()
		wg.Wait()
	})
	return w
}

func (w *vandal) serve(c net.Conn) {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		return
	}
	writeFrame(c, frameSettings, 0, 0, nil)
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			return
		}
		stream := binary.BigEndian.Uint32(head[5:])
		switch {
		case head[3] == frameSettings && head[4]&flagAck == 0:
			writeFrame(c, frameSettings, flagAck, 0, nil)
		case head[3] == framePing && head[4]&flagAck == 0:
			writeFrame(c, framePing, flagAck, 0, payload)
		case head[3] == frameData && head[4]&flagEndStream != 0: // all has come
			if !w.next()(c, stream) {
				return
			}
		}
	}
}

// next returns what to do with the next stream.
func (w *vandal) next() deed {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams++
	return w.deeds[min(w.streams, len(w.deeds))-1]
}

func (w *vandal) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.streams
}

// gRPC's TestRetryStats, and what a peer can do to a stream: gRPC's own retries of
// what no server has processed are not ours, and not counted.
//
// G-11, G-18
func TestWhatTheWireDoesToAStream(t *testing.T) {
	const (
		internal = 0x2
		refused  = 0x7
		calm     = 0xb
	)
	un := codes.Unavailable
	good := answers(2, trailers(codes.OK))
	for _, r := range []struct {
		name     string
		deeds    []deed
		messages int
		code     codes.Code
		streams  int // that the server saw
		attempts int // that we made
	}{
		{"a refused stream", []deed{resets(refused), good}, 2, codes.OK, 2, 1},
		{"GOAWAY that has seen none", []deed{goesAway, good}, 2, codes.OK, 2, 1},
		{"refused, failed, well", []deed{resets(refused), trailersOnly(un, "grpc-retry-pushback-ms", "10"), good}, 2, codes.OK, 3, 2},
		{"refused twice", []deed{resets(refused), resets(refused), good}, 2, codes.OK, 3, 2},
		{"a death before headers", []deed{dies, good}, 2, codes.OK, 2, 2},
		{"a death after headers", []deed{answers(0, dies), good}, 0, un, 1, 1},
		{"a death after a message", []deed{answers(1, dies), good}, 1, un, 1, 1},
		{"a death within a message", []deed{answers(1, cuts), good}, 1, un, 1, 1},
		{"a reset before headers", []deed{resets(internal), good}, 0, codes.Internal, 1, 1},
		{"a reset after headers", []deed{answers(0, resets(internal)), good}, 0, codes.Internal, 1, 1},
		{"a refusal after headers", []deed{answers(1, resets(refused)), good}, 1, un, 1, 1},
		{"a call for calm", []deed{resets(calm), good}, 0, codes.ResourceExhausted, 1, 1},
		{"a proxy's 503", []deed{otherwise("503"), good}, 2, codes.OK, 2, 2},
		{"a proxy's 404", []deed{otherwise("404"), good}, 0, codes.Unimplemented, 1, 1},
		{"an end without a status", []deed{answers(1, func(c net.Conn, s uint32) bool {
			writeFrame(c, frameData, flagEndStream, s, nil)
			return true
		}), good}, 1, codes.Internal, 1, 1},
		{"always dead", []deed{dies}, 0, un, 3, 3},
	} {
		t.Run(r.name, func(t *testing.T) {
			leak.Check(t)
			w := serveVandal(t, r.deeds...)
			calls := newTally()
			c := dial(t, w.addr, backstay.New(attempting(3), calls), grpccall.Config{})
			s, err := c.Watch(limited(t), &pb.WatchRequest{Id: "7"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := drain(s)
			if n := len(strings.Fields(got)); n != r.messages || status.Code(err) != r.code {
				t.Errorf("%d messages, then %v, want %d and %v", n, err, r.messages, r.code)
			}
			if w.count() != r.streams || calls.attempts() != r.attempts {
				t.Errorf("%d streams in %d attempts, want %d in %d", w.count(), calls.attempts(), r.streams, r.attempts)
			}
			calls.end(t)
		})
	}
}

// G-2, G-20: a client's stream is not made again whatever the wire does, except
// by gRPC where no server has processed it.
func TestWhatTheWireDoesToAClientStream(t *testing.T) {
	for _, r := range []struct {
		name    string
		deeds   []deed
		code    codes.Code
		streams int
	}{
		{"well", []deed{answers(2, trailers(codes.OK))}, codes.OK, 1},
		{"a refused stream", []deed{resets(0x7), answers(2, trailers(codes.OK))}, codes.OK, 2},
		{"a death", []deed{dies, answers(2, trailers(codes.OK))}, codes.Unavailable, 1},
		{"a status at once", []deed{trailersOnly(codes.Unavailable), answers(2, trailers(codes.OK))}, codes.Unavailable, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			leak.Check(t)
			w := serveVandal(t, r.deeds...)
			c := dial(t, w.addr, backstay.New(attempting(3)), grpccall.Config{Idempotent: func(string) bool { return true }})
			s, err := c.Chat(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"a", "b"} {
				if err := s.Send(&pb.ChatMessage{Text: text}); err != nil {
					t.Fatal(err)
				}
			}
			_ = s.CloseSend()
			for err == nil {
				_, err = s.Recv()
			}
			if status.Code(unlessEOF(err)) != r.code || w.count() != r.streams {
				t.Errorf("the stream ended with %v in %d, want %v in %d", err, w.count(), r.code, r.streams)
			}
		})
	}
}
