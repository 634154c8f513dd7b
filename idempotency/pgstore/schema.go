package pgstore

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed schema.sql
var schema string

// Schema returns the statements that create the table, for a migration of your
// own: those of schema.sql, under the table's name. "" means the default one.
// It panics if the name is not valid: see Config.Table.
func Schema(name string) string {
	t, err := parseTable(name)
	if err != nil {
		panic(err.Error())
	}
	return t.schema()
}

func (t table) schema() string {
	return strings.NewReplacer(
		defaultTable+"_expires_at", t.index,
		defaultTable, t.quoted,
	).Replace(schema)
}

// migrationLock is what Migrate locks: the lowest 63 of the first 64 bits of the
// SHA-256 of "backstay idempotency", a number that nobody else has chosen.
const migrationLock = 0x2a2479fae26b0952

// Migrate creates the table unless it is there. Any number of processes may do
// so at the same time. Its schema has to be there. It needs the right to create
// a table only where there is none.
func (s *Store) Migrate(ctx context.Context) error {
	return s.explain(ctx, "migrate", s.migrate(ctx))
}

func (s *Store) migrate(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	// IF NOT EXISTS looks before it creates, and so two at once can fail.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock)); err != nil {
		return err
	}
	// The statements would change nothing where the table is, but CREATE INDEX
	// waits for all who write to it, and the others wait behind.
	var there bool
	if err := tx.QueryRowContext(ctx, "SELECT to_regclass($1) IS NOT NULL", s.table.quoted).Scan(&there); err != nil || there {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.table.schema()); err != nil {
		return err
	}
	return tx.Commit()
}
