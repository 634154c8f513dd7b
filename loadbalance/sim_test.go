package loadbalance

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/internal/sim"
	"github.com/backstay-go/backstay/retry"
)

// A simulation makes clients that balance with the real strategy, in a real
// policy, with the clock and the random numbers of the simulated world.
type simulation struct {
	strategy func(env sim.Env, client int) Strategy
	attempts int                        // 0 means 1
	health   HealthConfig               // of the zero value are the defaults
	weight   func(server int) int       // nil means that all are alike
	key      func(random uint64) string // nil means that calls have none
}

// once makes clients that try once, and twice such that try once more.
func once(s Strategy) simulation {
	return simulation{strategy: func(sim.Env, int) Strategy { return s }}
}

func twice(s Strategy) simulation {
	c := once(s)
	c.attempts = 2
	return c
}

type keyInContext struct{}

func simulatedKey(ctx context.Context, _ *backstay.Call) string {
	key, _ := ctx.Value(keyInContext{}).(string)
	return key
}

func (c simulation) client(env sim.Env, i int, servers []int) sim.Client {
	b := newBalancer(Config{Strategy: c.strategy(env, i), Health: c.health})
	b.clock, b.after, b.random, b.seed = env.Now, env.After, env.Rand, env.Rand()
	update := func(servers []int) { b.mustUpdate(c.endpoints(servers)) }
	update(servers)
	policy := backstay.New(b)
	if c.attempts > 1 {
		policy = backstay.New(retry.New(retry.Config{MaxAttempts: c.attempts, Backoff: retry.NoPause(), NoBudget: true}), b)
	}
	do := backstay.Bind(policy, backstay.Op[func(int) error, int]{
		Do: func(_ context.Context, call *backstay.Call, send func(int) error) (int, error) {
			server, _ := strconv.Atoi(call.Endpoint)
			return 0, send(server)
		},
	})
	return sim.Client{Update: update, Call: func(send func(int) error) error {
		ctx := context.Background()
		if c.key != nil {
			ctx = context.WithValue(ctx, keyInContext{}, c.key(env.Rand()))
		}
		_, err := do(ctx, send)
		return err
	}}
}

func (c simulation) endpoints(servers []int) []Endpoint {
	endpoints := make([]Endpoint, len(servers))
	for i, s := range servers {
		endpoints[i] = Endpoint{Address: strconv.Itoa(s), Locality: "zone/" + strconv.Itoa(s%3)}
		if c.weight != nil {
			endpoints[i].Weight = c.weight(s)
		}
	}
	return endpoints
}

// brief is a run of 100 000 calls, enough for a 99th percentile. Under the race
// detector, of which a simulation in one thread has nothing to fear, it is
// shorter still, and the tests leave out what they say they do.
var brief = func() sim.Config {
	if race.Enabled {
		return sim.Config{Seed: 1, Warmup: 2 * time.Second, Measure: 2 * time.Second}
	}
	return sim.Config{Seed: 1, Warmup: 3 * time.Second, Measure: 6 * time.Second}
}()

// ratio returns the 99th percentile of r as a multiple of the oracle's.
func ratio(r, oracle sim.Report) float64 { return float64(r.P99) / float64(oracle.P99) }

// The bounds are 1.10 of the oracle where servers are equal and 1.30 otherwise,
// and 1.65 for 100 clients, each of which sees a hundredth of the calls. One
// client alone, which sees all, is left to -simulation.full.
//
// L-2
func TestPeakEWMAIsNearTheOracle(t *testing.T) {
	scenarios := []sim.Scenario{sim.Homogeneous, sim.Heterogeneous, sim.GraySlow, sim.BlackHole, sim.Both, sim.Churn}
	clients := []int{10, 100}
	switch {
	case race.Enabled:
		scenarios, clients = []sim.Scenario{sim.Homogeneous, sim.Churn}, []int{10}
	case *full:
		clients = []int{1, 10, 100}
	}
	for _, s := range scenarios {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			oracle := sim.Run(brief, s, sim.Oracle)
			for _, n := range clients {
				bound := 1.30
				switch {
				case n == 100:
					bound = 1.65
				case s.Name == sim.Homogeneous.Name:
					bound = 1.10
				}
				c := brief
				c.Clients = n
				if got := ratio(sim.Run(c, s, once(PeakEWMA()).client), oracle); got > bound {
					t.Errorf("p99 of %d clients = %.3f of the oracle's, want %.2f at most", n, got, bound)
				} else {
					t.Logf("p99 of %d clients = %.3f of the oracle's", n, got)
				}
			}
		})
	}
}

// Of 50 servers one takes 20 times as long and one answers nothing any more, for
// a minute. 10 clients find out by a few calls each.
//
// L-18
func TestSickServersFailNextToNoCalls(t *testing.T) {
	for _, row := range []struct {
		name   string
		client simulation
		errors float64
	}{
		{"one attempt", once(PeakEWMA()), 0.0001},
		{"one retry", twice(PeakEWMA()), 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := brief
			if !race.Enabled { // what it takes to notice is a share of all calls
				c.Measure = time.Minute
			} else {
				row.errors *= 30
			}
			r := sim.Run(c, sim.Both, row.client.client)
			if r.Errors() > row.errors || r.SickShare > 0.001 {
				t.Errorf("%d of %d calls failed, and %.5f of the attempts went to the sick; want %.4f %% of the calls and 0.001 of the attempts at most", r.Failed, r.Calls, r.SickShare, 100*row.errors)
			} else {
				t.Logf("%d of %d calls failed, and %.5f of the attempts went to the sick", r.Failed, r.Calls, r.SickShare)
			}
		})
	}
}

// One of 4 servers answers nothing: a retry that went to any of them would often
// meet it again.
//
// L-23
func TestRetriesDoNotMeetTheSameServer(t *testing.T) {
	for _, st := range []Strategy{RoundRobin(), Random(), LeastConnections(), PeakEWMA()} {
		t.Run(st.String(), func(t *testing.T) {
			t.Parallel()
			c := brief
			c.Servers, c.Load = 4, 0.5
			if r := sim.Run(c, sim.HangRecovery, twice(st).client); r.Failed > 0 || r.SickShare == 0 {
				t.Errorf("%d of %d calls with one retry failed, and %.4f of the attempts went to the sick; want no call, and some attempts", r.Failed, r.Calls, r.SickShare)
			}
		})
	}
}

// A call that waits for an answer tells that its server is slow long before its
// timeout does: of 10 clients each loses one call or two. Without the ages of
// such calls the average of the server fades while it hangs, until nothing looks
// better: then hundreds of calls are lost.
//
// L-2
func TestCallsThatWaitTellBeforeTimeoutsDo(t *testing.T) {
	t.Parallel()
	c := brief
	c.Servers, c.Timeout = 10, 20*time.Second
	r := sim.Run(c, sim.BlackHole, once(PeakEWMA()).client)
	if r.Failed > 20 {
		t.Errorf("%d calls of 10 clients waited 20 s for a server that answers nothing, want 20 at most", r.Failed)
	} else {
		t.Logf("%d calls waited", r.Failed)
	}
}

// A server that fails at once has nothing in flight, and to a strategy that goes
// by load looks like the best of all.
//
// L-3
func TestFailingFastDrawsNoCalls(t *testing.T) {
	for _, row := range []struct {
		s     sim.Scenario
		st    Strategy
		share float64 // of the attempts; 0.1 is fair
	}{
		{sim.FastFail, LeastConnections(), 0.01},
		{sim.FastFail, LeastConnectionsOfAll(), 0.01},
		{sim.FastFail, PeakEWMA(), 0.01},
		// It fails one call in 4, too few for an ejection: the latency that
		// failures count as keeps calls away.
		{sim.PartFail, PeakEWMA(), 0.01},
	} {
		t.Run(row.s.Name+"/"+row.st.String(), func(t *testing.T) {
			t.Parallel()
			c := brief
			c.Servers = 10
			if r := sim.Run(c, row.s, once(row.st).client); r.SickShare > row.share {
				t.Errorf("%.4f of the attempts went to one of 10 servers that fails fast, want %v at most", r.SickShare, row.share)
			} else {
				t.Logf("%.4f of the attempts went to it", r.SickShare)
			}
		})
	}
}

// Once a server is well again it may take as long as an ejection until it is
// tried, 15 s at most, and 5 s more until its slow start is over: 90 % of its
// fair share within 25 s, then. Sooner is better, as long as it does not cost
// calls: none but those of the probes may fail, and those fail before.
//
// L-20
func TestHealedServersAreBackAtTheirShare(t *testing.T) {
	strategies := []Strategy{RoundRobin(), Random(), LeastConnections(), LeastConnectionsOfAll(), PeakEWMA()}
	if race.Enabled {
		strategies = strategies[4:]
	}
	for _, st := range strategies {
		for _, s := range []sim.Scenario{sim.HangRecovery, sim.FailRecovery, sim.SlowRecovery} {
			t.Run(st.String()+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				c := brief
				c.Servers, c.Measure = 10, time.Minute
				if race.Enabled {
					c.Clients, c.Load = 2, 0.2
				}
				r := sim.Run(c, s, once(st).client)
				if r.Recovered < 0 || r.Recovered > 25*time.Second || r.FailedAfter > 0 {
					t.Errorf("it is back at its share after %v, with %d calls failed since it is well; want 25 s at most and none", r.Recovered, r.FailedAfter)
				} else {
					t.Logf("it is back at its share after %v", r.Recovered)
				}
			})
		}
	}
}

// An error now and then says little about a server. A failure that counted as a
// peak, 5 s at once and forgotten slowly, made the p99 4.4 times the oracle's at
// one error in a thousand: at any time most servers were shunned for one, and
// the others overloaded. Averaged over time it costs its share, and what always
// fails costs as much as ever.
//
// L-2, L-3
func TestErrorsNowAndThenDoNotShunServers(t *testing.T) {
	shares := []float64{0.001, 0.005}
	if race.Enabled {
		shares = shares[:1]
	}
	for _, share := range shares {
		s := sim.Flaky(share)
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			oracle := sim.Run(brief, s, sim.Retrying(2, sim.Oracle))
			if got := ratio(sim.Run(brief, s, twice(PeakEWMA()).client), oracle); got > 1.35 {
				t.Errorf("p99 = %.3f of the oracle's, want 1.35 at most", got)
			} else {
				t.Logf("p99 = %.3f of the oracle's", got)
			}
		})
	}
}

// Nothing of a run depends on the clock, the machine's random numbers or the
// order of a map.
func TestRunsOfEveryStrategyAreIdentical(t *testing.T) {
	hash := func(bound float64) HashConfig { return HashConfig{Key: simulatedKey, Bound: bound} }
	primaries := func(context.Context, *backstay.Call) bool { return false }
	shards, err := HashSchema(Partition{"even", []string{"0", "2", "4", "6", "8"}}, Partition{"odd", []string{"1", "3", "5", "7", "9"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range []Strategy{
		RoundRobin(), Weighted(), Random(), LeastConnections(), LeastConnectionsOfAll(), PeakEWMA(),
		Hash(hash(0)), Hash(hash(1.25)), Rendezvous(hash(0)), Maglev(hash(0)),
		Subset(SubsetConfig{Size: 4, Name: "a"}, PeakEWMA()),
		Locality(LocalityConfig{Local: "zone/1", Overprovisioning: 1.1, Spill: 3}, PeakEWMA()),
		PrimaryReplica(primaries, Random()),
		NewPartitions(simulatedKey, shards, PeakEWMA()).Strategy(),
	} {
		t.Run(st.String(), func(t *testing.T) {
			t.Parallel()
			run := func(seed uint64, s sim.Scenario) string {
				c := twice(st)
				c.weight = func(server int) int { return 1 + server%3 }
				c.key = func(random uint64) string { return strconv.FormatUint(random%1000, 10) }
				return fmt.Sprintf("%+v", sim.Run(sim.Config{Seed: seed, Clients: 3, Servers: 10, Warmup: time.Second, Measure: 12 * time.Second, Load: 0.05}, s, c.client))
			}
			scenarios := []sim.Scenario{sim.FailRecovery, sim.Churn}
			if race.Enabled {
				scenarios = scenarios[:1]
			}
			for _, s := range scenarios {
				first := run(1, s)
				if again := run(1, s); again != first {
					t.Errorf("second run of %s = %s, want the first: %s", s.Name, again, first)
				}
				if other := run(2, s); other == first {
					t.Errorf("run of seed 2 of %s = that of seed 1: %s", s.Name, other)
				}
			}
		})
	}
}
