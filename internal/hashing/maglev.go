package hashing

import (
	"math"
	"math/big"
	"math/bits"
)

// A Maglev is the table of Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer" (2016), section 3.4, with weights. It does
// not change once it is made, and is safe for concurrent use. The zero value
// has no members.
type Maglev struct {
	slots []uint32 // the owner of each, by the index that the caller gave
}

// NewMaglev returns a table with so many slots, or the next prime number of
// them; 0 means 65537. A slot takes 4 bytes. With 100 for each member, shares
// are even to 1 %; a member whose share is less than a slot may have none.
func NewMaglev(members []Member, size int) *Maglev {
	m := new(Maglev)
	if len(members) == 0 {
		return m
	}
	m.slots = make([]uint32, prime(size))
	for i := range m.slots {
		m.slots[i] = free
	}
	q := newQueue(members, len(m.slots))
	for range m.slots {
		m.take(&q[0])
		q.fix()
	}
	return m
}

const free = math.MaxUint32

// take gives the next free slot of its permutation to the member.
func (m *Maglev) take(t *turn) {
	for m.slots[t.slot] != free {
		t.slot = (t.slot + t.step) % len(m.slots)
	}
	m.slots[t.slot] = t.member
	t.number++
}

// prime returns the first prime number that is not below n.
func prime(n int) int {
	if n <= 0 {
		return 65537
	}
	for !big.NewInt(int64(n)).ProbablyPrime(0) { // exact below 2^64
		n++
	}
	return n
}

// At returns the member that owns a hash, such as one by Sum: its index in the
// slice that NewMaglev was given, or -1 if there are none.
func (m *Maglev) At(hash uint64) int { return m.Probe(hash, 0) }

// Probe returns the i-th candidate for a hash, the owner being number 0. The
// same may come again, and all that have a slot come before i is Size.
func (m *Maglev) Probe(hash uint64, i int) int {
	if len(m.slots) == 0 {
		return -1
	}
	slot, _ := bits.Mul64(hash, uint64(len(m.slots)))
	slot += uint64(i)
	if slot >= uint64(len(m.slots)) {
		slot %= uint64(len(m.slots))
	}
	return int(m.slots[slot])
}

// Size returns how many slots there are.
func (m *Maglev) Size() int { return len(m.slots) }
