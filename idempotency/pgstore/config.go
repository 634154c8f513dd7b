package pgstore

import (
	"database/sql"
	"fmt"
	"math"
	"regexp"
	"time"
)

const (
	defaultTable       = "idempotency_keys"
	defaultLockTimeout = time.Second
)

// A Config configures New and NewTransactional. The zero Config is ready to use.
type Config struct {
	// Table is where the keys are kept, as in "idempotency_keys" or
	// "payments.idempotency_keys". It consists of ASCII letters, digits and
	// underscores, and upper case is kept, as in a quoted identifier.
	// "" means "idempotency_keys", in the first schema of the search path.
	Table string

	// LockTimeout is how long a claim waits for another that is being decided,
	// or one that takes over waits for an owner that is committing. When it is
	// over, the claim fails.
	// 0 means 1 second; a negative one waits as long as the context lasts.
	LockTimeout time.Duration

	// Isolation is that of the transactions of NewTransactional. The zero value
	// means the server's default, which is read committed.
	//
	// The stricter levels see a renewed lease as a conflict: work that lasts
	// longer than a third of its lease then fails with SQLSTATE 40001.
	Isolation sql.IsolationLevel
}

// Validate reports what New would panic with.
func (c Config) Validate() error {
	if _, err := parseTable(c.Table); err != nil {
		return err
	}
	switch c.Isolation {
	case sql.LevelDefault, sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable:
		return nil
	}
	return fmt.Errorf("pgstore: PostgreSQL has no Isolation %v; give sql.LevelReadCommitted, sql.LevelRepeatableRead or sql.LevelSerializable, or 0 for the server's default", c.Isolation)
}

// lockTimeout returns the setting lock_timeout, in milliseconds, of which the
// server takes 0 for no limit and has 31 bits.
func (c Config) lockTimeout() string {
	d := c.LockTimeout
	switch {
	case d == 0:
		d = defaultLockTimeout
	case d < 0:
		return "0"
	}
	return fmt.Sprint(min((d + time.Millisecond - 1).Milliseconds(), math.MaxInt32))
}

// A table is the name of one, ready for use in a statement.
type table struct {
	quoted string // "schema"."name"
	index  string // "name_expires_at"
}

// maxName is such that the name of the index has at most the 63 bytes that the
// server keeps: NAMEDATALEN.
const maxName = 63 - len("_expires_at")

var tableName = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_]*)\.)?([A-Za-z_][A-Za-z0-9_]*)$`)

func parseTable(name string) (table, error) {
	if name == "" {
		name = defaultTable
	}
	m := tableName.FindStringSubmatch(name)
	switch {
	case m == nil:
		return table{}, fmt.Errorf("pgstore: the table %q is not one that can go into statements; give name or schema.name, of ASCII letters, digits and underscores", name)
	case len(m[1]) > 63, len(m[2]) > maxName:
		return table{}, fmt.Errorf("pgstore: the name of the table %q is too long; give at most 63 bytes for its schema and %d for its name", name, maxName)
	}
	t := table{quoted: `"` + m[2] + `"`, index: `"` + m[2] + `_expires_at"`}
	if m[1] != "" {
		t.quoted = `"` + m[1] + `".` + t.quoted
	}
	return t, nil
}
