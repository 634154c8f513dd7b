package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/examples/grpc/ordersv1"
)

const (
	calls     = 600
	customers = 10
	thinks    = 10 * time.Millisecond // before each call
)

// A task is a call of one method, which orders so many items, and a look at what
// it returned.
type task struct {
	method string
	orders int
	do     func(ctx context.Context, shop ordersv1.OrdersClient, items []string) error
}

var (
	get    = task{"Get", 0, getOrder}
	place  = task{"Place", 1, placeOrder}
	cancel = task{"Cancel", 0, cancelOrder}
	watch  = task{"Watch", 0, watchOrder}
	bulk   = task{"Import", 3, importOrders}
	chat   = task{"Chat", 0, chatAbout}

	// day is what people do in a shop, again and again.
	day = []task{
		get, place, get, watch, get, place, get, cancel, place, get,
		get, place, get, watch, get, place, bulk, cancel, place, chat,
	}
)

// often returns how many of the calls are of the task's method.
func (t task) often() (n int) {
	for i := range calls {
		if day[i%len(day)].method == t.method {
			n++
		}
	}
	return n
}

// meant returns the items that the i-th call is to order.
func meant(i int) (items []string) {
	for part := range day[i%len(day)].orders {
		items = append(items, fmt.Sprintf("item %d.%d", i, part))
	}
	return items
}

// use has the customers make the calls, each one after the other: on a machine
// that has no time for this there are fewer calls at once, and not more. It
// returns what failed of each method and, sorted, how long the calls took.
func use(ctx context.Context, shop ordersv1.OrdersClient) (failed map[string][]error, latencies []time.Duration) {
	var (
		next atomic.Int64
		all  sync.WaitGroup
		mu   sync.Mutex
	)
	failed = map[string][]error{}
	latencies = make([]time.Duration, calls)
	for range customers {
		all.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= calls || pause(ctx, thinks) != nil {
					return
				}
				t, began := day[i%len(day)], time.Now()
				err := t.do(ctx, shop, meant(i))
				latencies[i] = time.Since(began)
				if err != nil {
					mu.Lock()
					failed[t.method] = append(failed[t.method], err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	slices.Sort(latencies)
	return failed, latencies
}

func getOrder(ctx context.Context, shop ordersv1.OrdersClient, _ []string) error {
	_, err := shop.Get(ctx, &ordersv1.GetRequest{Id: known})
	return err
}

func placeOrder(ctx context.Context, shop ordersv1.OrdersClient, items []string) error {
	_, err := shop.Place(ctx, &ordersv1.PlaceRequest{Item: items[0], Quantity: 1})
	return err
}

func cancelOrder(ctx context.Context, shop ordersv1.OrdersClient, _ []string) error {
	_, err := shop.Cancel(ctx, &ordersv1.CancelRequest{Id: known})
	return err
}

// watchOrder wants each state once, however often the stream was begun.
func watchOrder(ctx context.Context, shop ordersv1.OrdersClient, _ []string) error {
	stream, err := shop.Watch(ctx, &ordersv1.WatchRequest{Id: known})
	if err != nil {
		return err
	}
	want := ordersv1.Order_STATE_PLACED
	for {
		o, err := stream.Recv()
		if errors.Is(err, io.EOF) && want > ordersv1.Order_STATE_DELIVERED {
			return nil
		}
		if err != nil {
			return err
		}
		if o.GetState() != want {
			return fmt.Errorf("watched an order that is %v, want %v", o.GetState(), want)
		}
		want++
	}
}

func importOrders(ctx context.Context, shop ordersv1.OrdersClient, items []string) error {
	stream, err := shop.Import(ctx)
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := stream.Send(&ordersv1.PlaceRequest{Item: item, Quantity: 1}); err != nil {
			break // why is what CloseAndRecv returns
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if resp.GetPlaced() != int32(len(items)) {
		return fmt.Errorf("imported %d orders, want %d", resp.GetPlaced(), len(items))
	}
	return nil
}

func chatAbout(ctx context.Context, shop ordersv1.OrdersClient, _ []string) error {
	stream, err := shop.Chat(ctx)
	if err != nil {
		return err
	}
	for _, text := range []string{"Where is it?", "I see.", "Thank you."} {
		if err := stream.Send(&ordersv1.ChatMessage{OrderId: known, Text: text}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if want := "You said: " + text; m.GetText() != want {
			return fmt.Errorf("the shop said %q, want %q", m.GetText(), want)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("a chat that is over ended with %v, want EOF", err)
	}
	return nil
}
