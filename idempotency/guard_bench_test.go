package idempotency

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/backstay-go/backstay/internal/race"
)

// requests returns a function that makes up a new request each time.
func requests() func() Request {
	var key [8]byte
	n := uint64(0)
	return func() Request {
		n++
		binary.BigEndian.PutUint64(key[:], n)
		return Request{Tenant: "tenant", Key: string(key[:])}
	}
}

func BenchmarkGuard(b *testing.B) {
	b.Run("claim+complete", func(b *testing.B) {
		g, next := NewGuard(GuardConfig{Store: NewMemory(MemoryConfig{MaxEntries: 1 << 30, MaxBytes: 1 << 40})}), requests()
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := g.Do(context.Background(), next(), tea); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("replay", func(b *testing.B) {
		g, req := NewGuard(GuardConfig{}), requests()()
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := g.Do(context.Background(), req, tea); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestGuardAllocates(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates too")
	}
	g, next := NewGuard(GuardConfig{}), requests()
	do := func(req Request) {
		if _, _, err := g.Do(context.Background(), req, tea); err != nil {
			t.Fatal(err)
		}
	}
	old := next()
	do(old)
	for name, row := range map[string]struct {
		req func() Request
		max float64
	}{"claim+complete": {next, 31}, "replay": {func() Request { return old }, 7}} {
		if n := testing.AllocsPerRun(200, func() { do(row.req()) }); n > row.max {
			t.Errorf("%s: Do allocated %v times, want at most %v", name, n, row.max)
		}
	}
}
