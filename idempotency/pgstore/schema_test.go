package pgstore_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
	"github.com/backstay-go/backstay/internal/services"
)

func TestManyMigrateAtOnce(t *testing.T) {
	db := open(t, services.Postgres(t))
	for range 5 {
		cfg := newConfig(t, db)
		s := pgstore.New(db, cfg)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Errorf("Migrate = %v, want nil", err)
				}
			})
		}
		wg.Wait()
		claim(t, s, newClaim(), idempotency.Claimed)
	}
}

// A process that starts must not wait for those that are at work, nor have the
// others wait.
func TestMigrateLeavesATableAlone(t *testing.T) {
	db := open(t, services.Postgres(t))
	s, cfg := newStore(t, db)
	c := newClaim()
	claim(t, s, c, idempotency.Claimed)
	tx := lockRow(t, db, cfg, c)
	run(t, tx, "DELETE FROM "+cfg.Table)
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("Migrate beside a transaction = %v, want nil", err)
	}
}

func TestSchemaIsAMigration(t *testing.T) {
	db := open(t, services.Postgres(t))
	cfg := newConfig(t, db)
	cfg.Table += "_Of2"
	for range 2 {
		run(t, db, pgstore.Schema(cfg.Table))
	}
	s := pgstore.New(db, cfg)
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("Migrate = %v, want nil", err)
	}
	claim(t, s, newClaim(), idempotency.Claimed)
	schema, name, _ := strings.Cut(cfg.Table, ".")
	if n := number(t, db, "SELECT count(*) FROM pg_indexes WHERE schemaname = $1 AND tablename = $2 AND indexname = $2 || '_expires_at'", schema, name); n != 1 {
		t.Errorf("%d indexes for Clean, want 1", n)
	}
}

func TestTableNames(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"", `"idempotency_keys" (`},
		{"keys", `"keys" (`},
		{"_Keys2", `"_Keys2" (`},
		{"payments.keys", `"payments"."keys" (`},
		{strings.Repeat("k", 52), "kk"},
	} {
		if got := pgstore.Schema(c.name); !strings.Contains(got, "CREATE TABLE IF NOT EXISTS "+c.want) && c.want != "kk" {
			t.Errorf("Schema(%q) = %s, want to create %s", c.name, got, c.want)
		}
	}
	for _, name := range []string{
		"a.b.c", ".a", "a.", "a b", `a"`, "a;", "1a", "a-b", "ä", "a\n", strings.Repeat("k", 53), strings.Repeat("s", 64) + ".k",
	} {
		err := pgstore.Config{Table: name}.Validate()
		if err == nil || !strings.Contains(err.Error(), "pgstore: the ") {
			t.Errorf("Validate(%q) = %v, want an error", name, err)
			continue
		}
		for what, f := range map[string]func(){
			"Schema": func() { pgstore.Schema(name) },
			"New":    func() { pgstore.New(open(t, services.Postgres(t)), pgstore.Config{Table: name}) },
		} {
			if got := panicOf(f); got != err.Error() {
				t.Errorf("%s(%q) panicked with %v, want %v", what, name, got, err)
			}
		}
	}
	if got := panicOf(func() { pgstore.New(nil, pgstore.Config{}) }); got == nil {
		t.Error("New(nil) did not panic")
	}
}

func panicOf(f func()) (p any) {
	defer func() { p = recover() }()
	f()
	return nil
}
