package idempotency

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkMemory is what a Memory adds to a request: one claim and one
// complete, with a record of 500 bytes; and what a replay costs instead.
func BenchmarkMemory(b *testing.B) {
	b.Run("request", func(b *testing.B) { benchmarkRequests(b, 0) })
	b.Run("request, 100k live", func(b *testing.B) { benchmarkRequests(b, 100_000) })
	b.Run("request, parallel", func(b *testing.B) { benchmarkParallel(b, 0) })
	b.Run("request, parallel, 100k live", func(b *testing.B) { benchmarkParallel(b, 100_000) })
	b.Run("replay", func(b *testing.B) {
		m := benchmarkMemory(b, 1)
		b.ReportAllocs()
		for b.Loop() {
			if a, err := m.Claim(context.Background(), memoryClaim(0)); err != nil || a.State != Done {
				b.Fatalf("Claim = %v, %v, want done", a.State, err)
			}
		}
	})
}

// benchmarkMemory returns one with n keys that are done.
func benchmarkMemory(b *testing.B, n int) *Memory {
	m := NewMemory(MemoryConfig{})
	for i := range n {
		benchmarkRequest(b, m, memoryClaim(i))
	}
	return m
}

var benchmarkRecord = make([]byte, 500)

func benchmarkRequest(b *testing.B, m *Memory, c Claim) {
	if a, err := m.Claim(context.Background(), c); err != nil || a.State != Claimed {
		b.Errorf("Claim = %v, %v, want claimed", a.State, err)
	}
	// A goroutine may be held up for longer than the TTL.
	if err := m.Complete(context.Background(), c, benchmarkRecord); err != nil && err != ErrLeaseLost {
		b.Errorf("Complete = %v, want nil", err)
	}
}

// benchmarkTTL has keys removed as fast as they come.
const benchmarkTTL = 50 * time.Millisecond

func benchmarkRequests(b *testing.B, live int) {
	m := benchmarkMemory(b, live)
	b.ReportAllocs()
	for n := live; b.Loop(); n++ {
		c := memoryClaim(n)
		c.TTL = benchmarkTTL
		benchmarkRequest(b, m, c)
	}
}

func benchmarkParallel(b *testing.B, live int) {
	m := benchmarkMemory(b, live)
	var n atomic.Int64
	n.Store(int64(live))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c := memoryClaim(int(n.Add(1)))
			c.TTL = benchmarkTTL
			benchmarkRequest(b, m, c)
		}
	})
}
