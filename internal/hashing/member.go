package hashing

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// A Member owns a share of the keys, in proportion to its weight. The names of
// members are distinct, and the weight is 1 to 65535.
type Member struct {
	Name   string
	Weight int
}

// Sum returns the hash of a key: xxHash64 with seed 0. It will not change.
func Sum(key string) uint64 { return xxhash.Sum64String(key) }

// A sequence makes the hashes of a name: as many as one likes, by number.
type sequence []byte

// The number is of fixed width and behind the name, so that no other name and
// number make the same text: not 10.0.0.1 with 11 and 10.0.0.11 with 1.
func newSequence(name string) sequence { return append([]byte(name), 0, 0, 0, 0, 0) }

func (s sequence) hash(i int) uint64 {
	binary.LittleEndian.PutUint32(s[len(s)-4:], uint32(i))
	return xxhash.Sum64(s)
}

// byName returns the indices of members in the order of their names. An index
// of the result is the rank of a member, which decides where hashes are equal.
func byName(members []Member) []uint32 {
	order := make([]uint32, len(members))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Compare(members[a].Name, members[b].Name) })
	return order
}
