package sim

import (
	"slices"
	"time"
)

// A Report is what came out of a run. Only calls that arrived after the warm-up
// are counted.
type Report struct {
	Scenario string
	Clients  int
	Seed     uint64

	Calls    int
	Failed   int
	Mean     time.Duration
	P50, P99 time.Duration

	// SickShare is the share of all attempts that went to sick servers, while
	// they were.
	SickShare float64

	// Recovered is when, after it healed, a server has got 90 % of a fair share
	// of the attempts over 2 seconds. It is -1 if it never has, or none healed.
	Recovered time.Duration

	// FailedAfter counts the calls that arrived after a server had healed, and
	// failed.
	FailedAfter int

	// Share is what the servers that fall sick got of a fair share of the
	// attempts, in each second after the warm-up.
	Share []float64

	// Busy is the share of their time that the workers of each server worked.
	Busy []float64
}

// Errors returns the share of the calls that failed.
func (r Report) Errors() float64 { return float64(r.Failed) / float64(max(1, r.Calls)) }

const (
	bucket = 100 * time.Millisecond
	window = 20 // buckets over which a share is measured
)

// A tally collects what a Report tells.
type tally struct {
	Config
	fell      map[int]time.Duration // when a server fell sick
	healed    time.Duration         // -1 if none does
	latencies []time.Duration
	failed    int
	after     int
	all, sick []int           // attempts in each bucket
	work      []time.Duration // of each server
}

func newTally(c Config, events []Event) *tally {
	buckets := int((c.end()+c.Timeout)/bucket) + 1
	t := &tally{Config: c, fell: map[int]time.Duration{}, healed: -1, all: make([]int, buckets), sick: make([]int, buckets)}
	for _, e := range events {
		switch e.Change {
		case Slow, Hang, Fail, Flake:
			t.fell[e.Server] = e.At
		case Heal:
			t.healed = e.At
		}
	}
	return t
}

func (t *tally) sent(now time.Duration, server int) {
	i := int(now / bucket)
	if i >= len(t.all) { // a retry after the end
		return
	}
	t.all[i]++
	if fell, ok := t.fell[server]; ok && now >= fell {
		t.sick[i]++
	}
}

// worked is told of work that begins.
func (t *tally) worked(from, to time.Duration, server int) {
	for len(t.work) <= server {
		t.work = append(t.work, 0)
	}
	if in := min(to, t.end()) - max(from, t.Warmup); in > 0 {
		t.work[server] += in
	}
}

func (t *tally) ended(arrived, now time.Duration, err error) {
	if arrived < t.Warmup {
		return
	}
	latency := now - arrived
	if err != nil {
		t.failed++
		latency = max(latency, t.Timeout)
		if t.healed >= 0 && arrived >= t.healed {
			t.after++
		}
	}
	t.latencies = append(t.latencies, latency)
}

func (t *tally) report(s Scenario, c Config) Report {
	slices.Sort(t.latencies)
	r := Report{
		Scenario: s.Name, Clients: c.Clients, Seed: c.Seed,
		Calls: len(t.latencies), Failed: t.failed, FailedAfter: t.after,
		P50: t.percentile(0.50), P99: t.percentile(0.99),
		Recovered: t.recovered(),
	}
	sum := 0.0
	for _, l := range t.latencies {
		sum += float64(l)
	}
	r.Mean = time.Duration(sum / float64(max(1, r.Calls)))
	r.SickShare = t.sickShare()
	for at := t.Warmup; len(t.fell) > 0 && at+time.Second <= t.end(); at += time.Second {
		from, to := int(at/bucket), int((at+time.Second)/bucket)
		r.Share = append(r.Share, t.share(from, to)*float64(t.Servers)/float64(len(t.fell)))
	}
	for _, w := range t.work {
		r.Busy = append(r.Busy, w.Seconds()/(t.Measure.Seconds()*float64(t.Workers)))
	}
	return r
}

func (t *tally) percentile(p float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[min(len(t.latencies)-1, int(p*float64(len(t.latencies))))]
}

func (t *tally) sickShare() float64 {
	from, to := int(t.Warmup/bucket), int(t.end()/bucket)
	if t.healed >= 0 {
		to = int(t.healed / bucket)
	}
	return t.share(from, to)
}

// share returns the share of the attempts in some buckets that went to servers
// which were, or had been, sick.
func (t *tally) share(from, to int) float64 {
	return float64(sum(t.sick[from:to])) / float64(max(1, sum(t.all[from:to])))
}

func (t *tally) recovered() time.Duration {
	if t.healed < 0 {
		return -1
	}
	healed := int(t.healed / bucket)
	for i := healed; i+window <= int(t.end()/bucket); i++ {
		if t.share(i, i+window) >= 0.9/float64(t.Servers) {
			return time.Duration(i+window-healed) * bucket
		}
	}
	return -1
}

func sum(counts []int) int {
	s := 0
	for _, c := range counts {
		s += c
	}
	return s
}
