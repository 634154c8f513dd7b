package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	calls    = 2000
	interval = 1200 * time.Microsecond // between calls, whether the last has ended or not
)

// A result is what a client was worth.
type result struct {
	name      string
	succeeded int
	latencies []time.Duration // sorted
	arrivals  float64         // per call
	twice     int
}

func (r result) percentile(p float64) time.Duration {
	return r.latencies[int(p*float64(len(r.latencies)-1))]
}

// measure has the client make its calls at a steady pace, as people do who do
// not wait for each other.
func (b *bank) measure(name string, do send) result {
	b.reset()
	var (
		wg        sync.WaitGroup
		succeeded atomic.Int64
		ended     atomic.Int64
	)
	latencies := make([]time.Duration, calls)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := range calls {
		<-tick.C
		wg.Go(func() {
			began := time.Now()
			if do(context.Background(), fmt.Sprintf("transfer %d", i)) == nil {
				succeeded.Add(1)
			}
			latencies[i] = time.Since(began)
			ended.Add(1)
		})
		if i%(calls/40) == 0 {
			progress(name, i, int(succeeded.Load()), int(ended.Load()))
		}
	}
	wg.Wait()
	progress(name, calls, int(succeeded.Load()), calls)
	fmt.Println()
	slices.Sort(latencies)
	return result{name, int(succeeded.Load()), latencies, float64(b.arrived.Load()) / calls, b.twice()}
}

var terminal = isTerminal(os.Stdout)

// progress draws a bar; where it cannot be drawn over, only when it is full.
func progress(name string, sent, succeeded, ended int) {
	begin := "\r"
	if !terminal {
		begin = ""
	}
	if !terminal && sent < calls {
		return
	}
	const width = 20
	full := sent * width / calls
	fmt.Printf("%s  %-12s %s%s %4d sent, %4d ok, %4d failed", begin, name,
		strings.Repeat("█", full), strings.Repeat("░", width-full), sent, succeeded, ended-succeeded)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
