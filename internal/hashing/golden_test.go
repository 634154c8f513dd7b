package hashing

import (
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// The vectors are the reference implementation's.
//
// L-11
func TestSumIsFixed(t *testing.T) {
	for _, row := range []struct {
		key  string
		want uint64
	}{
		{"", 0xef46db3751d8e999},
		{"a", 0xd24ec4f1a98c6e5b},
		{"abc", 0x44bc2cf5ad770999},
		{"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1},
	} {
		if got := Sum(row.key); got != row.want {
			t.Errorf("Sum(%q) = %#x, want %#x", row.key, got, row.want)
		}
	}
}

// A vector that has to change is a breaking change: programs with the old one
// and the new one would look for a key at different members.
//
// L-11
func TestOwnersAreFixed(t *testing.T) {
	equal, unequal := fleet(5), weighted(1, 2, 3, 4, 5)
	for _, row := range []struct {
		key                      string
		ring, maglev, rendezvous [2]int // among equal, among unequal
	}{
		{"", [2]int{2, 2}, [2]int{1, 1}, [2]int{4, 4}},
		{"customer 7", [2]int{2, 2}, [2]int{4, 4}, [2]int{0, 4}},
		{"orders/2026/11", [2]int{1, 4}, [2]int{4, 4}, [2]int{1, 1}},
		{"10.0.0.1:8080", [2]int{1, 4}, [2]int{0, 0}, [2]int{0, 4}},
		{"c0a5f6a2-7f0c-4d0e-9a37-0f8f3a1f6b11", [2]int{0, 3}, [2]int{0, 0}, [2]int{4, 4}},
		{"日本", [2]int{4, 4}, [2]int{1, 1}, [2]int{2, 2}},
	} {
		hash := Sum(row.key)
		for _, f := range []struct {
			name string
			of   func([]Member) lookup
			want [2]int
		}{{"ring", ringOf, row.ring}, {"maglev", maglevOf, row.maglev}, {"rendezvous", rendezvousOf, row.rendezvous}} {
			if got := [2]int{f.of(equal)(hash), f.of(unequal)(hash)}; got != f.want {
				t.Errorf("owners of %q by %s = %v, want %v", row.key, f.name, got, f.want)
			}
		}
	}
}

// L-11
func TestOwnersOfManyKeysAreFixed(t *testing.T) {
	for i, want := range []uint64{0x2d2a996669461354, 0x68c64cac6c7ff00d, 0x3f139dbe20026fa6} {
		owner := kinds[i].of(weighted(1, 1, 2, 5, 64, 65535))
		var all []byte
		for _, hash := range hashes[:10_000] {
			all = binary.LittleEndian.AppendUint32(all, uint32(owner(hash)))
		}
		if got := xxhash.Sum64(all); got != want {
			t.Errorf("hash of all owners by %s = %#x, want %#x", kinds[i].name, got, want)
		}
	}
}
