package httpcall

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"weak"

	"github.com/backstay-go/backstay"
)

// endpoints holds a transport for each endpoint that a balancer picks. It
// connects to the endpoint whatever the URL says, and the URL stays as it is:
// so the Host header, the name in the TLS handshake and the name that the
// certificate is checked against are the service's, not the endpoint's.
type endpoints struct {
	base    *http.Transport
	make    func(endpoint string) http.RoundTripper // Config.PerEndpoint
	members []member
	m       sync.Map // string to *leaf
}

// What the endpoints ask of the balancers in a policy, as far as these can
// answer.
type (
	// A member knows the endpoints that there are.
	member interface{ Addresses() []string }
	// A leaver tells of those that are gone and have no call left.
	leaver interface{ OnLeave(f func(address string)) }
)

// follow drops the endpoints that the balancers in p tell are gone. The
// balancers do not keep e alive: they may outlive many transports.
func (e *endpoints) follow(p *backstay.Policy) {
	self := weak.Make(e)
	for _, m := range p.Stack() {
		if b, ok := m.(member); ok {
			e.members = append(e.members, b)
		}
		if b, ok := m.(leaver); ok {
			b.OnLeave(func(address string) {
				if e := self.Value(); e != nil {
					e.drop(address)
				}
			})
		}
	}
}

// addresses returns the endpoints that there are, and whether that is known.
func (e *endpoints) addresses() (all []string, known bool) {
	for _, m := range e.members {
		all = append(all, m.Addresses()...)
	}
	return all, len(e.members) > 0
}

// at returns the transport of an endpoint, whose connections stay open until
// done is called.
func (e *endpoints) at(endpoint string) (rt http.RoundTripper, done func(error), err error) {
	for {
		v, ok := e.m.Load(endpoint)
		if !ok {
			v, _ = e.m.LoadOrStore(endpoint, newLeaf(func() (http.RoundTripper, error) { return e.connect(endpoint) }))
		}
		l := v.(*leaf)
		if rt, err = l.transport(); err != nil {
			return nil, nil, err
		}
		if l.use() { // else it was dropped since
			return rt, l.done, nil
		}
	}
}

func (e *endpoints) connect(endpoint string) (http.RoundTripper, error) {
	switch {
	case e.make != nil:
		if rt := e.make(endpoint); rt != nil {
			return rt, nil
		}
		return nil, unreachable(endpoint, "PerEndpoint returned nil for it")
	case e.base != nil:
		return pinned(e.base, endpoint), nil
	}
	return nil, unreachable(endpoint, "the Base is no *http.Transport; set Config.PerEndpoint")
}

func unreachable(endpoint, why string) error {
	return &backstay.Error{Class: backstay.Permanent, NotSent: true, Err: fmt.Errorf("httpcall: cannot connect to the endpoint %s: %s", endpoint, why)}
}

// drop forgets an endpoint that is gone. Should it come back, it gets a leaf of
// its own.
func (e *endpoints) drop(endpoint string) {
	if v, ok := e.m.LoadAndDelete(endpoint); ok {
		v.(*leaf).retire()
	}
}

// dropGone drops the endpoint if no balancer has it any more: one that was used
// past the balancer, who then has nothing to tell of when it goes. One that goes
// only now is dropped on being told.
func (e *endpoints) dropGone(endpoint string) {
	if all, known := e.addresses(); known && !slices.Contains(all, endpoint) {
		e.drop(endpoint)
	}
}

func (e *endpoints) closeIdle() {
	e.m.Range(func(_, v any) bool {
		v.(*leaf).closeIdle()
		return true
	})
}
