package main

import (
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// A client is a way to call the shop: the options of its channel.
type client struct {
	name    string
	options []grpc.DialOption
}

// turns is gRPC with nothing but a turn for each server.
func turns() client {
	return client{"round_robin", []grpc.DialOption{
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	}}
}

// again is gRPC with its own retries, which cannot know whether a failed attempt
// has placed the order.
func again() client {
	return client{"with retryPolicy", []grpc.DialOption{
		grpc.WithDefaultServiceConfig(`{
			"loadBalancingConfig": [{"round_robin": {}}],
			"methodConfig": [{
				"name": [{"service": "orders.v1.Orders"}],
				"retryPolicy": {
					"maxAttempts": 4,
					"initialBackoff": "0.05s",
					"maxBackoff": "1s",
					"backoffMultiplier": 2,
					"retryableStatusCodes": ["UNAVAILABLE"]
				}
			}]
		}`),
	}}
}

// surviving is what this module is for.
func surviving(policy *backstay.Policy, spans *spans) client {
	policy = telemetry.Observe(policy, telemetry.Config{TracerProvider: spans.provider})
	return client{"backstay", grpccall.DialOptions(policy, grpccall.Config{})}
}

// policy is what happens to a call, from the outside in.
func policy() *backstay.Policy {
	return backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		timeout.Call(5*time.Second),
		retry.New(retry.Config{}),
		loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.PeakEWMA()}),
		breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint),
		timeout.Attempt(time.Second),
	)
}

// dial returns a channel to the servers that a resolver has found.
func (c client) dial(f *fleet) (*grpc.ClientConn, error) {
	found := manual.NewBuilderWithScheme("shop")
	var endpoints []resolver.Endpoint
	for _, s := range f.servers {
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: s.address}}})
	}
	found.InitialState(resolver.State{Endpoints: endpoints})
	return grpc.NewClient("shop:///orders.example", append(c.options,
		grpc.WithResolvers(found),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	)...)
}
