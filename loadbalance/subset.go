package loadbalance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/backstay-go/backstay/internal/hashing"
)

// SubsetConfig describes which endpoints a client uses, of a fleet that is too
// large for each client to be connected to all.
type SubsetConfig struct {
	// Size is how many endpoints the client uses.
	Size int

	// Index is the client's number among its fellows, from 0: their subsets
	// then cover the endpoints evenly, to a difference of one. It takes all
	// clients to be given the same endpoints, and when one comes or goes most
	// subsets change. Ignored where there is a Name.
	Index int

	// Name is the client's own, such as its host name, for clients that have no
	// number. Their subsets overlap by chance; when an endpoint comes or goes,
	// each changes by that one at most.
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
// whenever the client and the endpoints are, in whatever order they come. It
// panics if cfg is not valid.
//
// The smaller the part, the less a client can go around what is slow;
// docs/loadbalancing.md has what a dozen of 50 cost.
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
	// Of a large part those are drawn that are left out: window is for parts
	// of at most one half.
	if rest := len(nodes) - c.Size; rest < c.Size {
		out := window(nodes, c.Index, rest)
		return slices.DeleteFunc(slices.Clone(nodes), func(n *Node) bool { return slices.Contains(out, n) })
	}
	return window(nodes, c.Index, c.Size)
}

// window returns the nodes of a client: its places in a sequence of rounds, each
// of which has all nodes. The clients of one round divide them, and each round
// has an order of its own, so that no endpoint is always with the same others:
// "Deterministic Subsetting" in chapter 20 of Beyer et al., Site Reliability
// Engineering (2016).
func window(nodes []*Node, client, size int) []*Node {
	first := uint64(client) * uint64(size)
	count := uint64(len(nodes))
	number, from := first/count, first%count
	order := round(nodes, number, size)
	if from+uint64(size) <= count {
		return order[from:][:size]
	}
	return append(order[from:], round(nodes, number+1, size)[:from+uint64(size)-count]...)
}

// round returns the nodes in the order of a round. A client that has the last of
// one round and the first of the next has none twice: those of the last that
// would be among the first come later. As size is at most one half of the nodes,
// that moves none of this round's last.
func round(nodes []*Node, number uint64, size int) []*Node {
	order := roundOrder(nodes, number)
	have := int(number * uint64(len(nodes)) % uint64(size))
	if have == 0 {
		return order
	}
	last := roundOrder(nodes, number-1)[len(nodes)-have:]
	missing := size - have
	var first, rest []*Node
	for _, n := range order {
		if len(first) < missing && !slices.Contains(last, n) {
			first = append(first, n)
		} else {
			rest = append(rest, n)
		}
	}
	return append(first, rest...)
}

func roundOrder(nodes []*Node, number uint64) []*Node {
	return byScore(nodes, fmt.Sprint("round ", number))
}

// byScore returns nodes by their score for a name, the highest first.
func byScore(nodes []*Node, name string) []*Node {
	members := make([]hashing.Member, len(nodes))
	for i, n := range nodes {
		members[i] = hashing.Member{Name: n.address, Weight: 1}
	}
	scores, hash := hashing.NewRendezvous(members), hashing.Sum(name)
	type scored struct {
		score uint64
		node  *Node
	}
	all := make([]scored, len(nodes))
	for i, n := range nodes {
		all[i] = scored{scores.Score(hash, i), n}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.node.address, b.node.address))
	})
	order := make([]*Node, len(nodes))
	for i, s := range all {
		order[i] = s.node
	}
	return order
}
