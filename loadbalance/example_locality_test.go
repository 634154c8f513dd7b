package loadbalance_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// Calls stay in their own zone. A retry leaves it when all there were tried.
func ExampleLocality() {
	stock := loadbalance.NewBalancer(loadbalance.Config{
		Strategy: loadbalance.Locality(loadbalance.LocalityConfig{Local: "europe-west1/b"}, loadbalance.PeakEWMA()),
		Endpoints: []loadbalance.Endpoint{
			{Address: "10.2.0.1:80", Locality: "us-east1/a"},
			{Address: "10.1.0.1:80", Locality: "europe-west1/c"},
			{Address: "10.0.0.1:80", Locality: "europe-west1/b"},
		},
	})
	get := backstay.Bind(backstay.New(retry.New(retry.Config{}), stock), backstay.Op[int, string]{
		Do: func(_ context.Context, call *backstay.Call, item int) (string, error) {
			fmt.Println("trying", call.Endpoint)
			if call.Endpoint == "10.0.0.1:80" && item == 2 {
				return "", errors.New("connection refused")
			}
			return "in stock", nil
		},
	})
	fmt.Println(get(context.Background(), 1))
	fmt.Println(get(context.Background(), 2))
	// Output:
	// trying 10.0.0.1:80
	// in stock <nil>
	// trying 10.0.0.1:80
	// trying 10.1.0.1:80
	// in stock <nil>
}
