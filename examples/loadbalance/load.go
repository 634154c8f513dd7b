package main

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	calls    = 500
	interval = 2 * time.Millisecond // between calls, whether the last has ended or not
	duration = calls * interval
)

// A result is what became of the calls.
type result struct {
	failed    int64
	latencies []time.Duration // sorted
}

func (r result) percentile(p float64) time.Duration {
	return r.latencies[int(p*float64(len(r.latencies)-1))]
}

// measure makes calls at a steady pace, as people do who do not wait for each
// other. A call takes from when it was due.
func measure(call func(i int) error) result {
	var (
		all       sync.WaitGroup
		failed    atomic.Int64
		latencies = make([]time.Duration, calls)
		began     = time.Now()
	)
	for i := range calls {
		due := began.Add(time.Duration(i) * interval)
		time.Sleep(time.Until(due))
		all.Go(func() {
			if call(i) != nil {
				failed.Add(1)
			}
			latencies[i] = time.Since(due)
		})
	}
	all.Wait()
	slices.Sort(latencies)
	return result{failed.Load(), latencies}
}
