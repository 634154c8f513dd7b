package loadbalance_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

var full = flag.Bool("sockets.full", false, "run TestSockets for minutes, beside other strategies, and print a table")

const (
	backendCount = 5
	sick         = 2 // the backend with the fault
)

// A trouble is what goes wrong with five backends.
type trouble struct {
	name   string
	begin  func(backends []*backend)
	end    func(backends []*backend)
	ofSick bool // and of no other
}

var (
	noTrouble = trouble{"none", func([]*backend) {}, func([]*backend) {}, false}
	troubles  = []trouble{
		{"closed port", func(b []*backend) { b[sick].close() }, func(b []*backend) { b[sick].mustOpen() }, true},
		ailment("20 times slower", slowness),
		ailment("no answer", silence),
		ailment("500 at once", error500),
		{"rolling restart", restart, func([]*backend) {}, false},
	}
)

func ailment(name string, f fault) trouble {
	return trouble{
		name,
		func(b []*backend) { b[sick].fault.Store(int32(f)) },
		func(b []*backend) { b[sick].fault.Store(int32(noFault)) },
		true,
	}
}

// restart takes the backends down one after the other. Every other one ends its
// requests first.
func restart(backends []*backend) {
	pause := plan().during / (2 * backendCount)
	for i, b := range backends {
		if i%2 == 0 {
			b.drain()
		} else {
			b.close()
		}
		<-time.After(pause)
		b.mustOpen()
		<-time.After(pause)
	}
}

// A course says how many calls come, and how long it is before the trouble
// begins, while it lasts, and afterwards.
type course struct {
	perSecond             float64
	before, during, after time.Duration
}

func plan() course {
	if *full {
		return course{400, 3 * time.Second, 12 * time.Second, 25 * time.Second}
	}
	// So few that the budget for retries, which has had no time to grow, is enough.
	return course{80, 200 * time.Millisecond, time.Second, 200 * time.Millisecond}
}

// Five backends, of which one falls sick or all are restarted, and the calls go
// on as if nothing were.
func TestSockets(t *testing.T) {
	leak.Check(t)
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			if *full {
				fully(t, trouble)
				return
			}
			t.Parallel()
			briefly(t, trouble)
		})
	}
}

// briefly asserts what holds on a busy machine too.
func briefly(t *testing.T, trouble trouble) {
	r := newRun(t, trouble, under(loadbalance.PeakEWMA()))
	r.do()
	r.client.finish(t)
	r.wantNoFailure(t)
	n, _ := r.client.attempts.at(r.backends[sick], r.before, r.before+r.during)
	if trouble.ofSick && n > 12 {
		t.Errorf("the sick backend got %d attempts, want it left alone after 12 at most", n)
	}
}

// fully runs clients side by side, each with backends of its own, so that
// whatever else the machine does hits them alike.
func fully(t *testing.T, trouble trouble) {
	runs := []*run{
		newRun(t, noTrouble, under(loadbalance.PeakEWMA())),
		newRun(t, trouble, under(loadbalance.PeakEWMA())),
		newRun(t, trouble, under(loadbalance.LeastConnections())),
		newRun(t, trouble, under(loadbalance.RoundRobin())),
		newRun(t, trouble, naive),
	}
	var all sync.WaitGroup
	for _, r := range runs {
		all.Go(r.do)
	}
	all.Wait()
	calm, ours := runs[0], runs[1]
	table := head
	for _, r := range runs {
		r.client.finish(t)
		table += r.row(calm)
	}
	t.Log(table)

	if p99 := calm.percentile(0.99); calm.failed() > 0 || p99 > 2*work99 {
		t.Fatalf("without any trouble %d calls failed and p99 is %v: this machine is too busy to measure on", calm.failed(), p99)
	}
	ours.wantNoFailure(t)
	if ratio := ours.slowdown(calm); ratio > 1.2 {
		t.Errorf("p99 is %.2f times that without the trouble, want at most 1.2", ratio)
	}
	if share := ours.share(); trouble.ofSick && share > 0.015 {
		t.Errorf("the sick backend had %.2f %% of the load, want at most 1.5 %%", 100*share)
	}
	if _, ok := ours.back(); trouble.ofSick && !ok {
		t.Errorf("the backend that was sick had these shares of the load in each second after that, want 18 %% in one of them: %.0f", ours.shares())
	}
}

const head = `
| trouble | client | calls that succeed | p50 | p99 | of calm | load of the sick one | has its share again after |
|---|---|---:|---:|---:|---:|---:|---:|
`

func (r *run) row(calm *run) string {
	load, back := "", ""
	if r.trouble.ofSick {
		load, back = fmt.Sprintf("%.2f %%", 100*r.share()), "more"
		if d, ok := r.back(); ok {
			back = fmt.Sprintf("%.0f s", d.Seconds())
		}
	}
	return fmt.Sprintf("| %s | %s | %.2f %% | %.1f ms | %.1f ms | %.2f | %s | %s |\n", r.trouble.name, r.client.name,
		100*r.success(), ms(r.percentile(0.5)), ms(r.percentile(0.99)), r.slowdown(calm), load, back)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
