package loadbalance_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// An attempt that fails is followed at once by one at another endpoint.
func Example() {
	policy := backstay.New(
		retry.New(retry.Config{}),
		loadbalance.New(loadbalance.PeakEWMA(), "10.0.0.1:80", "10.0.0.2:80"),
	)
	getOrder := backstay.Bind(policy, backstay.Op[int, string]{
		Name: "orders.Get",
		Do: func(_ context.Context, call *backstay.Call, id int) (string, error) {
			if call.Endpoint == "10.0.0.1:80" {
				return "", errors.New("connection refused")
			}
			return fmt.Sprintf("order %d from %s", id, call.Endpoint), nil
		},
	})
	for id := range 4 {
		fmt.Println(getOrder(context.Background(), id))
	}
	// Output:
	// order 0 from 10.0.0.2:80 <nil>
	// order 1 from 10.0.0.2:80 <nil>
	// order 2 from 10.0.0.2:80 <nil>
	// order 3 from 10.0.0.2:80 <nil>
}
