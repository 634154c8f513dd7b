package loadbalance_test

import (
	"context"
	"fmt"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A user's calls go to one endpoint, which has what it needs in its cache.
func ExampleHash() {
	byUser := func(_ context.Context, call *backstay.Call) string {
		user, _ := backstay.Peek[string](call)
		return user
	}
	caches := loadbalance.New(
		loadbalance.Hash(loadbalance.HashConfig{Key: byUser, Bound: 1.25}),
		"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80",
	)
	getCart := backstay.Bind(backstay.New(caches), backstay.Op[string, string]{
		Name: "carts.Get",
		Do: func(_ context.Context, call *backstay.Call, user string) (string, error) {
			return user + "'s cart from " + call.Endpoint, nil
		},
	})
	for _, user := range []string{"Ada", "Grace", "Ada"} {
		fmt.Println(getCart(context.Background(), user))
	}

	// When an endpoint goes, only the keys that it had move.
	_ = caches.Update(loadbalance.Endpoints("10.0.0.1:80", "10.0.0.2:80")...)
	for _, user := range []string{"Ada", "Grace"} {
		fmt.Println(getCart(context.Background(), user))
	}
	// Output:
	// Ada's cart from 10.0.0.3:80 <nil>
	// Grace's cart from 10.0.0.1:80 <nil>
	// Ada's cart from 10.0.0.3:80 <nil>
	// Ada's cart from 10.0.0.1:80 <nil>
	// Grace's cart from 10.0.0.1:80 <nil>
}
