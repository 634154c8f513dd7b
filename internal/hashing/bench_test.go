package hashing

import (
	"fmt"
	"testing"
)

var sink int

func BenchmarkFind(b *testing.B) {
	for _, n := range sizes {
		ring := NewRing(fleet(n))
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				sink += ring.At(ring.Find(hashes[i%len(hashes)]))
				i++
			}
		})
	}
}

func BenchmarkMaglev(b *testing.B) {
	for _, n := range sizes {
		table := NewMaglev(fleet(n), 0)
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				sink += table.At(hashes[i%len(hashes)])
				i++
			}
		})
	}
}

func BenchmarkRendezvous(b *testing.B) {
	for _, n := range sizes {
		r := NewRendezvous(fleet(n))
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			i := 0
			for b.Loop() {
				sink += best(r, n, hashes[i%len(hashes)])
				i++
			}
		})
	}
}

// BenchmarkUpdate adds one of 1000 members and removes it again.
func BenchmarkUpdate(b *testing.B) {
	with := fleet(1000)
	sets := [2][]Member{with, with[:999]}
	for _, row := range []struct {
		name string
		make func(*Ring, []Member) *Ring
	}{
		{"merge", (*Ring).Update},
		{"sort", func(_ *Ring, members []Member) *Ring { return NewRing(members) }},
	} {
		b.Run(row.name, func(b *testing.B) {
			ring := NewRing(sets[0])
			i := 0
			for b.Loop() {
				i++
				ring = row.make(ring, sets[i%2])
			}
		})
	}
}

func BenchmarkNewMaglev(b *testing.B) {
	members := fleet(1000)
	for b.Loop() {
		NewMaglev(members, 0)
	}
}
