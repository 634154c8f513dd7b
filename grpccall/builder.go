package grpccall

import (
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/serviceconfig"
)

// Name is that of the balancer in service configs.
const Name = "backstay"

func init() { balancer.Register(builder{}) }

// builder makes the balancers of gRPC channels.
type builder struct{}

// Name returns the name of the balancer.
func (builder) Name() string { return Name }

// Build returns the balancer of one channel.
func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return newConnector(cc, opts)
}

// choice is a parsed config: a channel whose policy picks, or a strategy.
type choice struct {
	serviceconfig.LoadBalancingConfig
	channel *channel
	config  BalancerConfig
}

// ParseConfig returns the choice that the JSON of a service config makes. Fields
// that it does not know are ignored, as gRPC has it.
func (builder) ParseConfig(text json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	var fields struct {
		BalancerConfig
		Channel string `json:"channel"`
	}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("grpccall: the config of the balancer %q: %w", Name, err)
	}
	if fields.Channel != "" {
		c := channels.find(fields.Channel)
		if c == nil {
			return nil, fmt.Errorf("grpccall: there is no channel %q; its number is made by DialOptions and is for the options returned with it", fields.Channel)
		}
		return &choice{channel: c}, nil
	}
	if err := fields.Validate(); err != nil {
		return nil, err
	}
	return &choice{config: fields.BalancerConfig}, nil
}

// health returns what is to be watched on connections.
func (c *choice) health() health {
	if c.channel != nil {
		return c.channel.health
	}
	return c.config.health()
}

// same reports whether two choices make no difference.
func (c *choice) same(as *choice) bool {
	return as != nil && c.channel == as.channel && c.config == as.config
}
