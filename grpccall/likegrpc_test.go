package grpccall_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/timeout"
)

// A play is what a server does on a stream.
type play struct {
	early          bool // before the client has said that it sends no more
	set, send, end bool // headers, headers at once, a trailer
	messages       int
	code           codes.Code
}

func (p play) on(s grpc.ServerStream, message func(n int) any) error {
	if p.set {
		_ = s.SetHeader(metadata.Pairs("set", "1"))
	}
	if p.send {
		_ = s.SendHeader(metadata.Pairs("sent", "1"))
	}
	if p.end {
		s.SetTrailer(metadata.Pairs("end", "1"))
	}
	for n := range p.messages {
		if err := s.SendMsg(message(n)); err != nil {
			return err
		}
	}
	return failed(p.code, "played")
}

// A listener is a caller of a stream who writes down all that he sees.
type listener struct {
	strings.Builder
	grpc.ClientStream
	chat               bool
	sent, closed, over bool
}

func (l *listener) note(what string, args ...any) { fmt.Fprintf(l, what+"; ", args...) }

// does does one thing, if gRPC has it done at this time.
func (l *listener) does(what int) {
	switch what {
	case 0:
		if l.closed || l.sent && !l.chat {
			return
		}
		l.sent = true
		var m any = &pb.WatchRequest{Id: "7"}
		if l.chat {
			m = &pb.ChatMessage{Text: "7"}
		}
		l.note("send %v", unlessEOF(l.SendMsg(m))) // that the stream is over is seen sooner or later
	case 1:
		if l.sent || l.chat {
			l.closed = true
			l.note("close %v", l.CloseSend())
		}
	case 2:
		if l.closed { // for which the server may wait
			h, err := l.Header()
			l.note("header %v %v", h, err)
		}
	case 3:
		if l.closed {
			l.receive()
		}
	case 4:
		l.Context()
	case 5:
		if l.over {
			l.note("trailer %v", l.Trailer())
		}
	}
}

func (l *listener) receive() {
	order, text := &pb.Order{}, &pb.ChatMessage{}
	var m any = order
	if l.chat {
		m = text
	}
	err := l.RecvMsg(m)
	l.over = l.over || err != nil
	l.note("receive %d%s %v", order.Quantity, text.Text, err)
}

// overhear does things on a stream and then all that is left to do. It returns what
// it has seen.
func overhear(ctx context.Context, conn *grpc.ClientConn, chats bool, things []int) string {
	l := &listener{chat: chats}
	var header, trailer metadata.MD
	end := "none"
	method := watch
	if chats {
		method = chat
	}
	s, err := conn.NewStream(ctx, descOf(method), method, grpc.Header(&header), grpc.Trailer(&trailer), grpc.OnFinish(func(err error) { end = fmt.Sprint(err) }))
	if err != nil {
		return err.Error()
	}
	l.ClientStream = s
	for _, thing := range append(things, 0, 1, 3, 3, 3, 3, 3, 5) {
		l.does(thing)
	}
	l.note("options %v %v %s", header, trailer, end)
	return l.String()
}

// Whatever a caller does with a stream, in whatever order, he sees what he would
// without a policy.
//
// G-12, G-16
func TestAStreamIsLikeOneOfGRPC(t *testing.T) {
	leak.Check(t)
	var now atomic.Pointer[play]
	s := serve(t, &server{
		watch: func(_ int, _ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
			return now.Load().on(s, func(n int) any { return &pb.Order{Quantity: int32(n)} })
		},
		chat: func(_ int, s grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
			p := now.Load()
			for !p.early {
				if _, err := s.Recv(); err == io.EOF {
					break
				} else if err != nil {
					return err
				}
			}
			return p.on(s, func(n int) any { return &pb.ChatMessage{Text: fmt.Sprint(n)} })
		},
	})
	bare := connect(t, s.addr)
	stacks := map[string]*grpc.ClientConn{}
	for name, policy := range map[string]*backstay.Policy{
		"an empty policy": backstay.New(),
		"a policy":        backstay.New(timeout.Call(within), attempting(2), breaker.New(breaker.Config{Name: "orders", MinCalls: 1 << 20, ConsecutiveFailures: 1 << 20}), timeout.Attempt(within/2)),
	} {
		stacks[name] = connect(t, s.addr, grpccall.DialOptions(policy, grpccall.Config{})...)
	}
	ends := []codes.Code{codes.OK, codes.OK, codes.NotFound, codes.Internal, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, seed))
	coin := func() bool { return random.IntN(2) == 0 }
	for range 500 {
		p := play{early: coin(), set: coin(), send: coin(), end: coin(), messages: random.IntN(4), code: ends[random.IntN(len(ends))]}
		now.Store(&p)
		chats, things := coin(), make([]int, random.IntN(8))
		for i := range things {
			things[i] = random.IntN(6)
		}
		want := overhear(limited(t), bare, chats, things)
		for name, conn := range stacks {
			if got := overhear(limited(t), conn, chats, things); got != want {
				t.Fatalf("seed %d, %+v, chat %v, doing %v under %s:\n%s\nwant as without:\n%s", seed, p, chats, things, name, got, want)
			}
		}
	}
}
