package sim

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/race"
)

// random picks any server.
func random(env Env, _ int, servers []int) Client {
	return Client{
		Call: func(send func(int) error) error {
			return send(servers[env.Rand()%uint64(len(servers))])
		},
		Update: func(now []int) { servers = now },
	}
}

// short is a run that is small enough for every scenario.
var short = Config{Seed: 1, Load: 0.3, Warmup: time.Second, Measure: 4 * time.Second}

func TestRunsOfASeedAreIdentical(t *testing.T) {
	for _, s := range append(slices.Clone(Scenarios), Flaky(0.1)) {
		for name, c := range map[string]NewClient{"random": random, "retrying": Retrying(2, random), "oracle": Oracle} {
			run := func(seed uint64) string {
				c1 := short
				c1.Seed, c1.Servers = seed, 10
				return fmt.Sprintf("%+v", Run(c1, s, c))
			}
			first := run(1)
			if again := run(1); again != first {
				t.Errorf("second Run(seed 1, %s, %s) = %s, want the first: %s", s.Name, name, again, first)
			}
			if other := run(2); other == first {
				t.Errorf("Run(seed 2, %s, %s) = that of seed 1: %s", s.Name, name, other)
			}
		}
	}
}

func TestQueuesAreThoseOfTheory(t *testing.T) {
	if race.Enabled {
		t.Skip("there is one thread, and a million calls take long under the race detector")
	}
	// M/M/1 at load 0.75: the time in the system is exponential, of mean
	// 10 ms / (1 - 0.75). M/M/4 at 0.75: a call waits with the probability 0.5094
	// (Erlang C), 10 ms / (4 * (1 - 0.75)) in the mean.
	rows := []struct {
		workers  int
		mean     float64
		p50, p99 float64 // 0 for no formula
	}{
		{1, 40, 40 * math.Log(2), 40 * math.Log(100)},
		{4, 10 + 0.5094*10, 0, 0},
	}
	near := func(got time.Duration, ms float64) bool {
		return ms == 0 || math.Abs(float64(got)/1e6-ms) < 0.04*ms
	}
	for _, r := range rows {
		c := Config{Seed: 1, Workers: r.workers, Queue: 1e6, Timeout: time.Hour, Load: 0.75, Service: Exponential, Measure: 50 * time.Second}
		got := Run(c, Homogeneous, random)
		if !near(got.Mean, r.mean) || !near(got.P50, r.p50) || !near(got.P99, r.p99) {
			t.Errorf("Run(%d workers) = mean %v, p50 %v, p99 %v; want %.2f, %.2f, %.2f ms within 4 %%", r.workers, got.Mean, got.P50, got.P99, r.mean, r.p50, r.p99)
		}
	}
}

func TestEveryCallEndsOnce(t *testing.T) {
	leak.Check(t)
	for _, s := range Scenarios {
		var begun, ended, attempts, answers int
		counting := func(env Env, i int, servers []int) Client {
			c := Retrying(2, random)(env, i, servers)
			inner := c.Call
			c.Call = func(send func(int) error) error {
				begun++
				defer func() { ended++ }()
				return inner(func(server int) error {
					attempts++
					err := send(server)
					answers++
					return err
				})
			}
			return c
		}
		c := short
		c.Warmup = time.Nanosecond
		r := Run(c, s, counting)
		// The first call arrives at 0, which is before the end of the warm-up.
		if begun < 10000 || ended != begun || r.Calls != begun-1 || answers != attempts {
			t.Errorf("Run(%s) began %d calls, ended %d, reports %d, with %d attempts and %d answers; want all calls ended and reported, all attempts answered", s.Name, begun, ended, r.Calls, attempts, answers)
		}
	}
}

func TestPanicOfAClientStopsTheCoroutines(t *testing.T) {
	leak.Check(t)
	defer func() {
		if got := recover(); got != "boom" {
			t.Errorf("Run panicked with %v, want boom", got)
		}
	}()
	calls := 0
	Run(short, Homogeneous, func(Env, int, []int) Client {
		return Client{Call: func(send func(int) error) error {
			if calls++; calls == 1000 {
				panic("boom")
			}
			return send(0)
		}}
	})
}

func TestEnv(t *testing.T) {
	var fired []time.Duration
	var calls int
	newClient := func(env Env, i int, servers []int) Client {
		env.After(time.Second, func() { fired = append(fired, env.Now()) })
		stop := env.After(2*time.Second, func() { fired = append(fired, env.Now()) })
		env.After(1500*time.Millisecond, stop)
		return Client{Call: func(send func(int) error) error {
			calls++
			before := env.Now()
			err := send(0)
			if env.Now() <= before {
				t.Errorf("send took %v, want virtual time to pass", env.Now()-before)
			}
			return err
		}}
	}
	c := short
	c.Clients, c.Load = 1, 0.01
	Run(c, Homogeneous, newClient)
	if want := []time.Duration{time.Second}; !reflect.DeepEqual(fired, want) || calls == 0 {
		t.Errorf("After fired at %v in a run of %d calls, want %v", fired, calls, want)
	}
}

func TestSickServers(t *testing.T) {
	only := func(server int) NewClient {
		return func(Env, int, []int) Client {
			return Client{Call: func(send func(int) error) error { return send(server) }}
		}
	}
	c := short
	c.Load = 0.0003 // of 50 servers; 30 % of one that is slow
	c.Measure = 30 * time.Second
	rows := []struct {
		s        Scenario
		server   int
		failed   bool
		min, max time.Duration // of the median
	}{
		{GraySlow, graySlow, false, 100 * time.Millisecond, 300 * time.Millisecond},
		{GraySlow, blackHole, false, 4 * time.Millisecond, 15 * time.Millisecond},
		{BlackHole, blackHole, true, time.Second, time.Second},
		{FastFail, blackHole, true, time.Second, time.Second}, // counts as the timeout
		{PartFail, graySlow, false, 4 * time.Millisecond, 15 * time.Millisecond},
		{Heterogeneous, 0, false, 12 * time.Millisecond, 25 * time.Millisecond},
		{Heterogeneous, 1, false, 3 * time.Millisecond, 5 * time.Millisecond},
	}
	for _, r := range rows {
		got := Run(c, r.s, only(r.server))
		if r.failed != (got.Failed == got.Calls) || got.P50 < r.min || got.P50 > r.max {
			t.Errorf("%s: server %d failed %d of %d calls, median %v; want all %v, median %v to %v", r.s.Name, r.server, got.Failed, got.Calls, got.P50, r.failed, r.min, r.max)
		}
	}
}

func TestFullQueueTurnsCallsAway(t *testing.T) {
	full := 0
	c := short
	c.Queue = 1
	Run(c, Homogeneous, func(Env, int, []int) Client {
		return Client{Call: func(send func(int) error) error {
			err := send(0)
			if errors.Is(err, ErrFull) {
				full++
			}
			return err
		}}
	})
	if full < 1000 {
		t.Errorf("%d calls were turned away by a server with 15 times its load, want nearly all", full)
	}
}

func TestOracleAvoidsTheSick(t *testing.T) {
	for _, s := range Scenarios {
		if got := Run(short, s, Oracle); got.Errors() > 0.001 || got.SickShare > 0.001 {
			t.Errorf("%s: the oracle has %d errors and gives the sick %.4f of the calls, want next to none", s.Name, got.Failed, got.SickShare)
		}
	}
}

func TestRecoveryIsMeasured(t *testing.T) {
	c := short
	if got := Run(c, HangRecovery, random).Recovered; got != window*bucket {
		t.Errorf("random choice recovers in %v, want a window at once: %v", got, window*bucket)
	}
	if got := Run(c, Homogeneous, random).Recovered; got != -1 {
		t.Errorf("Recovered without a sick server = %v, want -1", got)
	}
}

// A server that leaves is used no more, one that is new is used.
func TestChurnIsToldToClients(t *testing.T) {
	updates := 0
	newest := 0
	Run(Config{Seed: 1, Warmup: time.Second, Measure: 12 * time.Second, Load: 0.05}, Churn, func(env Env, i int, servers []int) Client {
		c := random(env, i, servers)
		tell := c.Update
		c.Update = func(now []int) {
			updates++
			newest = max(newest, now[len(now)-1])
			tell(now)
			if len(now) < 48 || len(now) > 50 {
				t.Errorf("%d servers, want 48 to 50", len(now))
			}
		}
		return c
	})
	if updates < 50 || newest < 50 {
		t.Errorf("%d updates, highest number of a server %d; want one for each client and change, and new servers", updates, newest)
	}
}

// Every server fails its share, and what is tried twice fails with the square of
// it.
func TestFlakyServers(t *testing.T) {
	for _, row := range []struct {
		share    float64
		times    int
		min, max float64
	}{
		{0, 1, 0, 0},
		{0.1, 1, 0.09, 0.11},
		{0.1, 2, 0.008, 0.012},
	} {
		if got := Run(short, Flaky(row.share), Retrying(row.times, Oracle)).Errors(); got < row.min || got > row.max {
			t.Errorf("Errors() of %v flaky answers with %d attempts = %.4f, want %v to %v", row.share, row.times, got, row.min, row.max)
		}
	}
}

// At a load of 0.3 a random choice has servers of half speed busy for 1.13 *
// 0.3 / 0.5 of their time: 1.13 is the mean speed.
func TestBusyIsMeasured(t *testing.T) {
	busy := Run(short, Heterogeneous, random).Busy
	for i, got := range busy {
		want := 0.3 * 1.13 / Heterogeneous.Speed(i)
		if math.Abs(got-want) > 0.15*want {
			t.Errorf("Busy[%d] = %.3f, want %.3f", i, got, want)
		}
	}
	if len(busy) != 50 {
		t.Errorf("Busy has %d servers, want 50", len(busy))
	}
}

func TestShareIsMeasured(t *testing.T) {
	for name, row := range map[string]struct {
		c        NewClient
		min, max []float64
	}{
		"random": {random, []float64{0.8, 0.8, 0.8, 0.8}, []float64{1.2, 1.2, 1.2, 1.2}},
		"oracle": {Oracle, []float64{0, 0, 1, 1}, []float64{0, 0, 5, 5}}, // of equals it takes the first
	} {
		got := Run(short, HangRecovery, row.c).Share
		if len(got) != 4 || slices.ContainsFunc([]int{0, 1, 2, 3}, func(i int) bool { return got[i] < row.min[i] || got[i] > row.max[i] }) {
			t.Errorf("Share by %s = %.2f, want %v to %v", name, got, row.min, row.max)
		}
	}
}

func TestFlakingServerFailsOneCallInFour(t *testing.T) {
	c := short
	c.Load = 0.01
	got := Run(c, PartFail, func(Env, int, []int) Client {
		return Client{Call: func(send func(int) error) error { return send(blackHole) }}
	})
	if got.Errors() < 0.2 || got.Errors() > 0.3 {
		t.Errorf("Errors() of a server that fails one call in 4 = %.3f, want 0.2 to 0.3", got.Errors())
	}
}
