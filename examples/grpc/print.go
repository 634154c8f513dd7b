package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A result is what a client was worth.
type result struct {
	name      string
	failed    map[string][]error // by method
	latencies []time.Duration    // sorted
	placed    map[string]int     // how often each item was ordered
	servers   []*server
}

func (r result) failures() (n int) {
	for _, errs := range r.failed {
		n += len(errs)
	}
	return n
}

func (r result) percentile(p float64) time.Duration {
	return r.latencies[int(p*float64(len(r.latencies)-1))]
}

// twice returns how many items were ordered more than once.
func (r result) twice() (n int) {
	for i := range calls {
		for _, item := range meant(i) {
			if r.placed[item] > 1 {
				n++
			}
		}
	}
	return n
}

// never returns how many items were not ordered.
func (r result) never() (n int) {
	for i := range calls {
		for _, item := range meant(i) {
			if r.placed[item] == 0 {
				n++
			}
		}
	}
	return n
}

func introduce(out io.Writer, f *fleet) {
	fmt.Fprint(out, "\nThree servers of one shop:\n\n")
	for _, s := range f.servers {
		fmt.Fprintf(out, "  %-5s %s\n", s.name, s.trouble)
	}
	fmt.Fprintln(out)
}

// printTable shows the clients side by side.
func printTable(out io.Writer, results []result) {
	row := func(title string, cell func(result) string) {
		fmt.Fprintf(out, "  %-31s", title)
		for _, r := range results {
			fmt.Fprintf(out, "%18s", cell(r))
		}
		fmt.Fprintln(out)
	}
	line := func() { fmt.Fprintln(out, "  "+strings.Repeat("─", 31+18*len(results))) }

	row("", func(r result) string { return r.name })
	line()
	row("calls that failed", func(r result) string { return fmt.Sprintf("%d of %d", r.failures(), calls) })
	row("orders placed twice", func(r result) string { return fmt.Sprint(r.twice()) })
	row("orders never placed", func(r result) string { return fmt.Sprint(r.never()) })
	row("latency, median", func(r result) string { return round(r.percentile(0.5)) })
	row("latency, 95th percentile", func(r result) string { return round(r.percentile(0.95)) })
	line()
	for i, s := range results[0].servers {
		row(s.name+": asked, failed, slow", func(r result) string { return r.servers[i].counts() })
	}
	fmt.Fprintln(out)
}

func (s *server) counts() string {
	return fmt.Sprintf("%d  %3d  %3d", s.asked.Load(), s.failed.Load(), s.slow.Load())
}

func round(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
