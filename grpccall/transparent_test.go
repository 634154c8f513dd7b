package grpccall_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// What a wire does to a stream.
type fate int

const (
	answer  fate = iota
	refuse       // with RST_STREAM, REFUSED_STREAM
	goAway       // with GOAWAY: the stream was not looked at
	fail         // with UNAVAILABLE
	goAfter      // with GOAWAY that says that the stream was looked at
	early        // answer, as soon as it begins
	deny         // headers and PERMISSION_DENIED, as soon as it begins
	open         // headers and a message, as soon as it begins, and then nothing
	double       // with two replies
	failNow      // UNAVAILABLE, as soon as it begins
)

// A wire is a server that does to streams what no grpc.Server can be made to do.
type wire struct {
	fates []fate // stream by stream, of all connections; then answer

	read chan struct{} // if not nil, told when the client has read an early answer

	mu       sync.Mutex
	previous []string // grpc-previous-rpc-attempts of each stream
}

// start has w serve until the end of the test, and returns its address.
func (w *wire) start(t *testing.T) string {
	lis := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { w.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		wg.Wait()
	})
	return lis.Addr().String()
}

// serve serves one connection, until the client closes it.
func (w *wire) serve(conn net.Conn) {
	defer conn.Close()
	if _, err := io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	fates := map[uint32]fate{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = f.WritePing(true, frame.Data)
			} else if w.read != nil {
				w.read <- struct{}{}
			}
		case *http2.MetaHeadersFrame:
			switch e := w.note(frame); e {
			case early, deny, open, failNow:
				e.meet(f, frame.StreamID)
				_ = f.WritePing(false, [8]byte{})
			default:
				fates[frame.StreamID] = e
			}
		case *http2.DataFrame:
			if e, ok := fates[frame.StreamID]; ok && frame.StreamEnded() {
				e.meet(f, frame.StreamID)
			}
		}
	}
}

// note counts a stream and returns what becomes of it.
func (w *wire) note(frame *http2.MetaHeadersFrame) fate {
	previous := ""
	for _, h := range frame.Fields {
		if h.Name == "grpc-previous-rpc-attempts" {
			previous += h.Value
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.previous = append(w.previous, previous)
	if n := len(w.previous); n <= len(w.fates) {
		return w.fates[n-1]
	}
	return answer
}

// meet ends a stream.
func (e fate) meet(f *http2.Framer, stream uint32) {
	fields := func(last bool, nameValues ...string) {
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for i := 0; i < len(nameValues); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: nameValues[i], Value: nameValues[i+1]})
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: last})
	}
	switch e {
	case refuse:
		_ = f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
	case goAway:
		_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
	case goAfter:
		_ = f.WriteGoAway(stream, http2.ErrCodeNo, nil)
		_ = f.WriteRSTStream(stream, http2.ErrCodeInternal)
	case fail, failNow:
		fields(true, ":status", "200", "content-type", "application/grpc", "grpc-status", "14", "grpc-message", "sick")
	case deny:
		fields(false, ":status", "200", "content-type", "application/grpc")
		fields(true, "grpc-status", "7", "grpc-message", "no")
	case double:
		fields(false, ":status", "200", "content-type", "application/grpc")
		_ = f.WriteData(stream, false, make([]byte, 10))
		fields(true, "grpc-status", "0")
	case open:
		fields(false, ":status", "200", "content-type", "application/grpc")
		_ = f.WriteData(stream, false, make([]byte, 5))
	case answer, early:
		fields(false, ":status", "200", "content-type", "application/grpc")
		_ = f.WriteData(stream, false, make([]byte, 5)) // an empty message
		fields(true, "grpc-status", "0")
	}
}

// G-11: unsafe calls too are made again by gRPC where the server has not looked
// at them, and the policy sees one attempt.
func TestTransparentRetriesAreNotCounted(t *testing.T) {
	place := func(ctx context.Context, c pb.OrdersClient) error {
		_, err := c.Place(ctx, &pb.PlaceRequest{})
		return err
	}
	get := func(ctx context.Context, c pb.OrdersClient) error {
		_, err := c.Get(ctx, &pb.GetRequest{})
		return err
	}
	rows := []struct {
		what     string
		call     func(context.Context, pb.OrdersClient) error
		fates    []fate
		code     codes.Code
		attempts []int    // that the policy makes
		previous []string // on each stream
	}{
		{"nothing", place, nil, codes.OK, []int{1}, []string{""}},
		{"REFUSED_STREAM", place, []fate{refuse}, codes.OK, []int{1}, []string{"", ""}},
		{"GOAWAY", place, []fate{goAway}, codes.OK, []int{1}, []string{"", ""}},
		{"REFUSED_STREAM and then UNAVAILABLE", get, []fate{refuse, fail}, codes.OK, []int{1, 2}, []string{"", "", "1"}},
		{"REFUSED_STREAM and then UNAVAILABLE of an unsafe call", place, []fate{refuse, fail}, codes.Unavailable, []int{1}, []string{"", ""}},
		{"UNAVAILABLE and then REFUSED_STREAM", get, []fate{fail, refuse}, codes.OK, []int{1, 2}, []string{"", "1", "1"}},
		{"GOAWAY after the call was looked at", place, []fate{goAfter}, codes.Internal, []int{1}, []string{""}},
	}
	for _, row := range rows {
		t.Run(row.what, func(t *testing.T) {
			leak.Check(t)
			w := &wire{fates: row.fates}
			var attempts []int
			budget := retry.NewBudget(retry.BudgetConfig{Ratio: 1, PerSecond: 1e-9}) // this call earns one retry
			p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause(), Budget: budget}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				attempts = append(attempts, call.Attempt)
				return next(ctx, call)
			}))
			err := row.call(limited(t), dial(t, w.start(t), p, grpccall.Config{}))
			if status.Code(err) != row.code || !slices.Equal(attempts, row.attempts) || !slices.Equal(w.previous, row.previous) {
				t.Errorf("call = %v after the attempts %v, on streams with grpc-previous-rpc-attempts %q; want %v after %v on %q",
					err, attempts, w.previous, row.code, row.attempts, row.previous)
			}
			if got, want := int(budget.Balance()+0.5), 2-len(row.attempts); got != want {
				t.Errorf("the budget has %d retries left, want %d", got, want)
			}
		})
	}
}

// A server may answer before it has read, and then gRPC finds the stream over
// that it makes again before it has sent what the first one sent. It has the
// answer, and says that the stream has ended without headers.
//
// G-11
func TestAnAnswerThatComesBeforeTheRestIsSentAgainIsNotLost(t *testing.T) {
	for name, call := range map[string]func(*testing.T, pb.OrdersClient) error{
		"Import": placeMany,
		"Watch": func(t *testing.T, c pb.OrdersClient) error {
			s, err := c.Watch(limited(t), &pb.WatchRequest{})
			if err == nil {
				_, err = s.Recv()
			}
			if err == nil {
				_, err = s.Recv()
				return unlessEOF(err)
			}
			return err
		},
		"Chat": func(t *testing.T, c pb.OrdersClient) error {
			s, err := c.Chat(limited(t))
			if err != nil {
				return err
			}
			_, _ = s.Send(&pb.ChatMessage{}), s.CloseSend()
			_, err = s.Recv()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			w := &wire{fates: []fate{goAway, early}, read: make(chan struct{}, 1)}
			client := dial(t, w.start(t), backstay.New(), grpccall.Config{}, grpc.WithStatsHandler(&lateSends{from: 2, until: w.haveRead}))
			if err := call(t, client); err != nil || w.streams() != 2 {
				t.Errorf("the call = %v after %d streams, want no error, 2", err, w.streams())
			}
		})
	}
}

// So is a failure, which gRPC calls a success as long as nothing is received.
//
// G-11
func TestAFailureThatComesBeforeTheRestIsSentAgainIsToldToAll(t *testing.T) {
	for name, open := range map[string]func(context.Context, pb.OrdersClient, ...grpc.CallOption) (grpc.ClientStream, error){
		"Watch": func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return c.Watch(ctx, &pb.WatchRequest{}, opts...)
		},
		"Chat": func(ctx context.Context, c pb.OrdersClient, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := c.Chat(ctx, opts...)
			if err == nil {
				_, _ = s.Send(&pb.ChatMessage{}), s.CloseSend()
			}
			return s, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			w := &wire{fates: []fate{goAway, deny}, read: make(chan struct{}, 1)}
			calls := newTally()
			client := dial(t, w.start(t), backstay.New(calls), grpccall.Config{}, grpc.WithStatsHandler(&lateSends{from: 2, until: w.haveRead}))
			var told []error
			s, err := open(limited(t), client, grpc.OnFinish(func(err error) { told = append(told, err) }))
			if err != nil {
				t.Fatal(err)
			}
			err = s.RecvMsg(&pb.Order{})
			if status.Code(err) != codes.PermissionDenied || len(told) != 1 || status.Code(told[0]) != codes.PermissionDenied {
				t.Errorf("RecvMsg() = %v, OnFinish is told %v; want both PERMISSION_DENIED", err, told)
			}
			if len(calls.ends) != 1 || status.Code(calls.ends[0]) != codes.PermissionDenied {
				t.Errorf("the policy is told that the stream ended with %v, want PERMISSION_DENIED", calls.ends)
			}
		})
	}
}

// The answer to a unary call is lost there, in gRPC, which returns io.EOF. The call
// is made again if it may be.
//
// G-11
func TestAnAnswerThatGRPCHasLostIsAskedForAgain(t *testing.T) {
	for name, row := range map[string]struct {
		call    func(*testing.T, pb.OrdersClient) error
		streams int
		code    codes.Code
	}{
		"Get":   {func(t *testing.T, c pb.OrdersClient) error { _, err := c.Get(limited(t), &pb.GetRequest{}); return err }, 3, codes.OK},
		"Place": {placeOne, 2, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			w := &wire{fates: []fate{goAway, early}, read: make(chan struct{}, 1)}
			client := dial(t, w.start(t), again(), grpccall.Config{}, grpc.WithStatsHandler(&lateSends{from: 2, until: w.haveRead}))
			if err := row.call(t, client); status.Code(err) != row.code || err != nil && !says(err, "has lost how that ended") || w.streams() != row.streams {
				t.Errorf("the call = %v after %d streams, want %v after %d", err, w.streams(), row.code, row.streams)
			}
		})
	}
}

// A slowConn takes its time to close, as one of TLS may.
type slowConn struct {
	net.Conn
	once             sync.Once
	closing, release chan struct{}
}

func (c *slowConn) Close() error {
	c.once.Do(func() { close(c.closing); <-c.release })
	return c.Conn.Close()
}

// The connection may be lost while gRPC sends again what it had sent. It takes the
// call for over then, and never ends a RecvMsg.
//
// G-11, G-15
func TestAStreamThatIsLostWhileItIsMadeAgainEnds(t *testing.T) {
	const cutTail = time.Second                                              // in which gRPC is to hand over what it has
	calls := map[string]func(context.Context, pb.OrdersClient) (int, error){ // how many messages came
		"Watch": func(ctx context.Context, c pb.OrdersClient) (n int, err error) {
			s, err := c.Watch(ctx, &pb.WatchRequest{})
			for err == nil {
				if _, err = s.Recv(); err == nil {
					n++
				}
			}
			return n, err
		},
		"Chat": func(ctx context.Context, c pb.OrdersClient) (n int, err error) {
			s, err := c.Chat(ctx)
			if err == nil {
				_, _ = s.Send(&pb.ChatMessage{}), s.CloseSend()
			}
			for err == nil {
				if _, err = s.Recv(); err == nil {
					n++
				}
			}
			return n, err
		},
	}
	rows := []struct {
		second   fate
		messages int
		limit    time.Duration
		code     codes.Code
	}{
		{answer, 0, within, codes.Unavailable},
		{open, 1, within, codes.Unavailable},
		{open, 1, cutTail / 4, codes.DeadlineExceeded},
	}
	for name, call := range calls {
		for _, row := range rows {
			t.Run(fmt.Sprint(name, " after messages: ", row.messages, " within ", row.limit), func(t *testing.T) {
				w := &wire{fates: []fate{refuse, row.second}, read: make(chan struct{}, 1)}
				addr := w.start(t)
				var conn *slowConn
				dialer := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
					conn = &slowConn{Conn: c, closing: make(chan struct{}), release: make(chan struct{})}
					return conn, err
				})
				lose := &lateSends{from: 2, until: func(ctx context.Context) {
					if row.messages > 0 {
						w.haveRead(ctx)
					}
					_ = conn.Conn.(*net.TCPConn).CloseRead()
					<-conn.closing
				}}
				client := dial(t, addr, backstay.New(), grpccall.Config{}, dialer, grpc.WithStatsHandler(lose))
				defer func() { close(conn.release) }()
				ctx, cancel := context.WithTimeout(t.Context(), row.limit)
				defer cancel()
				if got, err := call(ctx, client); got != row.messages || status.Code(err) != row.code {
					t.Errorf("%d messages came, and then %v; want %d, %v", got, err, row.messages, row.code)
				}
			})
		}
	}
}

// gRPC wraps its io.EOF where its own attempts are exhausted.
//
// G-15
func TestTheEndOfARetryPolicyIsAStatus(t *testing.T) {
	leak.Check(t)
	w := &wire{fates: []fate{fail, failNow, failNow, failNow}, read: make(chan struct{}, 4)}
	addr := w.start(t)
	second, third, fourth := &lateSends{from: 2, until: w.haveRead}, &lateSends{from: 3, until: w.haveRead}, &lateSends{from: 4, until: w.haveRead}
	client := dial(t, addr, backstay.New(), grpccall.Config{ServiceConfig: fourAttempts},
		grpc.WithStatsHandler(second), grpc.WithStatsHandler(third), grpc.WithStatsHandler(fourth))
	if _, err := client.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.Unavailable || !says(err, "has lost how that ended") {
		t.Errorf("Get() = %v after %d streams, want UNAVAILABLE that says what was lost", err, w.streams())
	}
}

// lateSends has the stream with the number from send nothing but its headers
// until something has happened.
type lateSends struct {
	from, streams int
	until         func(context.Context)
}

func (l *lateSends) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (l *lateSends) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (l *lateSends) HandleConn(context.Context, stats.ConnStats)                       {}
func (l *lateSends) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.OutHeader); !ok {
		return
	}
	if l.streams++; l.streams == l.from {
		l.until(ctx)
	}
}

// haveRead waits until the client has read an early answer.
func (w *wire) haveRead(ctx context.Context) {
	select {
	case <-w.read:
	case <-ctx.Done():
	}
}
