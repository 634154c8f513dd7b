package sim

import (
	"bytes"
	"errors"
	"math"
	"reflect"
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

// retrying tries once more, anywhere.
func retrying(env Env, i int, servers []int) Client {
	c := random(env, i, servers)
	once := c.Call
	c.Call = func(send func(int) error) error {
		if err := once(send); err == nil {
			return nil
		}
		return once(send)
	}
	return c
}

// short is a run that is small enough for every scenario.
var short = Config{Seed: 1, Load: 0.3, Warmup: time.Second, Measure: 4 * time.Second}

func TestRunsOfASeedAreIdentical(t *testing.T) {
	table := func(seed uint64) string {
		var rows []Row
		for _, s := range Scenarios {
			c := short
			c.Seed, c.Servers = seed, 10
			rows = append(rows, Row{"random", Run(c, s, retrying), Run(c, s, Oracle)})
		}
		var b bytes.Buffer
		Table(&b, rows)
		return b.String()
	}
	first := table(1)
	if again := table(1); again != first {
		t.Errorf("second run of seed 1:\n%s\nwant that of the first:\n%s", again, first)
	}
	if other := table(2); other == first {
		t.Errorf("run of seed 2 is that of seed 1:\n%s", other)
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
			c := retrying(env, i, servers)
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
