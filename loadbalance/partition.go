package loadbalance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/backstay-go/backstay"
)

// Partitions is what sends a call to the endpoints that have its key. It is safe
// for concurrent use; make it with NewPartitions. It keeps the balancers that
// use it, so that Swap reaches them: a balancer that is done with needs its
// Close.
type Partitions struct {
	key    func(ctx context.Context, call *backstay.Call) string
	within Strategy
	schema atomic.Pointer[Schema]

	mu    sync.Mutex
	users map[*Balancer]bool
}

// NewPartitions returns partitions by a schema. key returns the key of a call,
// or "" if it has none: the call then fails with a NoEndpointError, as it does
// if no partition has the key. within picks among the endpoints of a partition.
//
// It panics if there is no key, schema or strategy.
func NewPartitions(key func(ctx context.Context, call *backstay.Call) string, schema Schema, within Strategy) *Partitions {
	if key == nil {
		panic("loadbalance: NewPartitions needs a function that returns the key of a call")
	}
	within.check("NewPartitions")
	p := &Partitions{key: key, within: within, users: map[*Balancer]bool{}}
	if err := p.Swap(schema); err != nil {
		panic(err.Error())
	}
	return p
}

// Schema returns the schema in use.
func (p *Partitions) Schema() Schema { return *p.schema.Load() }

// Swap puts another schema in place of the one in use, such as after a move of
// data. Each pick goes by one of them, whole; attempts that are under way are
// not touched. When it returns, no more picks begin by the one before. The
// error says that the schema is the zero value.
func (p *Partitions) Swap(s Schema) error {
	if s.find == nil {
		return errors.New("loadbalance: the schema is empty; make it with HashSchema, RangeSchema or DirectorySchema")
	}
	p.schema.Store(&s)
	p.mu.Lock()
	users := make([]*Balancer, 0, len(p.users))
	for b := range p.users {
		users = append(users, b)
	}
	p.mu.Unlock()
	for _, b := range users {
		if !b.rebuild() {
			p.forget(b)
		}
	}
	return nil
}

// forget drops a balancer that is closed.
func (p *Partitions) forget(b *Balancer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.users, b)
}

// Strategy returns the strategy that picks by partition. It may be given to
// several balancers, which Swap then changes one after the other.
func (p *Partitions) Strategy() Strategy {
	return Strategy{name: p.Schema().name + " partitions, " + p.within.name, make: p.picker}
}

func (p *Partitions) picker(s site, nodes []*Node) picker {
	p.mu.Lock()
	p.users[s.balancer] = true
	p.mu.Unlock()
	schema := p.schema.Load()
	next := &partitioned{key: p.key, schema: schema, parts: make([]picker, len(schema.parts)), nodes: schema.assign(nodes)}
	before, _ := s.before.(*partitioned)
	was := before.byName()
	peers := schema.assign(s.peers)
	for i, part := range schema.parts {
		next.parts[i] = p.within.make(s.inner(was[part.Name], peers[i]), next.nodes[i])
	}
	return next
}

// assign returns the nodes that have each of the partitions.
func (s *Schema) assign(nodes []*Node) [][]*Node {
	byAddress, byAttribute := map[string]*Node{}, map[string][]*Node{}
	for _, n := range nodes {
		byAddress[n.address] = n
		for name := range strings.SplitSeq(n.Endpoint().Attributes[PartitionAttribute], ",") {
			name = strings.TrimSpace(name)
			if have := byAttribute[name]; len(have) == 0 || have[len(have)-1] != n {
				byAttribute[name] = append(have, n)
			}
		}
	}
	assigned := make([][]*Node, len(s.parts))
	for i, p := range s.parts {
		if len(p.Endpoints) == 0 {
			assigned[i] = byAttribute[p.Name]
		}
		for _, a := range p.Endpoints {
			if n := byAddress[a]; n != nil {
				assigned[i] = append(assigned[i], n)
			}
		}
	}
	return assigned
}

// partitioned picks from the nodes that have the call's key.
type partitioned struct {
	key    func(ctx context.Context, call *backstay.Call) string
	schema *Schema
	parts  []picker
	nodes  [][]*Node // of each part
}

// byName returns the pickers of the partitions by their names.
func (p *partitioned) byName() map[string]picker {
	pickers := map[string]picker{}
	if p != nil {
		for i, part := range p.schema.parts {
			pickers[part.Name] = p.parts[i]
		}
	}
	return pickers
}

func (p *partitioned) pick(q query) (*Node, bool) {
	key := p.key(q.ctx, q.call)
	if key == "" {
		return nil, false
	}
	i := p.schema.find(key)
	if i < 0 {
		return nil, false
	}
	return p.parts[i].pick(q)
}

// why says why there is no node for q.
func (p *partitioned) why(q query) cause {
	key := p.key(q.ctx, q.call)
	if key == "" {
		return cause{text: "the call has no key", final: true}
	}
	i := p.schema.find(key)
	if i < 0 {
		return cause{text: "no partition has the key", final: true}
	}
	c := why(p.parts[i], p.nodes[i], q)
	c.text = fmt.Sprintf("partition %q: %s", p.schema.parts[i].Name, c.text)
	return c
}

func (p *partitioned) refresh() {
	for _, part := range p.parts {
		part.refresh()
	}
}
