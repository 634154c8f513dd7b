package hashing

import (
	"fmt"
	"testing"
)

func TestMaglevSharesAreEven(t *testing.T) {
	for _, row := range []struct {
		n     int
		bound float64
	}{{3, 1.001}, {10, 1.001}, {100, 1.01}, {1000, 1.01}} {
		m, counts := NewMaglev(fleet(row.n), 0), make([]int, row.n)
		for _, owner := range m.slots {
			counts[owner]++
		}
		if got := peak(counts); got > row.bound {
			t.Errorf("peak/mean of %d members = %.4f, want at most %v", row.n, got, row.bound)
		}
	}
}

// The ideal is that only the slots of the member that goes have another owner.
func TestMaglevMovesFewKeysOfOthers(t *testing.T) {
	for _, n := range sizes {
		members := fleet(n)
		with, most := NewMaglev(members, 0), 0.0
		for i := 0; i < n; i += max(1, n/10) {
			fewer := without(members, i)
			moved := 0
			for slot, owner := range NewMaglev(fewer, 0).slots {
				if before := with.slots[slot]; int(before) != i && members[before] != fewer[owner] {
					moved++
				}
			}
			most = max(most, float64(moved)/float64(with.Size()))
		}
		if most > 0.01 {
			t.Errorf("one of %d members moves %.2f %% of keys between others, want at most 1", n, most*100)
		} else {
			t.Logf("one of %d members moves at most %.2f %% of keys between others", n, most*100)
		}
	}
}

func TestMaglevSizeIsPrime(t *testing.T) {
	for _, row := range []struct{ size, want int }{
		{0, 65537}, {-1, 65537}, {1, 2}, {2, 2}, {4, 5}, {65537, 65537}, {65538, 65539}, {655373, 655373}, {655374, 655379},
	} {
		if got := NewMaglev(fleet(1), row.size).Size(); got != row.want {
			t.Errorf("size of NewMaglev(_, %d) = %d, want %d", row.size, got, row.want)
		}
	}
}

func TestMaglevFillsSmallTables(t *testing.T) {
	for size := range 30 {
		for n := 1; n <= 20; n++ {
			for slot, owner := range NewMaglev(fleet(n), size+1).slots {
				if int(owner) >= n {
					t.Fatalf("owner of slot %d of %d, among %d members = %d, want one of them", slot, size+1, n, owner)
				}
			}
		}
	}
}

func TestMaglevProbesComeToEveryMember(t *testing.T) {
	for _, size := range []int{11, 101, 0} {
		m := NewMaglev(fleet(10), size)
		for _, hash := range []uint64{0, 1<<64 - 1, hashes[0], hashes[1]} {
			t.Run(fmt.Sprintf("%d/%x", m.Size(), hash), func(t *testing.T) {
				if got, want := m.Probe(hash, 0), m.At(hash); got != want {
					t.Errorf("Probe(0) = %d, want the owner, %d", got, want)
				}
				seen := map[int]bool{}
				for i := range m.Size() {
					seen[m.Probe(hash, i)] = true
					for round := 1; round <= 2; round++ {
						if got, want := m.Probe(hash, i+round*m.Size()), m.Probe(hash, i); got != want {
							t.Fatalf("Probe(%d) = %d, want %d again", i+round*m.Size(), got, want)
						}
					}
				}
				if len(seen) != 10 {
					t.Errorf("probes come to %d members, want 10", len(seen))
				}
			})
		}
	}
}

// With the slots of a member that is passed over go to all others, not to one.
func TestMaglevProbesSpreadTheKeysOfAMember(t *testing.T) {
	m, counts := NewMaglev(fleet(10), 0), make([]int, 10)
	for _, hash := range hashes {
		if m.At(hash) != 3 {
			continue
		}
		i := 1
		for m.Probe(hash, i) == 3 {
			i++
		}
		counts[m.Probe(hash, i)]++
	}
	if got := peak(append(counts[:3:3], counts[4:]...)); got > 1.15 {
		t.Errorf("peak/mean of the keys that were one member's = %.3f in %v, want at most 1.15", got, counts)
	}
}
