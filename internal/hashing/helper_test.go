package hashing

import (
	"fmt"
	"slices"
)

// sizes are the numbers of members that the rules speak of.
var sizes = []int{3, 10, 100, 1000}

// fleet returns n members of weight 1, with names as they are in a cluster.
func fleet(n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250+1), 1}
	}
	return members
}

// weighted returns members with the given weights.
func weighted(weights ...int) []Member {
	members := fleet(len(weights))
	for i, w := range weights {
		members[i].Weight = w
	}
	return members
}

// without returns the members but one.
func without(members []Member, i int) []Member {
	return slices.Concat(members[:i], members[i+1:])
}

// hashes are those of keys.
var hashes = func() []uint64 {
	h := make([]uint64, 1<<16)
	for i := range h {
		h[i] = Sum(fmt.Sprintf("customer/%d", i))
	}
	return h
}()

// A lookup returns the index of the owner of a hash.
type lookup func(hash uint64) int

func ringOf(members []Member) lookup {
	r := NewRing(members)
	return func(hash uint64) int { return r.At(r.Find(hash)) }
}

func maglevOf(members []Member) lookup { return NewMaglev(members, 0).At }

func rendezvousOf(members []Member) lookup {
	r := NewRendezvous(members)
	return func(hash uint64) int { return best(r, len(members), hash) }
}

// best finds an owner as users of Score do.
func best(r *Rendezvous, n int, hash uint64) int {
	owner, highest := -1, uint64(0)
	for i := range n {
		if s := r.Score(hash, i); owner < 0 || s > highest {
			owner, highest = i, s
		}
	}
	return owner
}

var kinds = []struct {
	name string
	of   func([]Member) lookup
}{{"ring", ringOf}, {"maglev", maglevOf}, {"rendezvous", rendezvousOf}}

// peak returns how much the most of some shares is above their mean.
func peak[N int | uint64](shares []N) float64 {
	sum := 0.0
	for _, s := range shares {
		sum += float64(s)
	}
	return float64(slices.Max(shares)) / (sum / float64(len(shares)))
}

// circle is how many hashes a Ring tells apart.
const circle = 1 << (64 - rankBits)

// arc returns how many hashes the point at pos owns.
func (r *Ring) arc(pos int) uint64 {
	before := r.points[(pos+len(r.points)-1)%len(r.points)]
	return (r.points[pos]>>rankBits - before>>rankBits) % circle
}

// arcs returns how many hashes each member owns.
func (r *Ring) arcs() []uint64 {
	arcs := make([]uint64, len(r.members))
	for pos := range r.points {
		arcs[r.At(pos)] += r.arc(pos)
	}
	return arcs
}

// equal reports whether two rings are the same in all they consist of.
func equal(a, b *Ring) bool {
	return slices.Equal(a.members, b.members) && slices.Equal(a.given, b.given) && slices.Equal(a.points, b.points) &&
		slices.Equal(a.index, b.index) && a.shift == b.shift
}
