package hashing

import (
	"math"
	"math/bits"
	"slices"
)

// unit is how many points a member has for each unit of its weight. It does not
// depend on the number of members, or the points of those that stay would
// change with each that comes or goes.
//
// The busiest member has, on average over the names they may have, this many
// times the mean:
//
//	points  of 3  of 10  of 100  of 1000
//	160     1.07  1.12   1.21    1.28
//	256     1.05  1.10   1.16    1.22
const unit = 256

// maxMean is the greatest mean weight for which that holds. For the sake of
// memory, which is 12 to 16 bytes a point, members of greater weight have half
// of the points, or a quarter and so on: when the mean passes a power of two, by
// a weight unlike the others, keys move between members that stay.
const maxMean = 32

// halvings returns how often the points of the members are halved.
func halvings(members []Member) (n uint8) {
	total := 0
	for _, m := range members {
		total += m.Weight
	}
	for total>>n > maxMean*len(members) {
		n++
	}
	return n
}

// A point is a hash in its upper 40 bits and a rank in the lower 24, so that
// points sort as integers, equal hashes by the names of the members.
const rankBits = 24

const rankMask = 1<<rankBits - 1

// A Ring is consistent hashing: each member has points on a circle of hashes,
// and owns the keys that hash between the points before and its own. It does
// not change once it is made, and is safe for concurrent use. The zero value is
// a ring without members.
type Ring struct {
	members []Member // by rank
	given   []uint32 // by rank: the index that the caller knows the member by
	points  []uint64 // sorted
	index   []uint32 // by the first bits of a hash: the first point that has them or comes after
	shift   uint8    // how many bits of a hash the index leaves
	halved  uint8    // how often the points were
}

// NewRing returns a ring of the members.
func NewRing(members []Member) *Ring { return new(Ring).Update(members) }

// Update returns the ring that NewRing returns, but sooner if most members are
// those of r: their points are kept as they are sorted, and only those of others
// are made. A member with another weight is another.
func (r *Ring) Update(members []Member) *Ring {
	u := &Ring{given: byName(members), members: make([]Member, len(members)), halved: halvings(members)}
	if u.halved != r.halved {
		r = new(Ring)
	}
	total := 0
	for rank, i := range u.given {
		u.members[rank] = members[i]
		total += members[i].points(u.halved)
	}
	ranks, added := compare(r.members, u.members)
	u.points = merge(make([]uint64, 0, total), r.points, ranks, makePoints(u.members, added, u.halved))
	u.makeIndex()
	return u
}

// compare returns the new ranks of old members by their old ones, and the ranks
// of those that are new.
func compare(old, members []Member) (ranks []uint32, added []int) {
	ranks = slices.Repeat([]uint32{gone}, len(old))
	i := 0
	for rank, m := range members {
		for i < len(old) && old[i].Name < m.Name {
			i++
		}
		if i < len(old) && old[i] == m {
			ranks[i] = uint32(rank)
		} else {
			added = append(added, rank)
		}
	}
	return ranks, added
}

// gone is the new rank of a member that is no longer there.
const gone = math.MaxUint32

// makePoints returns the points of the members with the given ranks, sorted.
func makePoints(members []Member, ranks []int, halved uint8) []uint64 {
	total := 0
	for _, rank := range ranks {
		total += members[rank].points(halved)
	}
	points := make([]uint64, 0, total)
	for _, rank := range ranks {
		hashes := newSequence(members[rank].Name)
		for i := range members[rank].points(halved) {
			points = append(points, hashes.hash(i)&^rankMask|uint64(rank))
		}
	}
	slices.Sort(points)
	return points
}

// points returns how many points the member has.
func (m Member) points(halved uint8) int { return max(unit*m.Weight>>halved, 1) }

// merge appends points, with their ranks replaced, and fresh to a slice. Ranks
// follow the names, so replacing them leaves points in order.
func merge(to, points []uint64, ranks []uint32, fresh []uint64) []uint64 {
	for _, p := range points {
		rank := ranks[p&rankMask]
		if rank == gone {
			continue
		}
		p = p&^rankMask | uint64(rank)
		for len(fresh) > 0 && fresh[0] < p {
			to = append(to, fresh[0])
			fresh = fresh[1:]
		}
		to = append(to, p)
	}
	return append(to, fresh...)
}

// makeIndex makes an index with 2 to 4 entries for each point, so that Find
// mostly looks at one. Which bits a point begins with is anybody's guess, so
// there is no branch on it: that would make an Update twice as long.
func (r *Ring) makeIndex() {
	n := bits.Len(uint(2 * len(r.points)))
	r.shift = uint8(64 - n)
	r.index = make([]uint32, 1<<n+1)
	for i, p := range r.points {
		r.index[p>>(r.shift&63)+1] = uint32(i + 1)
	}
	after := uint32(0)
	for i, next := range r.index {
		after = max(after, next)
		r.index[i] = after
	}
}

// Find returns the position of the first point at or after a hash, such as one
// by Sum, or -1 if the ring has no members.
func (r *Ring) Find(hash uint64) int {
	if len(r.points) == 0 {
		return -1
	}
	i := int(r.index[hash>>(r.shift&63)])
	for i < len(r.points) && r.points[i] < hash&^rankMask {
		i++
	}
	if i == len(r.points) {
		return 0
	}
	return i
}

// At returns the member that has the point at a position: its index in the
// slice that NewRing or Update was given.
func (r *Ring) At(pos int) int { return int(r.given[r.points[pos]&rankMask]) }

// Next returns the position after pos. The one after the last is 0, so that a
// walk ends where it began.
func (r *Ring) Next(pos int) int {
	if pos++; pos < len(r.points) {
		return pos
	}
	return 0
}
