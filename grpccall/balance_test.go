package grpccall_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
)

func choose(c grpccall.BalancerConfig) grpc.DialOption {
	return grpc.WithDefaultServiceConfig(c.ServiceConfig())
}

func as(ctx context.Context, user string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-user", user)
}

// G-25
func TestEveryStrategyReachesAllEndpoints(t *testing.T) {
	for _, strategy := range []string{"", "peak_ewma", "round_robin", "weighted", "random", "least_connections", "least_connections_of_all", "hash", "rendezvous", "maglev"} {
		t.Run(strategy, func(t *testing.T) {
			f := newFleet(t, 3, nil)
			cfg := grpccall.BalancerConfig{Strategy: strategy}
			if strategy == "hash" || strategy == "rendezvous" || strategy == "maglev" {
				cfg.HashHeader = "x-user"
			}
			client := pb.NewOrdersClient(f.connect(t, choose(cfg)))
			user := 0
			eventually(t, "all hosts get calls", func() bool {
				user++
				if _, err := client.Get(as(limited(t), fmt.Sprint(user)), &pb.GetRequest{}); err != nil {
					t.Fatalf("Get() = %v, want no error", err)
				}
				c := f.counts()
				return c[0] > 0 && c[1] > 0 && c[2] > 0
			})
		})
	}
}
