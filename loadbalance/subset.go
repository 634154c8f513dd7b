package loadbalance

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// SubsetConfig describes which endpoints a client uses, of a fleet that is too
// large for each client to be connected to all.
type SubsetConfig struct {
	// Size is how many endpoints the client uses.
	Size int

	// Index is the client's number among its fellows, from 0: their subsets
	// then cover the endpoints evenly, to a difference of one. It takes all
	// clients to be given the same endpoints. Ignored where there is a Name.
	Index int

	// Name is the client's own, such as its host name, for clients that have no
	// number. Their subsets overlap by chance, and when an endpoint comes or
	// goes hardly any other changes place.
	Name string
}

// Validate reports what is wrong with the config.
func (c SubsetConfig) Validate() error {
	switch {
	case c.Size <= 0:
		return fmt.Errorf("loadbalance: the Size of a subset is %d; give how many endpoints a client uses, such as 20", c.Size)
	case c.Index < 0:
		return fmt.Errorf("loadbalance: the Index of a subset is %d; give the client's number, from 0", c.Index)
	}
	return nil
}

// Subset picks with a strategy from a part of the endpoints, which is the same
// whenever the client and the endpoints are. It panics if cfg is not valid.
//
// The smaller the part, the less a client can go around what is slow: subsets
// of a dozen by Index cost a tenth in p99, drawn ones more than a third.
func Subset(cfg SubsetConfig, s Strategy) Strategy {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	s.check("Subset")
	all := s.make
	s.name = fmt.Sprintf("%s in a subset of %d", s.name, cfg.Size)
	s.make = func(at site, nodes []*Node) picker {
		if len(nodes) <= cfg.Size {
			return all(at, nodes)
		}
		return all(at, cfg.subset(nodes))
	}
	return s
}

func (c SubsetConfig) subset(nodes []*Node) []*Node {
	if c.Name != "" {
		return byScore(nodes, c.Name)[:c.Size]
	}
	first := c.Index * c.Size // in the orders of all rounds, one after the other
	order := c.round(first/len(nodes), nodes)
	from := first % len(nodes)
	subset := slices.Clone(order[from:min(from+c.Size, len(order))])
	if missing := c.Size - len(subset); missing > 0 {
		subset = append(subset, c.round(first/len(nodes)+1, nodes)[:missing]...)
	}
	return subset
}

// round returns the nodes in the order of a round. The clients of one round
// divide them, and each round has an order of its own, so that no endpoint is
// always with the same others: "Deterministic Subsetting" in chapter 20 of Beyer
// et al., Site Reliability Engineering (2016). Where a client has the last of
// one round and the first of the next, those are not the same.
func (c SubsetConfig) round(number int, nodes []*Node) (order []*Node) {
	for r := range number + 1 {
		last := order
		order = byScore(nodes, fmt.Sprint("round ", r))
		if have := r * len(nodes) % c.Size; have > 0 {
			order = later(order, last[len(last)-have:], c.Size-have)
		}
	}
	return order
}

// later moves those of some nodes that are among the first n behind them.
func later(order, some []*Node, n int) []*Node {
	var first, rest []*Node
	for _, o := range order {
		if len(first) < n && !slices.Contains(some, o) {
			first = append(first, o)
		} else {
			rest = append(rest, o)
		}
	}
	return append(first, rest...)
}

// byScore returns nodes by their score for a name, the highest first.
func byScore(nodes []*Node, name string) []*Node {
	nodes = slices.Clone(nodes)
	score := func(n *Node) uint64 {
		var d xxhash.Digest
		d.Reset()
		var length [8]byte // tells the name from the address
		binary.LittleEndian.PutUint64(length[:], uint64(len(name)))
		_, _ = d.Write(length[:])
		_, _ = d.WriteString(name)
		_, _ = d.WriteString(n.address)
		return d.Sum64()
	}
	slices.SortFunc(nodes, func(a, b *Node) int {
		return cmp.Or(-cmp.Compare(score(a), score(b)), cmp.Compare(a.address, b.address))
	})
	return nodes
}
