package hashing

import (
	"math"
	"testing"
)

// Scores with equal weights are made without the logarithm. With it, they must
// come in the same order, or keys would move when one member's weight changes.
func TestRendezvousScoresAlikeWithAndWithoutLogarithm(t *testing.T) {
	members := fleet(10)
	plain, logs := NewRendezvous(members), NewRendezvous(members)
	logs.weights = make([]float64, len(members))
	for i := range logs.weights {
		logs.weights[i] = 1
	}
	if plain.weights != nil {
		t.Fatal("equal weights are kept, want none")
	}
	for _, hash := range hashes {
		if got, want := best(plain, 10, hash), best(logs, 10, hash); got != want {
			t.Errorf("owner of %#x = %d, want %d as by the logarithm", hash, got, want)
		}
	}
}

// The score of a draw of all ones or zeros is still that of a weight.
func TestRendezvousScoresAreFiniteAndAbove0(t *testing.T) {
	for _, draw := range []uint64{0, 1, 1<<12 - 1, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		for _, w := range []float64{1, 65535} {
			if got := math.Float64frombits(scale(draw, w)); !(got > 0) || math.IsInf(got, 0) {
				t.Errorf("score of the draw %#x with weight %v = %v, want a number above 0", draw, w, got)
			}
		}
	}
}

// A key that is the name of a member is a key like others. Were the hash of the
// member that of the key, the draw would be the same for every name.
func TestRendezvousSharesKeysThatAreNames(t *testing.T) {
	members := fleet(1000)
	own := 0
	for i := 0; i < len(members); i += 2 {
		if pair := NewRendezvous(members[i : i+2]); best(pair, 2, Sum(members[i].Name)) == 0 {
			own++
		}
	}
	if own < 200 || own > 300 {
		t.Errorf("%d of 500 names are owned by their own member and not by another, want about half", own)
	}
}

func TestRendezvousSharesAreEven(t *testing.T) {
	for _, row := range []struct {
		n     int
		bound float64 // 5 times the sampling error
	}{{3, 1.03}, {10, 1.07}, {100, 1.2}} {
		owner, counts := rendezvousOf(fleet(row.n)), make([]int, row.n)
		for _, hash := range hashes {
			counts[owner(hash)]++
		}
		if got := peak(counts); got > row.bound {
			t.Errorf("peak/mean of %d members = %.3f, want at most %v", row.n, got, row.bound)
		}
	}
}
