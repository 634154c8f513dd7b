package grpccall_test

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/backstay-go/backstay/grpccall"
)

// A channel without a policy that sends each user to one endpoint, unless that
// has too much to do.
func ExampleBalancerConfig() {
	cfg := grpccall.BalancerConfig{Strategy: "maglev", HashHeader: "x-user", Bound: 1.25}
	conn, err := grpc.NewClient("dns:///orders.internal:443",
		grpc.WithDefaultServiceConfig(cfg.ServiceConfig()), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(cfg.ServiceConfig())
	// Output: {"loadBalancingConfig":[{"backstay":{"strategy":"maglev","hashHeader":"x-user","bound":1.25}}]}
}
