package loadbalance_test

import (
	"context"
	"fmt"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// Each tenant has endpoints of its own, and its calls go to none of the others.
func ExampleCustom() {
	byTenant := loadbalance.Custom("by tenant", func(_ context.Context, call *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		tenant, _ := backstay.Request[string](call)
		for _, n := range among {
			if n.Endpoint().Attributes["tenant"] == tenant {
				return n
			}
		}
		return nil
	})
	balancer := loadbalance.NewBalancer(loadbalance.Config{Strategy: byTenant, Endpoints: []loadbalance.Endpoint{
		{Address: "10.0.0.1:80", Attributes: map[string]string{"tenant": "Ada"}},
		{Address: "10.0.0.2:80", Attributes: map[string]string{"tenant": "Grace"}},
	}})
	getCart := backstay.Bind(backstay.New(balancer), backstay.Op[string, string]{
		Name: "carts.Get",
		Do: func(_ context.Context, call *backstay.Call, tenant string) (string, error) {
			return tenant + "'s cart from " + call.Endpoint, nil
		},
	})
	for _, tenant := range []string{"Grace", "Ada", "Alan"} {
		fmt.Println(getCart(context.Background(), tenant))
	}
	// Output:
	// Grace's cart from 10.0.0.2:80 <nil>
	// Ada's cart from 10.0.0.1:80 <nil>
	//  loadbalance: no endpoint for the call: the strategy found none for it
}
