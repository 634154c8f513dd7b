package pgstore_test

import (
	"database/sql"
	"testing"

	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/services"
)

// BenchmarkRequest is what keys cost, beside what a statement and a transaction
// cost without them. The server waits for its disk, as it does by default.
func BenchmarkRequest(b *testing.B) {
	db := open(b, services.Postgres(b))
	s, effects := newTransactional(b, db)
	record := make([]byte, 1000)
	insert := "INSERT INTO " + effects + " VALUES (1)"
	do := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("bare SELECT 1", func(b *testing.B) {
		for b.Loop() {
			run(b, db, "SELECT 1")
		}
	})
	b.Run("bare BEGIN INSERT COMMIT", func(b *testing.B) {
		for b.Loop() {
			tx, err := db.BeginTx(b.Context(), nil)
			do(err)
			run(b, tx, insert)
			do(tx.Commit())
		}
	})
	b.Run("bare INSERT", func(b *testing.B) {
		for b.Loop() {
			run(b, db, insert)
		}
	})
	b.Run("claim and complete", func(b *testing.B) {
		for b.Loop() {
			c := newClaim()
			_, err := s.Claim(b.Context(), c)
			do(err)
			do(s.Complete(b.Context(), c, record))
		}
	})
	b.Run("claim BEGIN INSERT complete COMMIT", func(b *testing.B) {
		for b.Loop() {
			c := newClaim()
			_, err := s.Claim(b.Context(), c)
			do(err)
			ctx, work := s.Begin(b.Context(), c)
			var tx *sql.Tx
			tx, err = pgstore.Tx(ctx)
			do(err)
			run(b, tx, insert)
			do(work.Complete(b.Context(), record))
		}
	})
	b.Run("replay", func(b *testing.B) {
		c := newClaim()
		_, err := s.Claim(b.Context(), c)
		do(err)
		do(s.Complete(b.Context(), c, record))
		c = rival(c)
		for b.Loop() {
			_, err := s.Claim(b.Context(), c)
			do(err)
		}
	})
}
