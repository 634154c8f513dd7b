package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A service that is down.
var errDown = errors.New("connection refused")

func getOrder(context.Context, int) (string, error) { return "", errDown }

func Example() {
	policy := backstay.New(
		retry.New(retry.Config{}),
		breaker.New(breaker.Config{Name: "orders", MinCalls: 3}),
		timeout.Attempt(time.Second),
	)
	get := backstay.Wrap(policy, "orders.Get", getOrder)

	_, err := get(context.Background(), 7) // three attempts
	fmt.Println(errors.Is(err, errDown))
	_, err = get(context.Background(), 7) // none
	fmt.Println(err)
	fmt.Println(errors.Is(err, breaker.ErrOpen))
	// Output:
	// true
	// breaker orders: open
	// true
}

// A caller that cannot be wrapped asks first, and reports how it went.
func ExampleBreaker_Allow() {
	b := breaker.New(breaker.Config{ConsecutiveFailures: 1})
	publish := func(message string) error {
		done, err := b.Allow()
		if err != nil {
			return err
		}
		err = errDown // what sending the message came to
		done(err)
		return err
	}
	fmt.Println(publish("first"))
	fmt.Println(publish("second"))
	// Output:
	// connection refused
	// breaker: open
}

// One endpoint is down. Its breaker opens after three calls, and from then on
// the retry goes to the other at no cost.
func ExampleByEndpoint() {
	breakers := breaker.NewGroup(breaker.Config{Name: "orders", ConsecutiveFailures: 3}, breaker.ByEndpoint)
	policy := backstay.New(
		retry.New(retry.Config{}),
		loadbalance.New(loadbalance.RoundRobin(), "10.0.0.1:80", "10.0.0.2:80"),
		breakers,
	)
	refused := 0
	get := backstay.Bind(policy, backstay.Op[int, string]{
		Name: "orders.Get",
		Do: func(_ context.Context, call *backstay.Call, _ int) (string, error) {
			if call.Endpoint == "10.0.0.1:80" {
				refused++
				return "", errDown
			}
			return "order", nil
		},
	})
	failed := 0
	for range 100 {
		if _, err := get(context.Background(), 7); err != nil {
			failed++
		}
	}
	fmt.Println(failed, "calls failed,", refused, "attempts refused")
	fmt.Println("10.0.0.1:80 is", breakers.State("10.0.0.1:80"))
	fmt.Println("10.0.0.2:80 is", breakers.State("10.0.0.2:80"))
	// Output:
	// 0 calls failed, 3 attempts refused
	// 10.0.0.1:80 is open
	// 10.0.0.2:80 is closed
}

// A client of many services has a breaker for each. In an HTTP policy the
// target is the host.
func ExampleByTarget() {
	breakers := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 1}, breaker.ByTarget)
	send := backstay.Bind(backstay.New(breakers), backstay.Op[string, string]{
		Prepare: func(call *backstay.Call, host string) { call.Target = host },
		Do: func(_ context.Context, _ *backstay.Call, host string) (string, error) {
			if host == "orders" {
				return "", errDown
			}
			return "hello from " + host, nil
		},
	})
	for _, host := range []string{"orders", "orders", "users"} {
		answer, err := send(context.Background(), host)
		fmt.Println(answer, err)
	}
	// Output:
	//  connection refused
	//  breaker orders: open
	// hello from users <nil>
}

func ExampleConfig_onChange() {
	b := breaker.New(breaker.Config{
		Name:                "orders",
		ConsecutiveFailures: 1,
		OnChange: func(c breaker.Change) {
			fmt.Printf("%s: %v to %v, cause: %v\n", c.Name, c.From, c.To, c.Cause)
		},
	})
	get := backstay.Wrap(backstay.New(b), "orders.Get", getOrder)
	_, _ = get(context.Background(), 7)
	b.Reset()
	// Output:
	// orders: closed to open, cause: connection refused
	// orders: open to closed, cause: <nil>
}
