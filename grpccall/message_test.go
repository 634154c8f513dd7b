package grpccall_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// leaving returns an interceptor whose first attempts leave something in the
// reply and fail, as a message does that was cut in the middle.
func leaving(attempts int, leave func(reply any)) grpc.UnaryClientInterceptor {
	n := 0
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if n++; n <= attempts {
			leave(reply)
			return status.Error(codes.Unavailable, "cut")
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	}
}

// G-17
func TestAReplyHasNothingOfAnAttemptThatFailed(t *testing.T) {
	for _, attempts := range []int{0, 1, 2} {
		s := &server{get: func(_ context.Context, _ int, req *pb.GetRequest) (*pb.Order, error) {
			return &pb.Order{Id: req.Id}, nil
		}}
		c := start(t, s, again(), grpccall.Config{}, grpc.WithChainUnaryInterceptor(leaving(attempts, func(reply any) {
			o := reply.(*pb.Order)
			o.Item, o.Quantity = "left", 3
		})))
		o, err := c.Get(limited(t), &pb.GetRequest{Id: "7"})
		if want := (&pb.Order{Id: "7"}); err != nil || !proto.Equal(o, want) {
			t.Errorf("Get after %d attempts that left something = %v, %v, want %v", attempts, o, err, want)
		}
	}
}

// G-17
func TestAReplyThatIsNoMessageHasNothingOfAnAttemptThatFailed(t *testing.T) {
	leak.Check(t)
	type order struct{ ID, Item string }
	conn := connect(t, echo(t), append(grpccall.DialOptions(again(), grpccall.Config{Idempotent: func(string) bool { return true }}),
		grpc.WithChainUnaryInterceptor(leaving(2, func(reply any) { reply.(*order).Item = "left" })))...)
	var got order
	err := conn.Invoke(limited(t), "/any.Service/Call", map[string]string{"ID": "7"}, &got, grpc.ForceCodec(jsonCodec{}))
	if want := (order{ID: "7"}); err != nil || got != want {
		t.Errorf("Invoke after 2 attempts that left something = %v, %v, want %v", err, got, want)
	}
}

// jsonCodec encodes what is no proto.Message.
type jsonCodec struct{}

func (jsonCodec) Name() string                       { return "proto" } // as the server says it
func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

// echo serves any method by handing back what it is sent, once it has failed as
// often as the call asks for.
func echo(t *testing.T) (addr string) {
	var failed atomic.Int32
	s := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var got any
		if err := stream.RecvMsg(&got); err != nil {
			return err
		}
		if m := metadata.ValueFromIncomingContext(stream.Context(), "failures"); int(failed.Add(1)) <= len(m) {
			return status.Error(codes.Unavailable, "sick")
		}
		failed.Store(0)
		return stream.SendMsg(got)
	}))
	lis := listen(t)
	run(t, s, lis)
	return lis.Addr().String()
}

// G-17: replies need be no messages of protobuf.
func TestAReplyMayBeOfAnyType(t *testing.T) {
	leak.Check(t)
	type order struct {
		ID    string   `json:"id,omitempty"`
		Items []string `json:"items,omitempty"`
	}
	addr := echo(t)
	for failures := range 3 {
		conn := connect(t, addr, grpccall.DialOptions(again(), grpccall.Config{Idempotent: func(string) bool { return true }})...)
		ctx := limited(t)
		for range failures {
			ctx = metadata.AppendToOutgoingContext(ctx, "failures", "1")
		}
		invoke := func(req, reply any) error {
			return conn.Invoke(ctx, "/any.Service/Call", req, reply, grpc.ForceCodec(jsonCodec{}))
		}
		var text string
		if err := invoke("7", &text); err != nil || text != "7" {
			t.Errorf("Invoke into a *string after %d failures = %v, %q, want 7", failures, err, text)
		}
		into := order{Items: []string{"old"}}
		if err := invoke(order{ID: "7"}, &into); err != nil || into.ID != "7" || !slices.Equal(into.Items, []string{"old"}) {
			t.Errorf("Invoke into a struct that is not empty, after %d failures = %v, %v, want what the codec makes of it: 7 and [old]", failures, err, into)
		}
		var anything any
		if err := invoke([]string{"a", "b"}, &anything); err != nil || fmt.Sprint(anything) != "[a b]" {
			t.Errorf("Invoke into an *any after %d failures = %v, %v, want [a b]", failures, err, anything)
		}
		m := map[string]any{}
		if err := invoke(map[string]any{"id": "7"}, &m); err != nil || !maps.Equal(m, map[string]any{"id": "7"}) {
			t.Errorf("Invoke into a *map after %d failures = %v, %v, want id:7", failures, err, m)
		}
	}
}

// G-17
func TestAReplyMayBeDynamic(t *testing.T) {
	s := &server{get: failing(codes.Unavailable)}
	leak.Check(t)
	serve(t, s)
	conn := connect(t, s.addr, grpccall.DialOptions(again(), grpccall.Config{})...)
	desc := (&pb.Order{}).ProtoReflect().Descriptor()
	reply := dynamicpb.NewMessage(desc)
	if err := conn.Invoke(limited(t), get, &pb.GetRequest{Id: "7"}, reply); err != nil {
		t.Fatal(err)
	}
	if got := reply.Get(desc.Fields().ByName(protoreflect.Name("id"))).String(); got != "7" || len(s.attempts()) != 2 {
		t.Errorf("Invoke into a dynamic message: id %q after %d attempts, want 7 after 2", got, len(s.attempts()))
	}
}

// overlapping is a middleware that makes n attempts at once, as hedging does: the
// first success is the call's, and the others are given up and not waited for.
func overlapping(n int, losers *sync.WaitGroup) backstay.Middleware {
	type end struct {
		call *backstay.Call
		err  error
	}
	return under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ends := make(chan end, n)
		for range n {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			losers.Go(func() { ends <- end{f, next(ctx, f)} })
		}
		var last end
		for left := n; left > 0; left-- {
			if last.call != nil {
				last.call.Discard(last.err)
			}
			if last = <-ends; last.err == nil {
				losers.Go(func() {
					for range left - 1 {
						e := <-ends
						e.call.Discard(e.err)
					}
				})
				break
			}
		}
		call.Adopt(last.call)
		return last.err
	})
}

// G-12, G-13, G-17: attempts that overlap race for nothing that the caller has, and a
// caller may use its messages again at once.
func TestAttemptsThatOverlapShareNothing(t *testing.T) {
	leak.Check(t)
	s := serve(t, &server{get: func(ctx context.Context, n int, req *pb.GetRequest) (*pb.Order, error) {
		md := metadata.Pairs("attempt", fmt.Sprint(n))
		_, _ = grpc.SetHeader(ctx, md), grpc.SetTrailer(ctx, md)
		if n%5 == 0 {
			return nil, status.Error(codes.Unavailable, "sick")
		}
		return &pb.Order{Id: req.Id, Item: fmt.Sprint(n), Quantity: int32(n)}, nil
	}})
	var losers sync.WaitGroup
	defer losers.Wait()
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}), overlapping(3, &losers))
	conn := connect(t, s.addr, grpccall.DialOptions(p, grpccall.Config{})...)
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			req, reply := &pb.GetRequest{}, &pb.Order{}
			for i := range 50 {
				req.Id = fmt.Sprint(caller, "/", i)
				o := stale()
				err := conn.Invoke(limited(t), get, req, reply, o.options()...)
				if err != nil || reply.Id != req.Id || reply.Item != fmt.Sprint(reply.Quantity) {
					t.Errorf("Invoke(%s) = %v, %v, want that id, and item and quantity of one attempt", req.Id, reply, err)
				}
				if !slices.Equal(o.header["attempt"], []string{reply.Item}) || !slices.Equal(o.trailer["attempt"], []string{reply.Item}) || len(o.finished) != 1 {
					t.Errorf("Invoke(%s): header %v, trailer %v, OnFinish %v, want those of attempt %s, once", req.Id, o.header, o.trailer, o.finished, reply.Item)
				}
				reply.Reset()
				req.Reset()
			}
		})
	}
	wg.Wait()
}

// A loser whose goroutine starts when the call is over sends nothing.
func TestAnAttemptThatStartsTooLateIsNotMade(t *testing.T) {
	s := &server{}
	over, made := make(chan struct{}), make(chan error)
	c := start(t, s, backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		first, _ := call.Fork()
		late, _ := call.Fork()
		go func() {
			<-over
			err := next(ctx, late)
			late.Discard(err)
			made <- err
		}()
		err := next(ctx, first)
		call.Adopt(first)
		return err
	})), grpccall.Config{})
	req := &pb.GetRequest{Id: "7"}
	_, err := c.Get(limited(t), req)
	close(over)
	req.Id = "8"
	if late := <-made; err != nil || late == nil || len(s.attempts()) != 1 {
		t.Errorf("Get = %v, and an attempt after its end = %v, with %d made, want an error and 1", err, late, len(s.attempts()))
	}
}

// A middleware may answer in the server's place, with a message of its own.
func TestAMiddlewareMaySetTheReply(t *testing.T) {
	kept := &pb.Order{Id: "kept"}
	rows := []struct {
		what  string
		reply any
		code  codes.Code
	}{
		{"an Order", kept, codes.OK},
		{"something else", &pb.GetRequest{}, codes.Internal},
		{"nil", nil, codes.Internal},
		{"a nil Order", (*pb.Order)(nil), codes.OK},
	}
	for _, row := range rows {
		s := &server{get: failing(codes.Unavailable)}
		c := start(t, s, backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			_ = next(ctx, call)
			backstay.SetResult[any](call, row.reply)
			return nil
		})), grpccall.Config{})
		o := stale()
		got, err := c.Get(limited(t), &pb.GetRequest{Id: "7"}, o.options()...)
		if status.Code(err) != row.code || row.reply == any(kept) && got.GetId() != "kept" {
			t.Errorf("Get where a middleware sets %s = %v, %v, want %v", row.what, got, err, row.code)
		}
		if got == kept || len(o.finished) != 1 {
			t.Errorf("Get where a middleware sets %s: the caller has the middleware's own message: %t; OnFinish %v, want a copy, and one", row.what, got == kept, o.finished)
		}
	}
}
