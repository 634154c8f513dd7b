package loadbalance_test

import (
	"context"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// The endpoints come from a function, which could ask a registry. The first
// call waits for them.
func ExampleBalancer_Follow() {
	balancer := loadbalance.NewBalancer(loadbalance.Config{})
	registry := loadbalance.ResolverFunc(func(context.Context) ([]loadbalance.Endpoint, error) {
		return loadbalance.Endpoints("10.0.0.7:80"), nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- balancer.Follow(ctx, registry) }()

	getOrder := backstay.Bind(backstay.New(balancer), backstay.Op[int, string]{
		Name: "orders.Get",
		Do: func(_ context.Context, call *backstay.Call, id int) (string, error) {
			return fmt.Sprintf("order %d from %s", id, call.Endpoint), nil
		},
	})
	fmt.Println(getOrder(ctx, 1))

	cancel()
	fmt.Println(<-ended)
	// Output:
	// order 1 from 10.0.0.7:80 <nil>
	// <nil>
}

// An endpoint that says it is ill gets no calls.
func ExampleBalancer_Monitor() {
	ctx, cancel := context.WithCancel(context.Background())
	unhealthy := func(c loadbalance.Change) {
		if c.To == loadbalance.Unhealthy {
			fmt.Println(c.Endpoint.Address, c.To, c.Err)
			cancel()
		}
	}
	balancer := loadbalance.NewBalancer(loadbalance.Config{
		Endpoints: loadbalance.Endpoints("10.0.0.1:80", "10.0.0.2:80"),
		OnChange:  unhealthy,
	})
	err := balancer.Monitor(ctx, loadbalance.MonitorConfig{
		Check: func(_ context.Context, address string) error {
			if address == "10.0.0.2:80" {
				return fmt.Errorf("shutting down")
			}
			return nil
		},
		Interval: 100 * time.Millisecond,
		Failures: 1,
	})
	fmt.Println(err)
	// Output:
	// 10.0.0.2:80 unhealthy shutting down
	// <nil>
}
