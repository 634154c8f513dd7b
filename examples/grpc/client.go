package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// A client is a way to call the shop: what it is called in the table, and the
// options of its channel.
type client struct {
	name    string
	options []grpc.DialOption
}

// turns is gRPC as it comes, asked for turns.
func turns() client {
	return client{"round_robin", []grpc.DialOption{
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	}}
}

// again is gRPC with its own retries. They know nothing about keys, and nothing
// about which methods may be called twice but what is written here.
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

// dial returns a channel to the servers, as a resolver has found them.
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
