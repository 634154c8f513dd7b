// Payments makes the same payments twice at the same API, whose answers are lost
// on purpose and whose server is killed: with the retry loop that everybody
// writes, and with backstay. Then it looks into the ledger.
//
// The API is a process of its own that keeps its ledger, and the idempotency
// keys, in the PostgreSQL of PAYMENTS_DATABASE, in a schema that is removed at
// the end:
//
//	PAYMENTS_DATABASE=postgres://user:password@localhost/name go -C examples/payments run .
//
// Without PAYMENTS_DATABASE both are in memory, and it needs nothing but Go.
//
// It exits with 1 unless the loop's sum is wrong and that of backstay right.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const (
	number  = 60  // of payments, of 1 each
	opening = 100 // what each client's account holds before them
)

func main() {
	if schema := os.Getenv(schemaVariable); schema != "" {
		serve(schema) // this is the process that will be killed
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	results, err := run(ctx, os.Getenv(databaseVariable), os.Stdout)
	if err == nil {
		err = judge(results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "payments:", err)
		os.Exit(1)
	}
}

// run has each client make its payments, and returns what came of them. database
// is the address of a PostgreSQL; "" means memory.
func run(ctx context.Context, database string, out io.Writer) ([]result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	server, err := start(ctx, fail, database)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	wire := newWire(server)
	defer wire.stop()

	introduce(out, server)
	fates := draw()
	var results []result
	for _, c := range []client{loop(wire.url), surviving(wire.url)} {
		r, err := c.payAll(ctx, wire, fates, out)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	printTable(out, results)
	return results, nil
}

// judge returns what should not have happened.
func judge(results []result) error {
	loop, backstay := results[0], results[1]
	switch {
	case !backstay.right():
		return fmt.Errorf("backstay made %d payments more than once and %d never, and confirmed %d of %d",
			backstay.twice(), backstay.never(), backstay.confirmed, number)
	case loop.right():
		return errors.New("the loop got its sum right, so this run shows nothing")
	}
	return nil
}
