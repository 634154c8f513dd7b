package loadbalance_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// A run is the calls of one client to backends of its own, and their trouble.
type run struct {
	course
	trouble  trouble
	backends []*backend
	client   *client

	mu    sync.Mutex
	calls []outcome
}

// An outcome is how a call ended.
type outcome struct {
	planned time.Duration // since the beginning
	took    time.Duration // from when it was planned; the whole limit for a failure
	err     error
}

func newRun(t *testing.T, trouble trouble, newClient func([]*backend) *client) *run {
	r := &run{course: plan(), trouble: trouble, backends: startBackends(t, backendCount)}
	r.client = newClient(r.backends)
	return r
}

// do makes calls at random instants, whether the last have ended or not.
func (r *run) do() {
	callLimit, _ := limits()
	var all sync.WaitGroup
	all.Go(func() {
		<-time.After(r.before)
		r.trouble.begin(r.backends)
		<-time.After(time.Until(r.client.attempts.began.Add(r.before + r.during)))
		r.trouble.end(r.backends)
	})
	at := time.Duration(0)
	for ; at < r.before+r.during+r.after; at += r.gap() {
		planned := at
		due := r.client.attempts.began.Add(planned)
		<-time.After(time.Until(due))
		all.Go(func() {
			o := outcome{planned: planned, err: r.client.call(), took: time.Since(due)}
			if o.err != nil {
				o.took = callLimit
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.calls = append(r.calls, o)
		})
	}
	all.Wait()
}

// gap draws the time between two calls.
func (r *run) gap() time.Duration {
	return time.Duration(rand.ExpFloat64() / r.perSecond * float64(time.Second))
}

// failed returns how many calls have failed, whenever that was.
func (r *run) failed() (n int) {
	for _, c := range r.calls {
		if c.err != nil {
			n++
		}
	}
	return n
}

func (r *run) wantNoFailure(t *testing.T) {
	t.Helper()
	for _, c := range r.calls {
		if c.err != nil {
			t.Errorf("%d of %d calls failed, want none; at %v: %v", r.failed(), len(r.calls), c.planned, c.err)
			return
		}
	}
}

// troubled returns the calls during the trouble.
func (r *run) troubled() (calls []outcome) {
	for _, c := range r.calls {
		if c.planned >= r.before && c.planned < r.before+r.during {
			calls = append(calls, c)
		}
	}
	return calls
}

// success returns the share of the calls during the trouble that succeeded.
func (r *run) success() float64 {
	calls := r.troubled()
	n := 0
	for _, c := range calls {
		if c.err == nil {
			n++
		}
	}
	return float64(n) / float64(len(calls))
}

// slowdown returns the p99 during the trouble relative to that of another run.
func (r *run) slowdown(other *run) float64 {
	return float64(r.percentile(0.99)) / float64(other.percentile(0.99))
}

// percentile returns the latency of calls during the trouble.
func (r *run) percentile(p float64) time.Duration {
	var took []time.Duration
	for _, c := range r.troubled() {
		took = append(took, c.took)
	}
	slices.Sort(took)
	return took[int(math.Ceil(p*float64(len(took))))-1]
}

// share returns the sick backend's share of the attempts during the trouble.
func (r *run) share() float64 {
	return r.client.attempts.share(r.backends[sick], r.before, r.before+r.during)
}

// back returns how long after the trouble the backend that was sick had nine
// tenths of its share of the attempts, over two seconds.
func (r *run) back() (d time.Duration, ok bool) {
	const lasting = 2 * time.Second
	end := r.before + r.during
	for d = lasting; d <= r.after; d += slot {
		if r.client.attempts.share(r.backends[sick], end+d-lasting, end+d) >= 0.9/backendCount {
			return d, true
		}
	}
	return r.after, false
}

// shares returns the percentage of the attempts that the backend that was sick
// had in each second after the trouble.
func (r *run) shares() (all []float64) {
	for at := r.before + r.during; at < r.before+r.during+r.after; at += time.Second {
		all = append(all, 100*r.client.attempts.share(r.backends[sick], at, at+time.Second))
	}
	return all
}
