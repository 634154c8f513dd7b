package grpccall

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/resolver"

	"github.com/backstay-go/backstay/loadbalance"
)

// WithEndpoint returns ep with what e says of it: Weight, Locality, Role and
// Attributes. The Address of e is ignored, for ep has those that are dialled. It
// is for resolvers of your own.
func WithEndpoint(ep resolver.Endpoint, e loadbalance.Endpoint) resolver.Endpoint {
	ep.Attributes = ep.Attributes.WithValue(endpointKey{}, described{e})
	return ep
}

// EndpointOf returns ep as the balancer knows it: with what WithEndpoint said
// of it, and its first address. An endpoint is known by that, so two with the
// same are one. A scheme in it loses its slashes: "unix:///tmp/s" is
// "unix:/tmp/s".
func EndpointOf(ep resolver.Endpoint) loadbalance.Endpoint {
	d, _ := ep.Attributes.Value(endpointKey{}).(described)
	d.Address = ""
	if len(ep.Addresses) > 0 {
		scheme, rest, ok := strings.Cut(ep.Addresses[0].Addr, "://")
		if d.Address = scheme; ok {
			d.Address += ":" + rest
		}
	}
	return d.Endpoint
}

type endpointKey struct{}

type described struct{ loadbalance.Endpoint }

// Equal reports whether o says the same. gRPC asks it of attributes.
func (d described) Equal(o any) bool {
	e, ok := o.(described)
	return ok && d.Weight == e.Weight && d.Locality == e.Locality && d.Role == e.Role && maps.Equal(d.Attributes, e.Attributes)
}

// A found endpoint is what a resolver and what a balancer calls one.
type found struct {
	endpoint loadbalance.Endpoint
	dial     resolver.Endpoint
}

// findings returns the endpoints of a resolver, each once.
func findings(s resolver.State) []found {
	endpoints := s.Endpoints
	if len(endpoints) == 0 { // gRPC fills them in, and those between may not
		for _, a := range s.Addresses {
			endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
		}
	}
	var all []found
	at := map[string]int{}
	for _, ep := range endpoints {
		e := EndpointOf(ep)
		if e.Address == "" {
			continue
		}
		if i, twice := at[e.Address]; twice {
			same := &all[i].dial
			same.Addresses = slices.Concat(same.Addresses, ep.Addresses[1:])
			continue
		}
		at[e.Address] = len(all)
		all = append(all, found{e, ep})
	}
	return all
}

// dial returns the endpoint at an address that a balancer knows without a
// resolver.
func dial(address string) resolver.Endpoint {
	return resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}}
}
