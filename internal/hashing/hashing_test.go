package hashing

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/backstay-go/backstay/internal/race"
)

func TestOrderOfMembersDoesNotMatter(t *testing.T) {
	for _, kind := range kinds {
		for _, members := range [][]Member{fleet(10), weighted(5, 1, 64, 3, 65535)} {
			owner := kind.of(members)
			for seed := range uint64(5) {
				shuffled := slices.Clone(members)
				rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) {
					shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
				})
				other := kind.of(shuffled)
				for _, hash := range hashes[:1000] {
					if a, b := members[owner(hash)], shuffled[other(hash)]; a != b {
						t.Fatalf("owner of %#x by %s among %v = %v, want %v", hash, kind.name, shuffled, b, a)
					}
				}
			}
		}
	}
}

// A Maglev moves others too: TestMaglevMovesFewKeysOfOthers.
//
// L-12
func TestNoKeyMovesBetweenMembersThatStay(t *testing.T) {
	for _, kind := range kinds {
		if kind.name == "maglev" {
			continue
		}
		for _, n := range sizes {
			with := fleet(n)
			with[0].Weight = 5
			owner := kind.of(with)
			moved, keys := 0, hashes[:min(len(hashes), 500_000/n)] // a lookup by scores is O(n)
			for i := 0; i < n; i += max(1, n/3) {
				fewer := without(with, i)
				other := kind.of(fewer)
				for _, hash := range keys {
					before, after := with[owner(hash)], fewer[other(hash)]
					if before == with[i] {
						moved++
					} else if before != after {
						t.Fatalf("with and without %s of %d by %s, %#x has owner %s and %s, want one",
							with[i].Name, n, kind.name, hash, before.Name, after.Name)
					}
				}
			}
			if moved == 0 {
				t.Errorf("keys that move with one of %d by %s = 0, want some", n, kind.name)
			}
		}
	}
}

func TestAnotherWeightMovesOnlyKeysOfThatMember(t *testing.T) {
	for _, kind := range kinds {
		if kind.name == "maglev" {
			continue
		}
		for _, row := range []struct{ lighter, heavier []Member }{
			{weighted(1, 1, 1), weighted(1, 2, 1)},
			{weighted(2, 3, 4), weighted(2, 60, 4)},
			{weighted(2, 2, 64), weighted(2, 20, 64)},
		} {
			before, after := kind.of(row.lighter), kind.of(row.heavier)
			moved := 0
			for _, hash := range hashes[:10_000] {
				if b, a := before(hash), after(hash); b != a {
					moved++
					if a != 1 {
						t.Fatalf("by %s, %v to %v moves %#x from %d to %d, want only to 1", kind.name, row.lighter, row.heavier, hash, b, a)
					}
				}
			}
			if moved == 0 {
				t.Errorf("by %s, %v to %v moves no key, want some", kind.name, row.lighter, row.heavier)
			}
		}
	}
}

func TestSharesFollowWeights(t *testing.T) {
	for _, row := range []struct {
		kind      string
		of        func([]Member) lookup
		weights   []int
		tolerance float64 // of the share of a member, above its sampling error
	}{
		{"ring", ringOf, []int{1, 2, 4, 8, 16, 32, 64}, 0.15},
		{"ring", ringOf, []int{100, 200, 300}, 0.15},
		{"ring", ringOf, []int{1000, 30_000, 65535}, 0.15},
		{"maglev", maglevOf, []int{1, 2, 4, 8, 16, 32, 64}, 0.01},
		{"maglev", maglevOf, []int{100, 10_000, 65535}, 0.01},
		{"rendezvous", rendezvousOf, []int{1, 2, 4, 8, 16, 32, 64}, 0.01},
		{"rendezvous", rendezvousOf, []int{100, 10_000, 65535}, 0.01},
	} {
		owner, counts, total := row.of(weighted(row.weights...)), make([]int, len(row.weights)), 0
		for _, hash := range hashes {
			counts[owner(hash)]++
		}
		for _, w := range row.weights {
			total += w
		}
		for i, w := range row.weights {
			want := float64(w) / float64(total) * float64(len(hashes))
			if got := float64(counts[i]); math.Abs(got-want) > want*row.tolerance+4*math.Sqrt(want) {
				t.Errorf("by %s with weights %v, the one of %d owns %v of %d keys, want %.0f", row.kind, row.weights, w, got, len(hashes), want)
			}
		}
	}
}

func TestNoMembersOwnNothing(t *testing.T) {
	for _, r := range []*Ring{new(Ring), NewRing(nil), NewRing(fleet(3)).Update(nil)} {
		if got := r.Find(Sum("key")); got != -1 {
			t.Errorf("Find on a ring without members = %d, want -1", got)
		}
	}
	for _, m := range []*Maglev{new(Maglev), NewMaglev(nil, 0)} {
		if got := m.At(Sum("key")); got != -1 || m.Size() != 0 || m.Probe(Sum("key"), 7) != -1 {
			t.Errorf("At on a table without members = %d, want -1, and size 0", got)
		}
	}
	NewRendezvous(nil)
}

func TestOneMemberOwnsEverything(t *testing.T) {
	for _, kind := range kinds {
		owner := kind.of(weighted(3))
		for _, hash := range []uint64{0, 1, Sum("key"), 1 << 63, math.MaxUint64} {
			if got := owner(hash); got != 0 {
				t.Errorf("owner of %#x by %s = %d, want 0", hash, kind.name, got)
			}
		}
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counts allocations")
	}
	members := weighted(1, 2, 3)
	ring, table, scores := NewRing(members), NewMaglev(members, 0), NewRendezvous(members)
	for name, f := range map[string]func(){
		"Sum":   func() { Sum("key") },
		"Ring":  func() { ring.At(ring.Next(ring.Find(hashes[1]))) },
		"At":    func() { table.At(hashes[1]) },
		"Probe": func() { table.Probe(hashes[1], 3) },
		"Score": func() { scores.Score(hashes[1], 2) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}
