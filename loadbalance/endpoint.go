package loadbalance

import (
	"errors"
	"fmt"
	"strings"
)

// An Endpoint is one of the places that a call can go to. Its Address is its
// identity: two with the same Address are one endpoint.
type Endpoint struct {
	// Address is "host:port" for calls over a network, and any name that the
	// function under the policy understands.
	Address string

	// Weight is its share of the load relative to the others. 0 means 1.
	Weight int

	// Locality is where it is, from the largest area to the smallest, as in
	// "europe-west1/b". Empty where that does not matter.
	Locality string

	// Role tells the primary from its replicas.
	Role Role

	// Attributes are for strategies and programs of your own. They must not
	// change once the balancer has them.
	Attributes map[string]string
}

// A Role says which calls an endpoint can serve, to PrimaryReplica.
type Role uint8

// The roles.
const (
	Replica Role = iota // serves reads
	Primary             // serves writes, and reads where there is no replica
)

// String returns "replica" or "primary".
func (r Role) String() string {
	switch r {
	case Replica:
		return "replica"
	case Primary:
		return "primary"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// maxWeight is the largest weight: that of an SRV record.
const maxWeight = 1<<16 - 1

// Endpoints returns endpoints of weight 1 with the given addresses.
func Endpoints(addresses ...string) []Endpoint {
	endpoints := make([]Endpoint, len(addresses))
	for i, a := range addresses {
		endpoints[i].Address = a
	}
	return endpoints
}

// validate reports what is wrong with a set of endpoints.
func validate(endpoints []Endpoint) error {
	seen := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		switch {
		case e.Address == "":
			return errors.New(`loadbalance: an endpoint has no address; give one, such as "10.0.0.1:80"`)
		case strings.Contains(e.Address, "://"):
			return fmt.Errorf(`loadbalance: the endpoint %q is a URL; give its address, such as "10.0.0.1:80"`, e.Address)
		case seen[e.Address]:
			return fmt.Errorf("loadbalance: the endpoint %q is given twice; give it once, with a Weight if it shall have more calls", e.Address)
		case e.Weight < 0 || e.Weight > maxWeight:
			return fmt.Errorf("loadbalance: the endpoint %q has the weight %d; give 1 to %d, or 0 for 1", e.Address, e.Weight, maxWeight)
		case e.Role > Primary:
			return fmt.Errorf("loadbalance: the endpoint %q has the role %d; give Primary or Replica", e.Address, e.Role)
		}
		seen[e.Address] = true
	}
	return nil
}

func (e Endpoint) weight() int { return max(e.Weight, 1) }
