package hashing

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// The whole circle is compared, arc by arc, and not a sample of keys. Each point
// of it moves when the member goes that owns it, so the shares that all members
// move add up to 1: the mean is exactly the ideal 1/n.
//
// L-12
func TestRingMovesExactlyTheShareOfTheMember(t *testing.T) {
	for _, n := range sizes {
		members := fleet(n)
		with := NewRing(members)
		arcs := with.arcs()
		sum := uint64(0)
		for i := 0; i < n; i += 1 + n/1000*142 { // at 1000, one of 143
			fewer := without(members, i)
			gone := with.Update(fewer)
			back := gone.Update(members)
			if !equal(back, with) {
				t.Fatalf("ring of %d after %s came back is another, want that before it went", n, members[i].Name)
			}
			moved := uint64(0)
			for pos, p := range with.points {
				before, after := members[with.At(pos)], fewer[gone.At(gone.Find(p))]
				if before != members[i] && before != after {
					t.Fatalf("with and without %s of %d, an arc has owner %s and %s, want one", members[i].Name, n, before.Name, after.Name)
				}
				if before != after {
					moved += with.arc(pos)
				}
			}
			if moved != arcs[i] {
				t.Errorf("%s of %d moves %d of the circle, want the %d that it owns", members[i].Name, n, moved, arcs[i])
			}
			sum += moved
		}
		if n <= 100 && sum != circle {
			t.Errorf("all %d members move %d of the circle, want %d: each arc once", n, sum, uint64(circle))
		}
	}
}

// L-12
func TestRingPointsDoNotDependOnTheNumberOfMembers(t *testing.T) {
	for _, n := range sizes {
		if r := NewRing(fleet(n)); len(r.points) != n*unit {
			t.Errorf("points of %d members = %d, want %d", n, len(r.points), n*unit)
		}
	}
}

// The bounds of single fleets leave room for luck with their names, those of
// the mean do not.
//
// L-12
func TestRingSharesAreEven(t *testing.T) {
	for _, row := range []struct {
		n, fleets        int
		fleet, any, mean float64
	}{
		{3, 50, 1.06, 1.2, 1.06},
		{10, 50, 1.12, 1.25, 1.12},
		{100, 50, 1.20, 1.30, 1.18},
		{1000, 5, 1.30, 1.35, 1.24},
	} {
		sum := 0.0
		for k := range row.fleets {
			members := fleet(row.n)
			bound := row.fleet
			if k > 0 {
				bound = row.any
				for i := range members {
					members[i].Name = fmt.Sprintf("orders-%d.shop-%d.svc:8080", i, k)
				}
			}
			got := peak(NewRing(members).arcs())
			if got > bound {
				t.Errorf("peak/mean of %d members such as %s = %.3f, want at most %v", row.n, members[0].Name, got, bound)
			}
			sum += got
		}
		if mean := sum / float64(row.fleets); mean > row.mean {
			t.Errorf("peak/mean of %d members over %d fleets = %.3f, want at most %v", row.n, row.fleets, mean, row.mean)
		} else {
			t.Logf("peak/mean of %d members over %d fleets = %.3f", row.n, row.fleets, mean)
		}
	}
}

// L-11
func TestNamesAreToldApartFromNumbers(t *testing.T) {
	for _, row := range [][2]string{
		{"10.0.0.1", "110.0.0.1"},
		{"10.0.0.1", "10.0.0.11"},
		{"10.0.0.1:8", "10.0.0.1:80"},
		{"a", "a\x00"},
		{"a", "a\x00\x00\x00\x00\x00"},
		{"", "\x00\x00\x00\x00\x00"},
	} {
		r := NewRing([]Member{{row[0], 4}, {row[1], 4}})
		for i := range r.points[1:] {
			if r.points[i]>>rankBits == r.points[i+1]>>rankBits {
				t.Errorf("%q and %q have a point in common, want none", row[0], row[1])
			}
		}
	}
}

// The names were searched for: each has a point at that hash.
func TestEqualPointsGoByName(t *testing.T) {
	a, b, point := Member{"10.0.35.139:8080", 1}, Member{"10.0.44.143:8080", 1}, uint64(9829875836)<<rankBits
	for _, members := range [][]Member{{a, b}, {b, a}} {
		for _, r := range []*Ring{NewRing(members), NewRing(members[:1]).Update(members), NewRing(members[1:]).Update(members)} {
			pos := r.Find(point)
			if first, second := members[r.At(pos)], members[r.At(r.Next(pos))]; r.points[pos]>>rankBits != point>>rankBits || first != a || second != b {
				t.Errorf("owners of a point in common, of %v = %s, %s, want %s, %s", members, first.Name, second.Name, a.Name, b.Name)
			}
		}
	}
}

func TestRingFindsTheFirstPointAtOrAfter(t *testing.T) {
	for _, members := range [][]Member{fleet(1), fleet(3), weighted(64, 1), fleet(100)} {
		r := NewRing(members)
		check := func(hash uint64) {
			want, _ := slices.BinarySearch(r.points, hash&^rankMask)
			want %= len(r.points)
			if got := r.Find(hash); got != want {
				t.Fatalf("Find(%#x) of %d members = %d, want %d", hash, len(members), got, want)
			}
		}
		for _, p := range r.points {
			check(p)
			check(p - 1)
			check(p + 1)
			check(p&^rankMask - 1)
			check(p | rankMask)
			check(p | rankMask + 1)
		}
		for _, hash := range append(hashes, 0, 1, 1<<64-1) {
			check(hash)
		}
	}
}

// The next owner on a walk is the one that has the key if the first goes: its
// keys are where they are looked for, whether it is removed or passed over.
//
// L-16
func TestRingWalkGoesToTheNextOwner(t *testing.T) {
	members := fleet(10)
	r := NewRing(members)
	for i := range members {
		fewer := without(members, i)
		gone := NewRing(fewer)
		for _, hash := range hashes[:2000] {
			pos := r.Find(hash)
			for r.At(pos) == i {
				pos = r.Next(pos)
			}
			if got, want := members[r.At(pos)], fewer[gone.At(gone.Find(hash))]; got != want {
				t.Fatalf("the walk past %s comes to %s, want %s as without it", members[i].Name, got.Name, want.Name)
			}
		}
	}
}

func TestRingWalkEndsWhereItBegan(t *testing.T) {
	r := NewRing(fleet(10))
	seen, steps := map[int]bool{}, 0
	start := r.Find(Sum("key"))
	for pos := start; steps == 0 || pos != start; pos = r.Next(pos) {
		seen[r.At(pos)] = true
		steps++
	}
	if len(seen) != 10 || steps != 10*unit {
		t.Errorf("a walk of %d steps comes to %d members, want all 10 in %d", steps, len(seen), 10*unit)
	}
}

func TestRingBoundsItsPoints(t *testing.T) {
	for _, row := range [][]int{{65535}, {100, 100, 100}, {65535, 1, 1, 1}, {33, 32}, {maxMean, maxMean}} {
		if r := NewRing(weighted(row...)); len(r.points) > len(row)*unit*maxMean+len(row) {
			t.Errorf("points of members of weights %v = %d, want at most %d for each", row, len(r.points), unit*maxMean)
		}
	}
}

// Weights that pass the mean up to which points are not halved, and come back.
func TestRingUpdatesAcrossTheHalvingOfPoints(t *testing.T) {
	small, large := weighted(1, 2, 3), weighted(1, 2, 300)
	if got, want := NewRing(small).Update(large), NewRing(large); !reflect.DeepEqual(got, want) {
		t.Error("a ring updated to a weight that halves the points is not that of the new members")
	}
	if got, want := NewRing(large).Update(small), NewRing(small); !reflect.DeepEqual(got, want) {
		t.Error("a ring updated from a weight that halved the points is not that of the new members")
	}
}

// L-13
func TestUpdateMakesPointsOnlyOfNewMembers(t *testing.T) {
	old := NewRing(weighted(1, 1, 1, 1, 1))
	for _, row := range []struct {
		members []Member
		added   []int // by rank
	}{
		{weighted(1, 1, 1, 1, 1), nil},
		{weighted(1, 1, 1), nil},
		{weighted(1, 1, 1, 1, 1, 1), []int{5}},
		{weighted(1, 1, 7, 1, 1), []int{2}},
		{[]Member{{"0", 1}, {"10.0.0.3:8080", 1}, {"z", 1}}, []int{0, 2}},
	} {
		if _, added := compare(old.members, row.members); !slices.Equal(added, row.added) {
			t.Errorf("Update(%v) makes points of %v, want of %v", row.members, added, row.added)
		}
	}
}

// L-13
func TestUpdateLeavesTheRingToThoseWhoReadIt(t *testing.T) {
	members := fleet(20)
	r, same := NewRing(members), NewRing(members)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for _, hash := range hashes[:5000] {
				r.At(r.Next(r.Find(hash)))
			}
		})
		all.Go(func() { r.Update(without(members, i)).Update(nil).Update(members) })
	}
	all.Wait()
	if !equal(r, same) {
		t.Error("Update changed the ring that it was called on, want it as it was")
	}
}

func TestRingKeepsNothingOfTheCallers(t *testing.T) {
	members := fleet(3)
	r := NewRing(members)
	members[0], members[2] = members[2], Member{"other", 9}
	if got := r.Update(fleet(3)); !equal(got, NewRing(fleet(3))) {
		t.Error("a ring changes with the slice that it was made of, want a copy")
	}
}

func TestUpdatesEqualNewRing(t *testing.T) {
	for seed := range byte(4) {
		random := rand.NewChaCha8([32]byte{seed})
		changes := make([]byte, 60)
		random.Read(changes)
		checkUpdates(t, changes)
	}
}

func FuzzRingUpdate(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x00, 0x11, 0x22, 0x33, 0x01, 0x12, 0xff, 0x00})
	f.Fuzz(func(t *testing.T, changes []byte) { checkUpdates(t, changes[:min(len(changes), 40)]) })
}

// checkUpdates lets each byte change one of 16 members: it goes, or gets the
// weight 1 to 3, and the order of the others turns.
func checkUpdates(t *testing.T, changes []byte) {
	t.Helper()
	names := fleet(16)
	var members []Member
	r := NewRing(members)
	for _, change := range changes {
		m := Member{names[change%16].Name, int(change / 16 % 4)}
		members = slices.DeleteFunc(slices.Clone(members), func(old Member) bool { return old.Name == m.Name })
		if turn := int(change / 64); turn < len(members) {
			members = slices.Concat(members[turn:], members[:turn])
		}
		if m.Weight > 0 {
			members = append(members, m)
		}
		if r = r.Update(members); !equal(r, NewRing(members)) {
			t.Fatalf("Update(%v) is another ring than NewRing makes, want the same", members)
		}
	}
}
