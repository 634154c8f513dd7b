package grpccall

import (
	"slices"

	"google.golang.org/grpc"

	"github.com/backstay-go/backstay"
)

// DialOptions returns what makes the calls of a channel under p, unary and
// streaming ones:
//
//	conn, err := grpc.NewClient("dns:///orders.internal:443",
//		append(grpccall.DialOptions(policy, grpccall.Config{}), grpc.WithTransportCredentials(creds))...)
//
// A balancer in p picks from the endpoints that the channel's resolver finds,
// and is for one channel at a time. It stands in the default service config of
// the channel. Where there is another, which does not choose it, calls fail and
// say so: use Config.ServiceConfig in place of grpc.WithDefaultServiceConfig, and
// add grpc.WithDisableServiceConfig where the resolver brings one.
//
// Further interceptors, given with grpc.WithChainUnaryInterceptor and
// grpc.WithChainStreamInterceptor, stand inside the policy, around each attempt,
// if their options come after these, and outside if they come before. One inside
// must pass the call options on, or nothing is known of what was sent, and must
// not return before what it has sent has ended.
//
// It panics if cfg is not valid.
func DialOptions(p *backstay.Policy, cfg Config) []grpc.DialOption {
	mustBeValid(cfg)
	ch := newChannel(p, cfg)
	c := newClient(p, cfg, ch)
	opts := []grpc.DialOption{grpc.WithChainUnaryInterceptor(c.unary), grpc.WithChainStreamInterceptor(c.stream)}
	switch {
	case ch != nil:
		opts = append(opts, grpc.WithDefaultServiceConfig(ch.serviceConfig(cfg.ServiceConfig)))
	case cfg.ServiceConfig != "":
		opts = append(opts, grpc.WithDefaultServiceConfig(cfg.ServiceConfig))
	}
	if cfg.ServiceRetry == OwnRetry {
		opts = append(opts, grpc.WithDisableRetry())
	}
	return opts
}

// UnaryClientInterceptor returns the interceptor that makes unary calls under p.
// DialOptions has it, and everything else that a channel needs.
//
// It panics if cfg is not valid, and where p or cfg ask for what only DialOptions
// can do: a balancer, OwnRetry, a ServiceConfig.
func UnaryClientInterceptor(p *backstay.Policy, cfg Config) grpc.UnaryClientInterceptor {
	return newPart(p, cfg).unary
}

// StreamClientInterceptor returns the interceptor that makes streams under p.
// DialOptions has it, and everything else that a channel needs.
//
// It panics if cfg is not valid, and where p or cfg ask for what only DialOptions
// can do: a balancer, OwnRetry, a ServiceConfig.
func StreamClientInterceptor(p *backstay.Policy, cfg Config) grpc.StreamClientInterceptor {
	return newPart(p, cfg).stream
}

func newPart(p *backstay.Policy, cfg Config) *client {
	mustBeValid(cfg)
	switch {
	case cfg.ServiceRetry == OwnRetry:
		panic("grpccall: OwnRetry turns the retries of the channel off, which an interceptor alone cannot; use DialOptions")
	case cfg.ServiceConfig != "":
		panic("grpccall: there is a ServiceConfig, which an interceptor alone cannot give the channel; use DialOptions, or grpc.WithDefaultServiceConfig")
	}
	if slices.ContainsFunc(p.Stack(), picks) {
		panic("grpccall: the policy has a balancer, which an interceptor alone cannot serve; use DialOptions")
	}
	return newClient(p, cfg, nil)
}

func mustBeValid(cfg Config) {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
}
