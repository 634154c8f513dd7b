package pgstore_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/services"
)

// A level that a driver does not know would fail each request.
func TestIsolationIsOneThatDriversKnow(t *testing.T) {
	server := services.Postgres(t)
	pq, err := sql.Open("postgres", server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pq.Close() })
	dbs := map[string]*sql.DB{"pgx": open(t, server), "pq": pq}
	good := 0
	for level := sql.LevelDefault - 1; level <= sql.LevelLinearizable+1; level++ {
		cfg := pgstore.Config{Isolation: level}
		if err := cfg.Validate(); err != nil {
			if got := panicOf(func() { pgstore.New(pq, cfg) }); got != err.Error() || !strings.Contains(err.Error(), "; give ") {
				t.Errorf("%v: New panicked with %v, want %v and what to give", level, got, err)
			}
			continue
		}
		good++
		for name, db := range dbs {
			tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
			if err != nil {
				t.Errorf("%s: BeginTx(%v), which Validate lets pass = %v, want nil", name, level, err)
				continue
			}
			if err := tx.Rollback(); err != nil {
				t.Errorf("%s: Rollback = %v, want nil", name, err)
			}
		}
	}
	if good != 5 {
		t.Errorf("Validate lets %d levels pass, want the default and the 4 of PostgreSQL", good)
	}
}
