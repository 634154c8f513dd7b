package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// A Resolver finds the endpoints of a service, for Balancer.Follow. DNS, SRV,
// File and Static are such, and any function is with ResolverFunc. Where
// something tells the program of changes, Balancer.Update is all it takes.
type Resolver interface {
	// Resolve returns the endpoints as they are now. It should return soon
	// after ctx has ended, and must not change later what it has returned. It
	// is called by one goroutine at a time.
	//
	// No endpoints and no error is an answer that few resolvers mean: it counts
	// as a failure unless the resolver is Trusted.
	Resolve(ctx context.Context) ([]Endpoint, error)
}

// A ResolverFunc is a Resolver, asked every 30 seconds.
type ResolverFunc func(ctx context.Context) ([]Endpoint, error)

// Resolve calls f.
func (f ResolverFunc) Resolve(ctx context.Context) ([]Endpoint, error) { return f(ctx) }

// A Poller is a Resolver that says how often it is asked. The others are asked
// every 30 seconds.
type Poller interface {
	Resolver

	// Every returns how long the answer of the last Resolve is good for, or
	// Never if it is good forever. 0 means 30 seconds.
	Every() time.Duration
}

// never is longer than a program runs.
const never = time.Duration(1<<63 - 1)

// every returns how long to wait after an answer of r.
func every(r Resolver) time.Duration {
	p, ok := r.(Poller)
	if !ok {
		return 30 * time.Second
	}
	if d := p.Every(); d >= 0 {
		return cmp.Or(d, 30*time.Second)
	}
	return never
}

// check reports what is wrong with r.
func check(r Resolver) error {
	if r == nil {
		return errors.New(`loadbalance: Follow needs a Resolver, such as DNS{Host: "orders.internal", Port: 80}`)
	}
	if v, ok := r.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// Static returns a resolver that always finds the given endpoints, none too.
func Static(endpoints ...Endpoint) Resolver {
	return Trusted(static(slices.Clone(endpoints)))
}

type static []Endpoint

func (s static) Resolve(context.Context) ([]Endpoint, error) { return s, nil }
func (s static) Every() time.Duration                        { return Never }
func (s static) Validate() error                             { return validate(s) }

// Trusted returns r as one that is believed when it finds no endpoints: the
// balancer then has none, at once. It is for sources that know, such as the
// API of an orchestrator. A DNS server that is being restarted, or a file that
// is being written, does not.
func Trusted(r Resolver) Resolver { return trusted{r} }

type trusted struct{ Resolver }

func (t trusted) Every() time.Duration { return every(t.Resolver) }
func (t trusted) Validate() error      { return check(t.Resolver) }
