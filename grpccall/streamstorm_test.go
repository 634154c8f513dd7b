package grpccall_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/timeout"
)

// A plan is what the server does with a call, which the caller knows too: it fails
// so many attempts, and then sends so many messages and ends with the code.
type plan struct {
	call, fails, sends int
	code               codes.Code
}

func randomPlan(call int, r *rand.Rand) plan {
	return plan{call, r.IntN(4), r.IntN(20), []codes.Code{codes.OK, codes.OK, codes.Unavailable, codes.NotFound}[r.IntN(4)]}
}

func (p plan) String() string { return fmt.Sprintf("%d/%d/%d/%d", p.call, p.fails, p.sends, p.code) }

func parsePlan(text string) (p plan) {
	_, _ = fmt.Sscanf(text, "%d/%d/%d/%d", &p.call, &p.fails, &p.sends, &p.code)
	return p
}

// A stormy server follows the plans.
type stormy struct {
	mu       sync.Mutex
	attempts map[int]int
}

func (s *stormy) note(p plan) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[p.call]++
	return s.attempts[p.call]
}

func (s *stormy) watch(_ int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
	p := parsePlan(req.Id)
	if n := s.note(p); n <= p.fails {
		return status.Error(codes.Unavailable, "planned")
	}
	for i := range p.sends {
		if err := st.Send(&pb.Order{Id: req.Id, Quantity: int32(i)}); err != nil {
			return err
		}
	}
	return failed(p.code, "planned")
}

func (s *stormy) chat(_ int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
	first, err := st.Recv()
	if err != nil {
		return unlessEOF(err)
	}
	p := parsePlan(first.OrderId)
	if n := s.note(p); n > 1 {
		return status.Error(codes.Internal, "a second attempt of what the client streams")
	}
	for n, m := 0, first; ; n++ {
		if m.Text != strconv.Itoa(n) {
			return status.Errorf(codes.Internal, "message %d is %q", n, m.Text)
		}
		if n == p.sends {
			return failed(p.code, "planned")
		}
		if err := st.Send(m); err != nil {
			return err
		}
		if m, err = st.Recv(); err != nil {
			return unlessEOF(err)
		}
	}
}

// 64 goroutines on one channel use streams as they like, leave them, cancel them,
// and always see each message once and in order, and the end that is planned.
//
// G-18, G-19, G-20
func TestAStormOfStreams(t *testing.T) {
	calls := 20
	if testing.Short() {
		calls = 5
	}
	weather := &stormy{attempts: map[int]int{}}
	s := &server{watch: weather.watch, chat: weather.chat}
	all := newTally()
	p := backstay.New(all, timeout.Call(within), attempting(4), breaker.New(breaker.Config{FailureRate: 1, MinCalls: 1 << 20}), timeout.Attempt(within/2))
	conn := startConn(t, s, p, grpccall.Config{Idempotent: func(string) bool { return true }})
	var number, finished, began atomic.Int64
	seed := rand.Uint64()
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			for range calls {
				w := &sailor{t: t, r: r, conn: conn, plan: randomPlan(int(number.Add(1)), r), finished: &finished}
				began.Add(1)
				if r.IntN(3) == 0 {
					w.chat()
				} else {
					w.watch()
				}
			}
		})
	}
	wg.Wait()
	for range began.Load() {
		all.end(t)
	}
	if n := all.inFlight(); n != 0 {
		t.Errorf("seed %d: %d calls in flight, want 0", seed, n)
	}
	eventually(t, "OnFinish is called for each call", func() bool { return finished.Load() >= began.Load() })
	if finished.Load() != began.Load() {
		t.Errorf("seed %d: OnFinish was called %d times for %d calls", seed, finished.Load(), began.Load())
	}
}

// A sailor makes one call in the storm.
type sailor struct {
	t        *testing.T
	r        *rand.Rand
	conn     *grpc.ClientConn
	plan     plan
	finished *atomic.Int64
	wg       sync.WaitGroup
}

// open begins the call with a context that may end early.
func (w *sailor) open(method string) (s grpc.ClientStream, ctx context.Context, stop func()) {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	stop = func() {
		cancel()
		w.wg.Wait()
	}
	if w.r.IntN(5) == 0 {
		delay := time.Duration(w.r.IntN(2000)) * time.Microsecond
		early := time.AfterFunc(delay, cancel)
		stop = func() {
			early.Stop()
			cancel()
			w.wg.Wait()
		}
	}
	s, err := w.conn.NewStream(ctx, descOf(method), method, grpc.OnFinish(func(error) { w.finished.Add(1) }))
	if err != nil {
		w.wantCanceled(ctx, "NewStream", err)
		return nil, ctx, stop
	}
	return s, ctx, stop
}

func (w *sailor) wantCanceled(ctx context.Context, what string, err error) {
	if ctx.Err() == nil || status.Code(err) != codes.Canceled {
		w.t.Errorf("plan %v: %s = %v, with the context %v", w.plan, what, err, ctx.Err())
	}
}

// fiddle does what may be done beside sending and receiving. It reports whether
// no other attempt may follow.
func (w *sailor) fiddle(s grpc.ClientStream) (fixed bool) {
	for range w.r.IntN(3) {
		switch w.r.IntN(3) {
		case 0:
			w.wg.Go(func() { _, _ = s.Header() })
		case 1:
			w.wg.Go(func() { _ = s.Trailer() })
		case 2:
			fixed = true
			w.wg.Go(func() { _ = s.Context() })
		}
	}
	return fixed
}

func (w *sailor) watch() {
	s, ctx, stop := w.open(watch)
	defer stop()
	if s == nil {
		return
	}
	if err := s.SendMsg(&pb.WatchRequest{Id: w.plan.String()}); err != nil {
		w.wantCanceled(ctx, "SendMsg", err)
		return
	}
	fixed := w.fiddle(s)
	if w.r.IntN(2) == 0 {
		_ = s.CloseSend()
	}
	leave := w.r.IntN(40)
	for n := 0; n != leave; n++ {
		o := &pb.Order{}
		if err := s.RecvMsg(o); err != nil {
			w.checkEnd(ctx, n, err, fixed)
			return
		}
		if o.Id != w.plan.String() || o.Quantity != int32(n) {
			w.t.Errorf("plan %v: message %d is %v", w.plan, n, o)
		}
	}
}

// checkEnd compares the end of a Watch with the plan.
func (w *sailor) checkEnd(ctx context.Context, n int, err error, fixed bool) {
	want, count := w.plan.code, w.plan.sends
	if w.plan.fails >= 4 {
		want, count = codes.Unavailable, 0
	}
	// A plan that fails at once with UNAVAILABLE is tried again, and sends the
	// same: nothing.
	switch got := status.Code(unlessEOF(err)); {
	case got == want && n == count:
	case fixed && n == 0 && got == codes.Unavailable: // Context allowed no other attempt
	case ctx.Err() != nil && got == codes.Canceled && n <= count:
	default:
		w.t.Errorf("plan %v: %d messages, then %v, want %d and %v", w.plan, n, err, count, want)
	}
	if got := unlessEOF(err); got != nil && strings.Contains(got.Error(), "grpccall") {
		w.t.Errorf("plan %v: ended with %v, want an error of gRPC's", w.plan, err)
	}
}

func (w *sailor) chat() {
	s, ctx, stop := w.open(chat)
	defer stop()
	if s == nil {
		return
	}
	w.fiddle(s)
	w.wg.Go(func() {
		for i := range w.plan.sends + 1 {
			if err := s.SendMsg(&pb.ChatMessage{OrderId: w.plan.String(), Text: strconv.Itoa(i)}); err != nil {
				if err != io.EOF {
					w.wantCanceled(ctx, "SendMsg", err)
				}
				return
			}
		}
		_ = s.CloseSend()
	})
	leave := w.r.IntN(40)
	for n := 0; n != leave; n++ {
		m := &pb.ChatMessage{}
		if err := s.RecvMsg(m); err != nil {
			got := status.Code(unlessEOF(err))
			if (got != w.plan.code || n != w.plan.sends) && (ctx.Err() == nil || !errors.Is(err, context.Canceled) && got != codes.Canceled) {
				w.t.Errorf("plan %v: %d answers, then %v", w.plan, n, err)
			}
			return
		}
		if m.OrderId != w.plan.String() || m.Text != strconv.Itoa(n) {
			w.t.Errorf("plan %v: answer %d is %v", w.plan, n, m)
		}
	}
}

// The channel is closed while many streams are in all their states.
func TestAChannelIsClosedInAStorm(t *testing.T) {
	for range 5 {
		weather := &stormy{attempts: map[int]int{}}
		s := &server{watch: weather.watch, chat: weather.chat}
		all := newTally()
		conn := startConn(t, s, backstay.New(all, attempting(4)), grpccall.Config{})
		var number, began atomic.Int64
		var wg sync.WaitGroup
		for g := range 32 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(g)))
				for {
					p := randomPlan(int(number.Add(1)), r)
					stream, err := conn.NewStream(t.Context(), descOf(watch), watch)
					if err == nil {
						began.Add(1)
						err = stream.SendMsg(&pb.WatchRequest{Id: p.String()})
					}
					for n := 0; err == nil; n++ {
						o := &pb.Order{}
						if err = stream.RecvMsg(o); err == nil && o.Quantity != int32(n) {
							t.Errorf("plan %v: message %d is %v", p, n, o)
						}
					}
					if status.Code(err) == codes.Canceled {
						return // for the channel is closed
					}
				}
			})
		}
		eventually(t, "the storm blows", func() bool { return began.Load() > 200 })
		_ = conn.Close()
		wg.Wait()
		eventually(t, "no call is in flight", func() bool { return all.inFlight() == 0 })
	}
}
