package main

import (
	"fmt"
	"strings"
	"time"
)

const nameWidth = 32

func (f *fleet) introduce() {
	fmt.Print("\nFive services:\n\n")
	for _, s := range f.services {
		fmt.Printf("  %-5s %s\n", s.name, s.kind)
	}
	fmt.Println()
}

func (f *fleet) printHead() {
	fmt.Printf("  %-*s", nameWidth, "share of the requests")
	for _, s := range f.services {
		fmt.Printf("%6s", s.name)
	}
	fmt.Printf("%10s%10s%8s\n", "p50", "p99", "failed")
	fmt.Println("  " + strings.Repeat("─", nameWidth+6*len(f.services)+28))
}

func (f *fleet) printRow(name string, r result) {
	requests := int64(0)
	for _, s := range f.services {
		requests += s.served.Load()
	}
	fmt.Printf("  %-*s", nameWidth, name)
	for _, s := range f.services {
		fmt.Printf("%4.0f %%", 100*float64(s.served.Load())/float64(requests))
	}
	fmt.Printf("%10s%10s%8d\n", round(r.percentile(0.5)), round(r.percentile(0.99)), r.failed)
}

func round(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }
