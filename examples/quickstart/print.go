package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// printTable shows what the clients were worth, side by side.
func printTable(results []result) {
	row := func(title string, cell func(result) string) {
		fmt.Printf("  %-25s", title)
		for _, r := range results {
			fmt.Printf("%15s", cell(r))
		}
		fmt.Println()
	}
	fmt.Println()
	row("", func(r result) string { return r.name })
	fmt.Println("  " + strings.Repeat("─", 25+15*len(results)))
	row("calls that succeeded", func(r result) string { return fmt.Sprintf("%.2f %%", 100*float64(r.succeeded)/calls) })
	row("latency, median", func(r result) string { return round(r.percentile(0.5)) })
	row("latency, 99th percentile", func(r result) string { return round(r.percentile(0.99)) })
	row("requests per call", func(r result) string { return fmt.Sprintf("%.2f", r.arrivals) })
	row("money moved twice", func(r result) string { return fmt.Sprintf("%d times", r.twice) })
	fmt.Println()
}

// printPolicy shows the stack from the outside in.
func printPolicy(p *backstay.Policy) {
	fmt.Println("  The policy, from the outside in:")
	fmt.Println()
	for i, m := range p.Stack() {
		fmt.Printf("  %s%v\n", strings.Repeat("  ", i), m)
	}
	fmt.Println()
}

func round(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// spans keeps what OpenTelemetry is given.
type spans struct {
	provider *sdk.TracerProvider
	recorder *tracetest.SpanRecorder
}

func newSpans() *spans {
	recorder := tracetest.NewSpanRecorder()
	return &spans{sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder)), recorder}
}

// printLongest draws the trace with the most attempts, of several the one that
// took longest, as a tree.
func (s *spans) printLongest(b *bank) {
	attempts := map[trace.SpanID][]sdk.ReadOnlySpan{}
	var call sdk.ReadOnlySpan
	ended := s.recorder.Ended()
	for _, span := range ended {
		if parent := span.Parent().SpanID(); parent.IsValid() {
			attempts[parent] = append(attempts[parent], span)
		}
	}
	longer := func(x, y sdk.ReadOnlySpan) bool {
		if m, n := len(attempts[x.SpanContext().SpanID()]), len(attempts[y.SpanContext().SpanID()]); m != n {
			return m > n
		}
		return took(x) > took(y)
	}
	for _, span := range ended {
		if !span.Parent().IsValid() && (call == nil || longer(span, call)) {
			call = span
		}
	}
	if call == nil {
		return
	}
	fmt.Print("  One of the calls, as its trace shows it:\n\n")
	of := attempts[call.SpanContext().SpanID()]
	slices.SortFunc(of, func(x, y sdk.ReadOnlySpan) int { return x.StartTime().Compare(y.StartTime()) })
	printSpan(call, call, "", "", attribute(call, "resilience.call.outcome"))
	for i, a := range of {
		branch := "├─ "
		if i == len(of)-1 {
			branch = "└─ "
		}
		printSpan(call, a, branch, b.nameOf(attribute(a, "network.peer.port")), outcome(a))
	}
	fmt.Println()
}

// printSpan prints a line with a bar that shows when in the call the span was.
func printSpan(call, span sdk.ReadOnlySpan, branch, where, outcome string) {
	const width = 18
	at := func(t time.Time) int {
		total := max(call.EndTime().Sub(call.StartTime()), 1)
		return int(width * t.Sub(call.StartTime()) / total)
	}
	from, to := min(at(span.StartTime()), width-1), min(at(span.EndTime()), width)
	bar := strings.Repeat(" ", from) + strings.Repeat("▬", max(to-from, 1))
	fmt.Printf("  %-8s %-5s %-19s %9s  │%-18s│\n", branch+span.Name(), where, outcome, round(took(span)), bar)
}

func took(span sdk.ReadOnlySpan) time.Duration { return span.EndTime().Sub(span.StartTime()) }

func outcome(span sdk.ReadOnlySpan) string {
	if status := attribute(span, "http.response.status_code"); status != "" {
		return status
	}
	return attribute(span, "error.type")
}

func attribute(span sdk.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// nameOf returns the name of the replica with the port.
func (b *bank) nameOf(port string) string {
	for _, r := range b.replicas {
		if strings.HasSuffix(r.address, ":"+port) {
			return r.name
		}
	}
	return ""
}
