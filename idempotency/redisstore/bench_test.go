package redisstore_test

import (
	"testing"

	"github.com/backstay-go/backstay/internal/services"
)

// BenchmarkRequest is a claim and a completion with a record of 1 KiB, beside
// what the same server takes for a PING and for a SET of that size. The ratio
// is that of ns/op within one run.
func BenchmarkRequest(b *testing.B) {
	record := make([]byte, 1024)
	for _, row := range []struct {
		name string
		args []string
	}{
		{"memory", []string{"--appendonly", "no"}},
		{"appendfsync=always", nil},
	} {
		client := connect(b, services.OwnRedis(b, row.args...))
		s := newStore(client)
		ctx := b.Context() // its end is waited for, as that of a request
		b.Run(row.name+"/PING", func(b *testing.B) {
			for b.Loop() {
				if err := client.Ping(ctx).Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(row.name+"/SET", func(b *testing.B) {
			for b.Loop() {
				if err := client.Set(ctx, "key", record, 0).Err(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(row.name+"/claim+complete", func(b *testing.B) {
			for b.Loop() {
				c := newClaim()
				if _, err := s.Claim(ctx, c); err != nil {
					b.Fatal(err)
				}
				if err := s.Complete(ctx, c, record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
