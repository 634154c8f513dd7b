// Grpc sends the same calls, unary ones and streams, to the same three servers:
// through a gRPC channel as it comes, and through one with gRPC's own retries.
// It needs nothing but Go:
//
//	go run ./examples/grpc
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/backstay-go/backstay/examples/grpc/ordersv1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	_, err := run(ctx, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// run has each client make its calls, and returns what came of them.
func run(ctx context.Context, out io.Writer) (results []result, err error) {
	introduce(out, newFleet())
	for _, c := range []client{turns(), again()} {
		r, err := c.try(ctx)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	printTable(out, results)
	return results, nil
}

// try makes the calls, at servers that have not been asked before.
func (c client) try(ctx context.Context) (result, error) {
	f := newFleet()
	if err := f.start(); err != nil {
		return result{}, err
	}
	defer f.stop()
	conn, err := c.dial(f)
	if err != nil {
		return result{}, err
	}
	defer conn.Close()
	failed, latencies := open(ctx, ordersv1.NewOrdersClient(conn))
	return result{c.name, failed, latencies, f.shop.times(), f.servers}, context.Cause(ctx)
}
