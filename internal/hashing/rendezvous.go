package hashing

import "math"

// A Rendezvous is highest random weight hashing: every member has a score for a
// hash, and the one with the highest owns it. It does not change once it is
// made, and is safe for concurrent use. The zero value has no members.
type Rendezvous struct {
	hashes  []uint64
	weights []float64 // nil if all are equal
}

// NewRendezvous returns a rendezvous of the members.
func NewRendezvous(members []Member) *Rendezvous {
	r := &Rendezvous{hashes: make([]uint64, len(members)), weights: make([]float64, len(members))}
	equal := true
	for i, m := range members {
		r.hashes[i], r.weights[i] = newSequence(m.Name).hash(0), float64(m.Weight)
		equal = equal && m.Weight == members[0].Weight
	}
	if equal {
		r.weights = nil
	}
	return r
}

// Score returns the score for a hash, such as one by Sum, of member i of those
// that NewRendezvous was given. The highest of the members that may be chosen is
// the owner. Only scores of one Rendezvous compare.
func (r *Rendezvous) Score(hash uint64, i int) uint64 {
	draw := mix(hash ^ r.hashes[i])
	if r.weights == nil {
		return draw
	}
	return scale(draw, r.weights[i])
}

// scale returns w/-ln(draw), with the draw taken as one from (0, 1): which
// member has the highest is any's in proportion to w. With equal weights it is
// the one of the highest draw, so leaving it away moves no keys. Floats above 0
// compare as their bits do.
func scale(draw uint64, w float64) uint64 {
	share := (float64(draw>>12) + 0.5) / (1 << 52)
	return math.Float64bits(w / -math.Log(share))
}

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
