package loadbalance

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/internal/sim"
)

var full = flag.Bool("simulation.full", false, "have TestSimulation write the tables and plots of docs/loadbalancing.md, which takes many minutes")

// TestSimulation makes the tables and plots of docs/loadbalancing.md. Without
// -simulation.full it makes them of a few calls each, in a copy of the page.
func TestSimulation(t *testing.T) {
	const docs = "../docs"
	s := study{seeds: 3, brief: 20 * time.Second, long: time.Minute, warmup: 5 * time.Second, docs: docs}
	if !*full {
		if race.Enabled {
			t.Skip("hundreds of runs of one thread each")
		}
		s = study{seeds: 1, brief: 50 * time.Millisecond, long: 50 * time.Millisecond, warmup: 50 * time.Millisecond, docs: t.TempDir()}
	}
	page, err := os.ReadFile(docs + "/loadbalancing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, chapter := range s.chapters() {
		for _, table := range chapter() {
			if page, err = table.into(page); err != nil {
				t.Error(err)
			}
			t.Log(table.name)
		}
		if err := s.write("loadbalancing.md", page); err != nil {
			t.Fatal(err)
		}
	}
	for name, svg := range s.plots {
		if err := s.write(filepath.Join("img", name+".svg"), []byte(svg)); err != nil {
			t.Error(err)
		}
		if link := "(img/" + name + ".svg)"; !bytes.Contains(page, []byte(link)) {
			t.Errorf("the page has no picture %s, want one", link)
		}
	}
}

// A study is what the page tells.
type study struct {
	seeds               int
	brief, long, warmup time.Duration
	docs                string
	oracles             sync.Map // of func() sim.Report, by what they are given
	plots               map[string]string
}

// An experiment is made with several seeds.
type experiment struct {
	sim.Config
	scenario sim.Scenario
	clients  simulation
}

// A result is the worst of the seeds, and the report of the first.
type result struct {
	first     sim.Report
	ratio     float64 // of the 99th percentile to the oracle's
	p99       time.Duration
	errors    float64
	sick      float64
	recovered time.Duration
	after     int // calls that failed after a server had healed
}

// run makes the experiments, as many at a time as there are processors.
func (s *study) run(experiments []experiment) []result {
	results := make([]result, len(experiments))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				results[i] = s.result(experiments[i])
			}
		})
	}
	for i := range experiments {
		next <- i
	}
	close(next)
	workers.Wait()
	return results
}

func (s *study) result(e experiment) (worst result) {
	for seed := range s.seeds {
		c := e.Config
		c.Seed, c.Warmup = uint64(seed+1), s.warmup
		r := sim.Run(c, e.scenario, e.clients.client)
		if seed == 0 {
			worst.first = r
		}
		worst.ratio = max(worst.ratio, ratio(r, s.oracle(c, e.scenario)))
		worst.p99 = max(worst.p99, r.P99)
		worst.errors = max(worst.errors, r.Errors())
		worst.sick = max(worst.sick, r.SickShare)
		worst.after = max(worst.after, r.FailedAfter)
		if worst.recovered >= 0 && (r.Recovered < 0 || r.Recovered > worst.recovered) {
			worst.recovered = r.Recovered
		}
	}
	return worst
}

// oracle returns the oracle's report of a run. It tries once more where every
// server fails some calls.
func (s *study) oracle(c sim.Config, scenario sim.Scenario) sim.Report {
	c.Clients = 0
	attempts := 1
	if scenario.Errors > 0 {
		attempts = 2
	}
	f, _ := s.oracles.LoadOrStore(fmt.Sprintf("%s %+v", scenario.Name, c), sync.OnceValue(func() sim.Report {
		return sim.Run(c, scenario, sim.Retrying(attempts, sim.Oracle))
	}))
	return f.(func() sim.Report)()
}

func (s *study) write(name string, text []byte) error {
	name = filepath.Join(s.docs, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

func (s *study) plot(name, svg string) {
	if s.plots == nil {
		s.plots = map[string]string{}
	}
	s.plots[name] = svg
}

// A table has a place on the page, between two comments.
type table struct {
	name string
	head []string
	rows [][]string
}

func (t table) into(page []byte) ([]byte, error) {
	begin, end := "<!-- simulation: "+t.name+" -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(string(page), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return page, fmt.Errorf("the page has no place for the table %q, want %q and %q", t.name, begin, end)
	}
	return []byte(before + begin + sim.Table(t.head, t.rows) + end + after), nil
}

// A contender is a row of most tables.
type contender struct {
	name string
	simulation
}

var contenders = []contender{
	{"PeakEWMA", once(PeakEWMA())},
	{"LeastConnections", once(LeastConnections())},
	{"LeastConnectionsOfAll", once(LeastConnectionsOfAll())},
	{"RoundRobin", once(RoundRobin())},
	{"Random", once(Random())},
}

// grid makes an experiment for each row and column, and a table of them.
func (s *study) grid(name, corner string, rows, columns []string, of func(row, column int) experiment, cell func(result) string) (table, [][]result) {
	var all []experiment
	for r := range rows {
		for c := range columns {
			all = append(all, of(r, c))
		}
	}
	t := table{name: name, head: append([]string{corner}, columns...)}
	var results [][]result
	for r, row := range slices.Collect(slices.Chunk(s.run(all), len(columns))) {
		cells := []string{rows[r]}
		for _, c := range row {
			cells = append(cells, cell(c))
		}
		t.rows = append(t.rows, cells)
		results = append(results, row)
	}
	return t, results
}

func timesOracle(r result) string { return fmt.Sprintf("%.2f", r.ratio) }

// percent writes a share with two digits.
func percent(share float64) string {
	if share == 0 {
		return "0"
	}
	return strconv.FormatFloat(100*share, 'g', 2, 64) + " %"
}

func names[T any](things []T, name func(T) string) []string {
	var all []string
	for _, x := range things {
		all = append(all, name(x))
	}
	return all
}

func contenderName(c contender) string   { return c.name }
func scenarioName(s sim.Scenario) string { return s.Name }

func (s *study) chapters() []func() []table {
	return []func() []table{
		s.percentiles, s.failures, s.recoveries, s.flaky, s.weights, s.variants, s.timeouts, s.worlds, s.subsets, s.keys,
	}
}

func (s *study) percentiles() (tables []table) {
	scenarios := []sim.Scenario{sim.Homogeneous, sim.Heterogeneous, sim.GraySlow, sim.BlackHole, sim.FastFail, sim.Both, sim.Churn}
	ratios := map[int][][]float64{}
	for _, clients := range []int{1, 10, 100} {
		t, results := s.grid(fmt.Sprintf("p99, clients: %d", clients), "p99 / oracle's", names(contenders, contenderName), names(scenarios, scenarioName),
			func(row, column int) experiment {
				return experiment{sim.Config{Clients: clients, Measure: s.brief}, scenarios[column], contenders[row].simulation}
			}, timesOracle)
		tables = append(tables, t)
		for _, row := range results {
			var of []float64
			for _, r := range row {
				of = append(of, r.ratio)
			}
			ratios[clients] = append(ratios[clients], of)
		}
	}
	for _, clients := range []int{10, 100} {
		p := sim.Plot{
			Title:  fmt.Sprintf("99th percentile, as a multiple of the oracle's: %d clients, 50 servers", clients),
			Series: names(contenders, contenderName),
			Values: ratios[clients],
			Ticks:  []float64{1, 1.5, 2, 3, 5, 10, 20, 50},
			Log:    true,
		}
		s.plot(fmt.Sprintf("p99-%d-clients", clients), p.Bars(names(scenarios, scenarioName)...))
	}
	return append(tables, s.busy())
}

// busy shows who gets the load, by the speed of servers.
func (s *study) busy() table {
	all := append(slices.Clone(contenders), contender{"Weighted by speed", weighted(Weighted())})
	speeds := []float64{0.5, 1, 2}
	var experiments []experiment
	for _, c := range all {
		experiments = append(experiments, experiment{sim.Config{Measure: s.brief}, sim.Heterogeneous, c.simulation})
	}
	t := table{name: "busy", head: []string{"workers busy", "half speed", "speed 1", "double speed"}}
	var values [][]float64
	for i, r := range s.run(experiments) {
		cells, shares := []string{all[i].name}, []float64{}
		for _, speed := range speeds {
			sum, n := 0.0, 0.0
			for server, busy := range r.first.Busy {
				if sim.Heterogeneous.Speed(server) == speed {
					sum += busy
					n++
				}
			}
			shares = append(shares, 100*sum/n)
			cells = append(cells, fmt.Sprintf("%.0f %%", 100*sum/n))
		}
		t.rows = append(t.rows, cells)
		values = append(values, shares)
	}
	p := sim.Plot{Title: "How busy servers of different speeds are, at a load of 75 %", Series: names(all, contenderName), Values: values, Ticks: []float64{0, 25, 50, 75, 100}, Unit: "%"}
	s.plot("busy", p.Bars("half speed", "speed 1", "double speed"))
	return t
}

// weighted makes clients that know the speed of the servers.
func weighted(st Strategy) simulation {
	c := once(st)
	c.weight = func(server int) int { return int(2 * sim.Heterogeneous.Speed(server)) }
	return c
}

// failures tells how many calls of a minute fail while a server is sick.
func (s *study) failures() (tables []table) {
	scenarios := []sim.Scenario{sim.GraySlow, sim.BlackHole, sim.FastFail, sim.PartFail, sim.Both}
	for attempts := 1; attempts <= 2; attempts++ {
		t, results := s.grid(fmt.Sprintf("errors, attempts: %d", attempts), "calls that fail", names(contenders, contenderName), names(scenarios, scenarioName),
			func(row, column int) experiment {
				c := contenders[row].simulation
				c.attempts = attempts
				return experiment{sim.Config{Measure: s.long}, scenarios[column], c}
			},
			func(r result) string { return percent(r.errors) })
		tables = append(tables, t)
		if attempts == 1 {
			sick := table{name: "sick", head: slices.Clone(t.head)}
			sick.head[0] = "attempts at the sick"
			for i, row := range results {
				cells := []string{contenders[i].name}
				for _, r := range row {
					cells = append(cells, percent(r.sick))
				}
				sick.rows = append(sick.rows, cells)
			}
			tables = append(tables, sick)
		}
	}
	return tables
}

func (s *study) recoveries() []table {
	scenarios := []sim.Scenario{sim.HangRecovery, sim.FailRecovery, sim.SlowRecovery}
	t, results := s.grid("recovery", "s until 90 % of a fair share", names(contenders, contenderName), names(scenarios, scenarioName),
		func(row, column int) experiment {
			return experiment{sim.Config{Measure: s.long}, scenarios[column], contenders[row].simulation}
		},
		func(r result) string {
			if r.recovered < 0 {
				return "never"
			}
			return fmt.Sprintf("%.1f", r.recovered.Seconds())
		})
	t.head = append(t.head, "failed since")
	for i, row := range results {
		failed := 0
		for _, r := range row {
			failed = max(failed, r.after)
		}
		t.rows[i] = append(t.rows[i], strconv.Itoa(failed))
	}
	var shares [][]float64
	for _, row := range results {
		var percents []float64
		for _, share := range row[0].first.Share {
			percents = append(percents, 100*share)
		}
		shares = append(shares, percents)
	}
	p := sim.Plot{Title: "A server that answers nothing for 30 s, and what it gets of a fair share", Series: names(contenders, contenderName), Values: shares, Ticks: []float64{0, 25, 50, 75, 100, 125}, Unit: "%"}
	if len(shares[0]) == 0 { // of a run of less than a second
		p.Values = [][]float64{{0, 1}}
	}
	s.plot("recovery", p.Lines("seconds since it hangs", 5, map[int]string{30: "well again"}))
	return []table{t}
}

// flaky is for servers that all fail now and then.
func (s *study) flaky() []table {
	scenarios := []sim.Scenario{sim.Heterogeneous, sim.Flaky(0.001), sim.Flaky(0.005), sim.Flaky(0.02)}
	columns := []string{"no errors", "0.1 % errors", "0.5 % errors", "2 % errors"}
	t, _ := s.grid("flaky", "p99 / oracle's", names(contenders, contenderName), columns,
		func(row, column int) experiment {
			c := contenders[row].simulation
			c.attempts = 2
			return experiment{sim.Config{Measure: s.brief}, scenarios[column], c}
		}, timesOracle)
	return []table{t}
}

// weights is for clients that are told how fast servers are.
func (s *study) weights() []table {
	rows := []contender{
		{"PeakEWMA", weighted(PeakEWMA())},
		{"LeastConnections", weighted(LeastConnections())},
		{"Weighted", weighted(Weighted())},
		{"Random", weighted(Random())},
	}
	scenarios := []sim.Scenario{sim.Heterogeneous, sim.GraySlow, sim.BlackHole}
	t, _ := s.grid("weights", "p99 / oracle's", names(rows, contenderName), names(scenarios, scenarioName),
		func(row, column int) experiment {
			return experiment{sim.Config{Measure: s.brief}, scenarios[column], rows[row].simulation}
		}, timesOracle)
	return []table{t}
}

// variants shows what the parts of PeakEWMA are good for.
func (s *study) variants() []table {
	none := func(c simulation, h HealthConfig) simulation { c.health = h; return c }
	rows := []contender{
		{"as it is", once(PeakEWMA())},
		{"2 choices", variant(2, true)},
		{"3 choices", variant(3, true)},
		{"8 choices", variant(8, true)},
		{"without the age of calls", variant(choices, false)},
		{"without ejection", none(once(PeakEWMA()), HealthConfig{ConsecutiveFailures: Never, FailureRate: Never})},
		{"without slow start", none(once(PeakEWMA()), HealthConfig{SlowStart: Never})},
		{"Finagle's, with our ejection", finagle},
	}
	scenarios := []sim.Scenario{sim.Homogeneous, sim.Heterogeneous, sim.GraySlow, sim.BlackHole, sim.Both, sim.Churn}
	t, results := s.grid("variants", "p99 / oracle's", names(rows, contenderName), names(scenarios, scenarioName),
		func(row, column int) experiment {
			return experiment{sim.Config{Measure: s.brief}, scenarios[column], rows[row].simulation}
		}, timesOracle)
	t.head = append(t.head, "calls that fail in both")
	for i, row := range results {
		t.rows[i] = append(t.rows[i], percent(row[4].errors))
	}
	return []table{t}
}

// timeouts shows what a server that answers nothing costs those who wait long.
func (s *study) timeouts() []table {
	rows := []contender{
		contenders[0],
		{"without the age of calls", variant(choices, false)},
		{"Finagle's, with our ejection", finagle},
		contenders[1],
	}
	timeouts := []time.Duration{time.Second, 5 * time.Second, 20 * time.Second}
	t, _ := s.grid("timeouts", "calls that fail", names(rows, contenderName), []string{"timeout of 1 s", "5 s", "20 s"},
		func(row, column int) experiment {
			return experiment{sim.Config{Measure: s.long, Timeout: timeouts[column]}, sim.BlackHole, rows[row].simulation}
		},
		func(r result) string { return percent(r.errors) })
	return []table{t}
}

// worlds is for other numbers than those of the rest of the page.
func (s *study) worlds() []table {
	worlds := []struct {
		name string
		sim.Config
	}{
		{"as above: 50 servers of 4 workers, load 0.75", sim.Config{}},
		{"load 0.5", sim.Config{Load: 0.5}},
		{"load 0.9", sim.Config{Load: 0.9}},
		{"10 servers", sim.Config{Servers: 10}},
		{"1 worker", sim.Config{Workers: 1}},
		{"16 workers", sim.Config{Workers: 16}},
		{"10 servers of 1 worker", sim.Config{Servers: 10, Workers: 1}},
	}
	columns := []string{"PeakEWMA, 1 client", "10 clients", "100 clients", "LeastConnections, 1 client", "10 clients", "100 clients"}
	var rows []string
	for _, w := range worlds {
		rows = append(rows, w.name)
	}
	t, _ := s.grid("worlds", "p99 / oracle's", rows, columns,
		func(row, column int) experiment {
			c := worlds[row].Config
			c.Clients, c.Measure = []int{1, 10, 100}[column%3], s.brief
			return experiment{c, sim.Heterogeneous, contenders[column/3].simulation}
		}, timesOracle)
	return []table{t}
}

// subsets is for clients that use 12 of the 50 servers.
func (s *study) subsets() []table {
	subset := func(cfg func(client int) SubsetConfig) simulation {
		return simulation{strategy: func(_ sim.Env, client int) Strategy { return Subset(cfg(client), PeakEWMA()) }}
	}
	rows := []contender{
		{"all 50", once(PeakEWMA())},
		{"12 by Index", subset(func(i int) SubsetConfig { return SubsetConfig{Size: 12, Index: i} })},
		{"12 by Name", subset(func(i int) SubsetConfig { return SubsetConfig{Size: 12, Name: fmt.Sprint("client ", i)} })},
	}
	columns := []string{"heterogeneous, 25 clients", "100 clients", "both sick, 25 clients", "100 clients"}
	t, _ := s.grid("subsets", "p99 / oracle's", names(rows, contenderName), columns,
		func(row, column int) experiment {
			c := sim.Config{Clients: []int{25, 100}[column%2], Measure: s.brief}
			return experiment{c, []sim.Scenario{sim.Heterogeneous, sim.Both}[column/2], rows[row].simulation}
		}, timesOracle)
	return []table{t}
}

// keys is for calls whose keys are in unequal demand: the second most wanted is
// wanted half as often as the first, the third a third as often and so on.
func (s *study) keys() []table {
	const count = 10_000
	sums := make([]float64, count)
	sum := 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	zipf := func(random uint64) string {
		at := rand.New(rand.NewPCG(random, 0)).Float64() * sum
		i, _ := slices.BinarySearch(sums, at)
		return "key " + strconv.Itoa(i)
	}
	hash := func(st Strategy) simulation {
		c := once(st)
		c.key = zipf
		return c
	}
	rows := []contender{
		{"Hash", hash(Hash(HashConfig{Key: simulatedKey}))},
		{"Hash, Bound 1.25", hash(Hash(HashConfig{Key: simulatedKey, Bound: 1.25}))},
		{"Maglev", hash(Maglev(HashConfig{Key: simulatedKey}))},
		{"Maglev, Bound 1.25", hash(Maglev(HashConfig{Key: simulatedKey, Bound: 1.25}))},
		{"PeakEWMA, which knows no keys", once(PeakEWMA())},
	}
	var experiments []experiment
	for _, r := range rows {
		experiments = append(experiments, experiment{sim.Config{Load: 0.5, Measure: s.brief}, sim.Homogeneous, r.simulation})
	}
	t := table{name: "keys", head: []string{"50 servers, load 0.5", "calls that fail", "p99 ms", "busiest server"}}
	for i, r := range s.run(experiments) {
		busiest := math.Round(100 * slices.Max(r.first.Busy))
		t.rows = append(t.rows, []string{rows[i].name, percent(r.errors), fmt.Sprintf("%.0f", float64(r.p99)/1e6), fmt.Sprintf("%.0f %%", busiest)})
	}
	return []table{t}
}
