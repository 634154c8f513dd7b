package pgstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/pgstore"
)

// Several processes serve the same accounts. Each transfer is made once,
// whichever of them dies at whatever moment.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("pgx", "postgres://db.internal/shop")
	if err != nil {
		log.Println(err)
		return
	}
	defer db.Close()

	store := pgstore.NewTransactional(db, pgstore.Config{})
	if err := store.Migrate(ctx); err != nil {
		log.Println(err)
		return
	}
	go store.CleanEvery(ctx, time.Minute, func(err error) { log.Print(err) })

	transfer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tx, err := pgstore.Tx(r.Context())
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		if err := move(r.Context(), tx, 1, 2, 100); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable) // undoes it
			return
		}
		fmt.Fprintln(w, "moved 100") // and with that it is committed
	})
	account := func(r *http.Request) string { return "alice" } // as a handler above has found out
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store})
	once := guard.Handler(transfer, idempotency.HandlerConfig{Tenant: account})

	log.Println(http.ListenAndServe("localhost:8080", once))
}

func move(ctx context.Context, tx *sql.Tx, from, to, amount int) error {
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, from); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance + $1 WHERE id = $2", amount, to)
	return err
}

// What a handler does elsewhere is no part of a transaction here. A process that
// dies in the middle of it leaves a key whose outcome is unknown.
func ExampleNew() {
	db, err := sql.Open("pgx", "postgres://db.internal/shop")
	if err != nil {
		log.Println(err)
		return
	}
	defer db.Close()

	store := pgstore.New(db, pgstore.Config{Table: "orders.idempotency_keys"})
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store})
	_ = guard // for its Handler
}

// A function that is called for requests with a key and for others.
func ExampleTx() {
	var db *sql.DB
	place := func(ctx context.Context) error {
		tx, err := pgstore.Tx(ctx)
		if errors.Is(err, pgstore.ErrNoTransaction) {
			if tx, err = db.BeginTx(ctx, nil); err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if err := move(ctx, tx, 1, 2, 100); err != nil {
				return err
			}
			return tx.Commit()
		}
		if err != nil {
			return err
		}
		return move(ctx, tx, 1, 2, 100)
	}
	_ = place
}

// For those who keep their migrations in files.
func ExampleSchema() {
	for line := range strings.Lines(pgstore.Schema("payments.idempotency_keys")) {
		if strings.HasPrefix(line, "CREATE") {
			fmt.Print(line)
		}
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS "payments"."idempotency_keys" (
	// CREATE INDEX IF NOT EXISTS "idempotency_keys_expires_at" ON "payments"."idempotency_keys" (expires_at);
}
