// Grpc sends the same calls, unary ones and streams, to the same three servers
// three times: through a gRPC channel as it comes, through one with gRPC's own
// retries, and through one with backstay. It needs nothing but Go:
//
//	go run ./examples/grpc
//
// It exits with 1 unless gRPC's retries have placed orders twice, and backstay
// has placed each once and failed no call.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/backstay-go/backstay/examples/grpc/ordersv1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	results, err := run(ctx, os.Stdout)
	if err == nil {
		err = judge(results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "grpc:", err)
		os.Exit(1)
	}
}

// run has each client make its calls, and returns what came of them.
func run(ctx context.Context, out io.Writer) (results []result, err error) {
	introduce(out, newFleet())
	spans, policy := newSpans(), policy()
	for _, c := range []client{turns(), again(), surviving(policy, spans)} {
		r, err := c.try(ctx)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	printTable(out, results)
	fmt.Fprint(out, whatToSee)
	printPolicy(out, policy)
	printTrace(out, spans.longest("Place"), results[2].fleet)
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
	failed, latencies := use(ctx, ordersv1.NewOrdersClient(conn))
	return result{c.name, f, f.shop.times(), failed, latencies}, context.Cause(ctx)
}

// judge returns what should not have happened.
func judge(results []result) error {
	grpc, backstay := results[1], results[2]
	for method, errs := range backstay.failed {
		return fmt.Errorf("backstay failed %d calls of %s, such as %w", len(errs), method, errs[0])
	}
	if !backstay.right() {
		return fmt.Errorf("backstay placed %d orders more than once and %d never", backstay.twice(), backstay.never())
	}
	if grpc.right() {
		return errors.New("gRPC placed each order once, so this run shows nothing")
	}
	return nil
}
