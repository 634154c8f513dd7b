package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A shop is the order service, as it would be written if nothing ever failed.
// All servers have the same orders.
type shop struct {
	ordersv1.UnimplementedOrdersServer

	mu     sync.Mutex
	orders map[string]*ordersv1.Order
	placed map[string]int // how often each item was ordered
}

// known is an order that is there from the beginning.
const known = "order-0"

func newShop() *shop {
	s := &shop{orders: map[string]*ordersv1.Order{}, placed: map[string]int{}}
	s.place(&ordersv1.PlaceRequest{Item: "umbrella", Quantity: 1})
	return s
}

// place makes a new order each time that it is called.
func (s *shop) place(req *ordersv1.PlaceRequest) *ordersv1.Order {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &ordersv1.Order{
		Id:       fmt.Sprintf("order-%d", len(s.orders)),
		Item:     req.GetItem(),
		Quantity: req.GetQuantity(),
		State:    ordersv1.Order_STATE_PLACED,
	}
	s.orders[o.GetId()] = o
	s.placed[o.GetItem()]++
	return proto.CloneOf(o)
}

// change returns the order as it is after f, or NOT_FOUND.
func (s *shop) change(id string, f func(*ordersv1.Order)) (*ordersv1.Order, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders[id]
	if o == nil {
		return nil, status.Errorf(codes.NotFound, "there is no order %q", id)
	}
	f(o)
	return proto.CloneOf(o), nil
}

// times returns how often each item was ordered.
func (s *shop) times() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.placed)
}

func (s *shop) Get(_ context.Context, req *ordersv1.GetRequest) (*ordersv1.Order, error) {
	return s.change(req.GetId(), func(*ordersv1.Order) {})
}

func (s *shop) Place(_ context.Context, req *ordersv1.PlaceRequest) (*ordersv1.Order, error) {
	return s.place(req), nil
}

func (s *shop) Cancel(_ context.Context, req *ordersv1.CancelRequest) (*ordersv1.Order, error) {
	return s.change(req.GetId(), func(o *ordersv1.Order) { o.State = ordersv1.Order_STATE_CANCELLED })
}

// Watch plays the way of an order to its buyer, which takes 10 ms.
func (s *shop) Watch(req *ordersv1.WatchRequest, stream grpc.ServerStreamingServer[ordersv1.Order]) error {
	o, err := s.change(req.GetId(), func(*ordersv1.Order) {})
	if err != nil {
		return err
	}
	for o.State = ordersv1.Order_STATE_PLACED; ; o.State++ {
		if err := stream.Send(o); err != nil || o.GetState() == ordersv1.Order_STATE_DELIVERED {
			return err
		}
		if err := pause(stream.Context(), 5*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *shop) Import(stream grpc.ClientStreamingServer[ordersv1.PlaceRequest, ordersv1.ImportResponse]) error {
	var placed int32
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&ordersv1.ImportResponse{Placed: placed})
		}
		if err != nil {
			return err
		}
		s.place(req)
		placed++
	}
}

func (s *shop) Chat(stream grpc.BidiStreamingServer[ordersv1.ChatMessage, ordersv1.ChatMessage]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m.Text = "You said: " + m.GetText()
		if err := stream.Send(m); err != nil {
			return err
		}
	}
}

// pause waits for d, or until the caller has gone.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
