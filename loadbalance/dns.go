package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DNS finds an endpoint at each address of a host. It needs a Host and a Port.
type DNS struct {
	// Host is the name to look up. One that ends in a dot is not tried with the
	// search domains of the system, which saves queries in Kubernetes.
	Host string

	// Port is that of all endpoints.
	Port int

	// Network is "ip4" for A records, "ip6" for AAAA records, or "ip" for both:
	// then a server that has both is two endpoints. Empty means "ip".
	Network string

	// Interval is the time from one lookup to the next. 0 means 30 seconds; the
	// least is 5 seconds.
	Interval time.Duration

	// Resolver does the lookups. Nil means net.DefaultResolver.
	Resolver *net.Resolver
}

// Validate reports what is wrong with the resolver.
func (d DNS) Validate() error {
	switch {
	case d.Host == "":
		return errors.New(`loadbalance: DNS needs a Host, such as "orders.internal"`)
	case d.Port < 1 || d.Port > 65535:
		return fmt.Errorf("loadbalance: the Port of %s is %d; give 1 to 65535", d.Host, d.Port)
	case d.Network != "" && d.Network != "ip" && d.Network != "ip4" && d.Network != "ip6":
		return fmt.Errorf(`loadbalance: the Network of %s is %q; give "ip", "ip4" or "ip6"`, d.Host, d.Network)
	case d.Interval < 0:
		return fmt.Errorf("loadbalance: the Interval of %s is %v; give a positive duration, or 0 for 30s", d.Host, d.Interval)
	}
	return nil
}

// Every returns the Interval.
func (d DNS) Every() time.Duration { return dnsInterval(d.Interval) }

// Resolve returns an endpoint for each address, in the order of the addresses:
// that of the answer changes from one to the next.
func (d DNS) Resolve(ctx context.Context) ([]Endpoint, error) {
	ips, err := dnsResolver(d.Resolver).LookupNetIP(ctx, cmp.Or(d.Network, "ip"), d.Host)
	if err != nil {
		return nil, err
	}
	endpoints := make([]Endpoint, len(ips))
	for i, ip := range ips {
		endpoints[i].Address = net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(d.Port))
	}
	return unique(endpoints), nil
}

// SRV finds the endpoints in the SRV records of a name, with their ports and
// weights: those of the lowest priority number. Records of higher ones are for
// when these are all gone from the DNS; Locality has endpoints in reserve. It
// needs a Name.
type SRV struct {
	// Service, Proto and Name make the name to look up: "http", "tcp" and
	// "orders.internal" make _http._tcp.orders.internal. With neither Service
	// nor Proto, Name is looked up as it is.
	Service, Proto, Name string

	// Interval is the time from one lookup to the next. 0 means 30 seconds; the
	// least is 5 seconds.
	Interval time.Duration

	// Resolver does the lookups. Nil means net.DefaultResolver.
	Resolver *net.Resolver
}

// Validate reports what is wrong with the resolver.
func (s SRV) Validate() error {
	switch {
	case s.Name == "":
		return errors.New(`loadbalance: SRV needs a Name, such as "orders.internal"`)
	case (s.Service == "") != (s.Proto == ""):
		return fmt.Errorf(`loadbalance: SRV of %s has one of Service and Proto; give both, such as "http" and "tcp", or neither`, s.Name)
	case s.Interval < 0:
		return fmt.Errorf("loadbalance: the Interval of %s is %v; give a positive duration, or 0 for 30s", s.Name, s.Interval)
	}
	return nil
}

// Every returns the Interval.
func (s SRV) Every() time.Duration { return dnsInterval(s.Interval) }

// Resolve returns an endpoint for each record of the lowest priority number, in
// the order of their addresses. Those are "target:port" and not resolved
// further.
func (s SRV) Resolve(ctx context.Context) ([]Endpoint, error) {
	_, records, err := dnsResolver(s.Resolver).LookupSRV(ctx, s.Service, s.Proto, s.Name)
	if len(records) == 0 {
		return nil, err
	}
	// With records there may still be an error, about others whose names are
	// invalid: those are left out.
	lowest := slices.MinFunc(records, func(a, b *net.SRV) int { return cmp.Compare(a.Priority, b.Priority) }).Priority
	var endpoints []Endpoint
	for _, r := range records {
		if r.Target == "." { // RFC 2782: there is decidedly no such service
			return nil, fmt.Errorf("loadbalance: the SRV record of %s says that there is no such service", s.Name)
		}
		if r.Priority == lowest {
			endpoints = append(endpoints, Endpoint{
				Address: net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))),
				Weight:  max(int(r.Weight), 1),
			})
		}
	}
	return unique(endpoints), nil
}

func dnsInterval(d time.Duration) time.Duration {
	return max(cmp.Or(d, 30*time.Second), lookupFloor)
}

func dnsResolver(r *net.Resolver) *net.Resolver { return cmp.Or(r, net.DefaultResolver) }

// unique sorts endpoints by address and leaves out what is there twice, of
// which it keeps the largest weight.
func unique(endpoints []Endpoint) []Endpoint {
	slices.SortFunc(endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(b.Weight, a.Weight))
	})
	return slices.CompactFunc(endpoints, func(a, b Endpoint) bool { return a.Address == b.Address })
}
