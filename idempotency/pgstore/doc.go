// Package pgstore keeps idempotency keys in PostgreSQL.
package pgstore
