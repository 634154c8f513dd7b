package pgstore_test

import (
	"context"
	"testing"

	"github.com/backstay-go/backstay/idempotency/pgstore"
)

// effect does something in the transaction of ctx.
func effect(t testing.TB, ctx context.Context, effects string) {
	t.Helper()
	tx, err := pgstore.Tx(ctx)
	if err != nil {
		t.Fatalf("Tx = %v, want nil", err)
	}
	run(t, tx, "INSERT INTO "+effects+" VALUES (1)")
}
