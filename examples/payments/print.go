package main

import (
	"fmt"
	"io"
	"strings"
)

// A result is what came of a client's payments.
type result struct {
	client
	confirmed      int // payments that the client was told were made
	requests, lost int
	deaths         int
	entries        []payment // of the client, in the ledger
}

// times returns how often each payment is in the ledger.
func (r result) times() map[string]int {
	times := map[string]int{}
	for _, p := range r.entries {
		times[p.For]++
	}
	return times
}

// twice returns how many payments were made more than once.
func (r result) twice() (n int) {
	for _, t := range r.times() {
		if t > 1 {
			n++
		}
	}
	return n
}

// paidFor returns a digit for each order: how often it was paid for.
func (r result) paidFor() string {
	var s strings.Builder
	times := r.times()
	for i := range number {
		fmt.Fprint(&s, times[order(i)])
	}
	return s.String()
}

func (r result) never() int { return number - len(r.times()) }

func (r result) balance() int64 {
	b := int64(opening)
	for _, p := range r.entries {
		b -= p.Amount
	}
	return b
}

// right reports whether the client's account has what it should, because each
// payment was made once, and the client knows.
func (r result) right() bool {
	return r.balance() == opening-number && r.twice() == 0 && r.never() == 0 && r.confirmed == number
}

func (r result) verdict() string {
	if r.right() {
		return "right"
	}
	return "WRONG"
}

func introduce(out io.Writer, s server) {
	fmt.Fprintf(out, `
%s

Two clients pay for %d orders, 1 each. A third of the answers is lost on the way (l),
and the server is killed (K): before the payment, after it, or after the record of
its key. The digits are from the ledger: how often each order was paid for.

`, s.about(), number)
}

// printTable shows the clients side by side.
func printTable(out io.Writer, results []result) {
	row := func(title string, cell func(result) string) {
		fmt.Fprintf(out, "  %-32s", title)
		for _, r := range results {
			fmt.Fprintf(out, "%15s", cell(r))
		}
		fmt.Fprintln(out)
	}
	count := func(n func(result) int) func(result) string {
		return func(r result) string { return fmt.Sprint(n(r)) }
	}
	line := func() { fmt.Fprintln(out, "  "+strings.Repeat("─", 32+15*len(results))) }

	row("", func(r result) string { return r.name })
	line()
	row("payments meant", count(func(result) int { return number }))
	row("payments confirmed", count(func(r result) int { return r.confirmed }))
	row("requests sent", count(func(r result) int { return r.requests }))
	row("answers lost", count(func(r result) int { return r.lost }))
	row("server killed", count(func(r result) int { return r.deaths }))
	line()
	row("payments in the ledger", count(func(r result) int { return len(r.entries) }))
	row("orders paid for more than once", count(result.twice))
	row("orders never paid for", count(result.never))
	row(fmt.Sprintf("balance: %d before, now %d?", opening, opening-number), func(r result) string { return fmt.Sprint(r.balance()) })
	row("verdict", result.verdict)
	fmt.Fprintln(out)
}
