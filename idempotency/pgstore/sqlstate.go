package pgstore

import (
	"context"
	"errors"
	"fmt"
)

// What the server calls its errors: PostgreSQL, appendix A.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	inFailedTransaction  = "25P02"
	undefinedColumn      = "42703"
	undefinedTable       = "42P01"
)

// sqlState returns the SQLSTATE of an error of the server, or "". Both pgx and
// lib/pq have the method.
func sqlState(err error) string {
	type coded interface {
		error
		SQLState() string
	}
	if e, ok := errors.AsType[coded](err); ok {
		return e.SQLState()
	}
	return ""
}

// maxTries is how often a statement is tried. Two in a row are rare.
const maxTries = 10

// undecided reports whether the statement gave way to another: it has changed
// nothing, and may be tried again.
func undecided(err error) bool {
	if errors.Is(err, errOvertaken) {
		return true
	}
	switch sqlState(err) {
	case serializationFailure, deadlockDetected:
		return true
	}
	return false
}

// untilDecided runs f until the server has decided, but not for ever.
func untilDecided(f func() error) error {
	var err error
	for range maxTries {
		if err = f(); !undecided(err) {
			break
		}
	}
	return err
}

// explain says what was done and, where the error does not tell, what to do.
func (s *Store) explain(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	// Some drivers tell only that the statement was canceled.
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w (%w)", ended, err)
	}
	switch sqlState(err) {
	case undefinedTable, undefinedColumn:
		return fmt.Errorf("pgstore: %s: the table %s is not there or has other columns; create it with Migrate or by what Schema returns: %w", what, s.table.quoted, err)
	case inFailedTransaction:
		return fmt.Errorf("pgstore: %s: a statement of the work has failed, so that nothing can be committed; answer with an error, or roll back to a savepoint: %w", what, err)
	}
	return fmt.Errorf("pgstore: %s: %w", what, err)
}
