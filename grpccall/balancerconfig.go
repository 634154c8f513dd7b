package grpccall

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// A BalancerConfig chooses the balancer of a channel in its service config:
//
//	{"loadBalancingConfig": [{"backstay": {"strategy": "maglev", "hashHeader": "x-user"}}]}
//
// It is for channels without a policy, or whose policy has no balancer of its
// own, and comes with the resolver or by grpc.WithDefaultServiceConfig; the
// program must import this package. When it changes, the connections stay. The
// zero value is fit for production.
type BalancerConfig struct {
	// Strategy says which endpoint a call goes to: "peak_ewma", "round_robin",
	// "weighted", "random", "least_connections", "least_connections_of_all",
	// "hash", "rendezvous" or "maglev", which are those of package loadbalance.
	// Empty means "peak_ewma".
	Strategy string `json:"strategy,omitempty"`

	// HashHeader is the metadata by which the hash strategies choose, such as
	// "x-user". They need it; the others have none. Calls without it go anywhere.
	HashHeader string `json:"hashHeader,omitempty"`

	// Bound is how many times the mean of the calls in flight an endpoint may
	// have before its keys go to the next, such as 1.25. 0 means no bound. Only
	// the hash strategies have one.
	Bound float64 `json:"bound,omitempty"`

	// Locality is the client's own, as in "europe-west1/b": the nearest
	// endpoints are preferred, going by what WithEndpoint says. Empty means that
	// all are alike.
	Locality string `json:"locality,omitempty"`

	// HealthService is the name of the service whose health is watched on each
	// connection, by grpc.health.v1, where the server offers it. Empty means that
	// of the server as a whole.
	HealthService string `json:"healthService,omitempty"`

	// NoHealth has no health watched.
	NoHealth bool `json:"noHealth,omitempty"`
}

// ServiceConfig returns a service config that has this balancer, for
// grpc.WithDefaultServiceConfig and Config.ServiceConfig. It panics if c is not
// valid.
func (c BalancerConfig) ServiceConfig() string {
	if err := c.Validate(); err != nil {
		panic(err.Error())
	}
	text, err := json.Marshal(map[string]any{"loadBalancingConfig": []any{map[string]any{Name: c}}})
	if err != nil {
		panic(err) // there is nothing in it that JSON cannot say
	}
	return string(text)
}

// Validate reports what is wrong with the config.
func (c BalancerConfig) Validate() error {
	c.Strategy = cmp.Or(c.Strategy, "peak_ewma")
	hashes := hashStrategies[c.Strategy] != nil
	switch {
	case !hashes && strategies[c.Strategy] == nil:
		return fmt.Errorf("grpccall: there is no strategy %q; give one of %s", c.Strategy, strategyNames())
	case hashes && c.HashHeader == "":
		return fmt.Errorf("grpccall: the strategy %q needs a hashHeader, such as \"x-user\"", c.Strategy)
	case c.HashHeader != "" && !isMetadata(c.HashHeader):
		return fmt.Errorf("grpccall: the hashHeader %q cannot be the name of metadata; give one such as \"x-user\"", c.HashHeader)
	case !hashes && c.HashHeader != "":
		return fmt.Errorf("grpccall: there is a hashHeader, which the strategy %q does not look at; leave it out, or choose \"hash\", \"rendezvous\" or \"maglev\"", c.Strategy)
	case !hashes && c.Bound != 0:
		return fmt.Errorf("grpccall: there is a bound, which the strategy %q does not have; leave it out, or choose \"hash\", \"rendezvous\" or \"maglev\"", c.Strategy)
	case c.NoHealth && c.HealthService != "":
		return errors.New("grpccall: there are a healthService and noHealth; keep one of them")
	case hashes:
		return c.hash().Validate()
	}
	return nil
}

var strategies = map[string]func() loadbalance.Strategy{
	"peak_ewma":                loadbalance.PeakEWMA,
	"round_robin":              loadbalance.RoundRobin,
	"weighted":                 loadbalance.Weighted,
	"random":                   loadbalance.Random,
	"least_connections":        loadbalance.LeastConnections,
	"least_connections_of_all": loadbalance.LeastConnectionsOfAll,
}

var hashStrategies = map[string]func(loadbalance.HashConfig) loadbalance.Strategy{
	"hash":       loadbalance.Hash,
	"rendezvous": loadbalance.Rendezvous,
	"maglev":     loadbalance.Maglev,
}

func strategyNames() string {
	return strings.Join(append(slices.Sorted(maps.Keys(strategies)), slices.Sorted(maps.Keys(hashStrategies))...), ", ")
}

func (c BalancerConfig) hash() loadbalance.HashConfig {
	return loadbalance.HashConfig{Key: ByMetadata(c.HashHeader), Bound: c.Bound}
}

// strategy returns what the config, which is valid, chooses.
func (c BalancerConfig) strategy() loadbalance.Strategy {
	s := loadbalance.PeakEWMA()
	if hashed := hashStrategies[c.Strategy]; hashed != nil {
		s = hashed(c.hash())
	} else if plain := strategies[c.Strategy]; plain != nil {
		s = plain()
	}
	if c.Locality != "" {
		s = loadbalance.Locality(loadbalance.LocalityConfig{Local: c.Locality}, s)
	}
	return s
}

func (c BalancerConfig) health() health { return health{service: c.HealthService, off: c.NoHealth} }

// ByMetadata returns a key for the hash strategies of a balancer: the value of
// the metadata that the call sends under name, the first where there are
// several, or "" where there is none.
func ByMetadata(name string) func(ctx context.Context, call *backstay.Call) string {
	name = strings.ToLower(name)
	return func(ctx context.Context, _ *backstay.Call) string {
		if values := metadata.ValueFromOutgoingContext(ctx, name); len(values) > 0 {
			return values[0]
		}
		return ""
	}
}
