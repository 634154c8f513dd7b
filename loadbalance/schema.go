package loadbalance

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/backstay-go/backstay/internal/hashing"
)

// A Partition is a part of the keys, and the endpoints that have it.
type Partition struct {
	// Name is the identity of the partition.
	Name string

	// Endpoints are the addresses of those that have it. Where there are none,
	// the endpoints say so themselves: those are meant whose PartitionAttribute
	// is the Name, or a list with commas that has it.
	Endpoints []string
}

// PartitionAttribute is the name of the attribute in which an Endpoint says
// which partitions it has, as in "north" or "north, south".
const PartitionAttribute = "partition"

// A Schema says which partition a key is in. It does not change; Partitions
// swaps one for another. The zero value has no partitions.
type Schema struct {
	name  string
	parts []Partition
	find  func(key string) int // the index of the partition, or -1
}

// HashSchema spreads keys over partitions by a hash of them. When a partition
// comes or goes only its own keys move.
func HashSchema(parts ...Partition) (Schema, error) {
	if err := checkParts("hash", parts); err != nil {
		return Schema{}, err
	}
	members := make([]hashing.Member, len(parts))
	for i, p := range parts {
		members[i] = hashing.Member{Name: p.Name, Weight: 1}
	}
	ring := hashing.NewRing(members)
	return Schema{"hash", clone(parts), func(key string) int { return ring.At(ring.Find(hashing.Sum(key))) }}, nil
}

// A Range is a partition of the keys from From on, in the order of bytes, up to
// the next Range's.
type Range struct {
	From string
	Partition
}

// RangeSchema gives ranges of keys to partitions. Keys below the first From are
// in none, so the first is often "".
func RangeSchema(ranges ...Range) (Schema, error) {
	ranges = slices.Clone(ranges)
	slices.SortStableFunc(ranges, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	var parts []Partition
	index := make([]int, len(ranges)) // a partition may have several ranges
	for i, r := range ranges {
		if i > 0 && r.From == ranges[i-1].From {
			return Schema{}, fmt.Errorf("loadbalance: two ranges begin at %q; give each a From of its own", r.From)
		}
		index[i] = slices.IndexFunc(parts, func(p Partition) bool { return p.Name == r.Name })
		if index[i] < 0 {
			index[i] = len(parts)
			parts = append(parts, r.Partition)
		} else if !slices.Equal(parts[index[i]].Endpoints, r.Endpoints) {
			return Schema{}, fmt.Errorf("loadbalance: the partition %q has different endpoints in two ranges; give both the same", r.Name)
		}
	}
	if err := checkParts("range", parts); err != nil {
		return Schema{}, err
	}
	return Schema{"range", clone(parts), func(key string) int {
		above := sort.Search(len(ranges), func(i int) bool { return ranges[i].From > key })
		if above == 0 {
			return -1
		}
		return index[above-1]
	}}, nil
}

// DirectorySchema looks keys up: find returns the name of the partition that
// has a key, or "". It is called for each pick, so it must be quick and safe for
// concurrent use.
func DirectorySchema(find func(key string) (partition string), parts ...Partition) (Schema, error) {
	if find == nil {
		return Schema{}, errors.New("loadbalance: DirectorySchema needs a function that finds the partition of a key")
	}
	if err := checkParts("directory", parts); err != nil {
		return Schema{}, err
	}
	byName := make(map[string]int, len(parts))
	for i, p := range parts {
		byName[p.Name] = i
	}
	return Schema{"directory", clone(parts), func(key string) int {
		if i, ok := byName[find(key)]; ok {
			return i
		}
		return -1
	}}, nil
}

// checkParts reports what is wrong with the partitions of a schema.
func checkParts(schema string, parts []Partition) error {
	if len(parts) == 0 {
		return fmt.Errorf("loadbalance: a %s schema needs at least one partition", schema)
	}
	seen := map[string]bool{}
	for _, p := range parts {
		switch {
		case p.Name == "":
			return fmt.Errorf("loadbalance: a partition of a %s schema has no name; give it one", schema)
		case seen[p.Name]:
			return fmt.Errorf("loadbalance: the partition %q is given twice; give it once", p.Name)
		}
		seen[p.Name] = true
		for i, e := range p.Endpoints {
			if slices.Contains(p.Endpoints[:i], e) {
				return fmt.Errorf("loadbalance: the partition %q has the endpoint %q twice; give it once", p.Name, e)
			}
		}
	}
	return nil
}

// clone returns partitions that share nothing with the caller's.
func clone(parts []Partition) []Partition {
	parts = slices.Clone(parts)
	for i := range parts {
		parts[i].Endpoints = slices.Clone(parts[i].Endpoints)
	}
	return parts
}

// Partitions returns the partitions, in the order of the keys where they have
// one.
func (s Schema) Partitions() []Partition { return clone(s.parts) }

// Of returns the partition that has a key, and whether there is one.
func (s Schema) Of(key string) (Partition, bool) {
	p := s.of(key)
	if p == nil {
		return Partition{}, false
	}
	return Partition{p.Name, slices.Clone(p.Endpoints)}, true
}

func (s Schema) of(key string) *Partition {
	if s.find != nil {
		if i := s.find(key); i >= 0 {
			return &s.parts[i]
		}
	}
	return nil
}

// Group divides keys by the partition that has them, for a function that splits
// a request. Keys that are in no partition are under "".
func (s Schema) Group(keys ...string) map[string][]string {
	groups := map[string][]string{}
	for _, k := range keys {
		name := ""
		if p := s.of(k); p != nil {
			name = p.Name
		}
		groups[name] = append(groups[name], k)
	}
	return groups
}
