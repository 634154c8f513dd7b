package sim

import (
	"fmt"
	"io"
	"time"
)

// A Row is a run of a strategy, next to the oracle's run of the same calls.
type Row struct {
	Strategy string
	Report   Report
	Oracle   Report
}

// Ratio returns the 99th percentile as a multiple of the oracle's.
func (r Row) Ratio() float64 { return float64(r.Report.P99) / float64(r.Oracle.P99) }

// Table writes the rows in Markdown.
func Table(w io.Writer, rows []Row) {
	fmt.Fprintln(w, "| strategy | scenario | clients | seed | p50 ms | p99 ms | p99/oracle | errors % | sick share % | recovered s |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s | %s | %d | %d | %s | %s | %.2f | %.4f | %.2f | %s |\n",
			r.Strategy, r.Report.Scenario, r.Report.Clients, r.Report.Seed,
			millis(r.Report.P50), millis(r.Report.P99), r.Ratio(),
			100*r.Report.Errors(), 100*r.Report.SickShare, recovered(r.Report.Recovered))
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

func recovered(d time.Duration) string {
	if d < 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}
