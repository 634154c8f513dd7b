package main

import "time"

// A result is what a client was worth, and what it made of the fleet.
type result struct {
	name string
	*fleet
	placed    map[string]int     // how often each item was ordered
	failed    map[string][]error // by method
	latencies []time.Duration    // sorted
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

// right reports whether each item was ordered once.
func (r result) right() bool { return r.twice() == 0 && r.never() == 0 }

func (r result) twice() int { return r.count(func(times int) bool { return times > 1 }) }
func (r result) never() int { return r.count(func(times int) bool { return times == 0 }) }

// count returns how many of the items that were meant to be ordered were ordered
// so often.
func (r result) count(so func(times int) bool) (n int) {
	for i := range calls {
		for _, item := range meant(i) {
			if so(r.placed[item]) {
				n++
			}
		}
	}
	return n
}
