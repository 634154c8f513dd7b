package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
)

func introduce(out io.Writer, f *fleet) {
	fmt.Fprint(out, "\nThree servers of one shop:\n\n")
	for _, s := range f.servers {
		fmt.Fprintf(out, "  %-5s %s\n", s.name, s.trouble)
	}
	var kinds []string
	for _, t := range []task{get, place, cancel, watch, bulk, chat} {
		kinds = append(kinds, fmt.Sprintf("%d %s", t.often(), t.method))
	}
	fmt.Fprintf(out, "\nEach client makes the same %d calls: %s.\n\n", calls, strings.Join(kinds, ", "))
}

const whatToSee = `  gRPC's retryPolicy makes again what bob has done and not answered, so some orders are
  placed twice. backstay sends a key with each Place, by which the servers know it, and
  goes around cleo. Nor does it make an Import or a Chat again, which bob spares.

`

// printTable shows the clients side by side.
func printTable(out io.Writer, results []result) {
	row := func(title string, cell func(result) string) {
		fmt.Fprintf(out, "  %-26s", title)
		for _, r := range results {
			fmt.Fprintf(out, "%18s", cell(r))
		}
		fmt.Fprintln(out)
	}
	line := func() { fmt.Fprintln(out, "  "+strings.Repeat("─", 26+18*len(results))) }

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
	return fmt.Sprintf("%4d %4d %4d", s.asked.Load(), s.failed.Load(), s.slow.Load())
}

// printPolicy shows the stack from the outside in.
func printPolicy(out io.Writer, p *backstay.Policy) {
	fmt.Fprint(out, "  The policy, from the outside in:\n\n")
	for i, m := range p.Stack() {
		fmt.Fprintf(out, "  %s%v\n", strings.Repeat("  ", i), m)
	}
	fmt.Fprintln(out)
}

// printTrace draws a trace as a tree, with a bar that shows when each span was.
func printTrace(out io.Writer, t trace, f *fleet) {
	const width = 24
	at := func(when time.Time) int {
		total := max(t.call.EndTime().Sub(t.call.StartTime()), 1)
		return int(width * when.Sub(t.call.StartTime()) / total)
	}
	span := func(s span, title, outcome string) {
		from, to := min(at(s.StartTime()), width-1), min(at(s.EndTime()), width)
		bar := strings.Repeat(" ", from) + strings.Repeat("▬", max(to-from, 1))
		fmt.Fprintf(out, "  %-24s %-12s %9s  │%-*s│\n", title, outcome, round(s.EndTime().Sub(s.StartTime())), width, bar)
	}
	fmt.Fprint(out, "  One of the calls, as its trace shows it:\n\n")
	span(t.call, t.call.Name(), attribute(t.call, "resilience.call.outcome"))
	for i, a := range t.attempts {
		branch := "├─ "
		if i == len(t.attempts)-1 {
			branch = "└─ "
		}
		span(a, branch+f.at(attribute(a, "network.peer.port")), outcome(a))
	}
	fmt.Fprintln(out)
}

func round(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
