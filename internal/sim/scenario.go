package sim

import (
	"fmt"
	"time"
)

// A Scenario is what happens to the servers.
type Scenario struct {
	Name string

	// Uneven gives about a quarter of the servers half speed, and a quarter
	// double speed. Else all have speed 1.
	Uneven bool

	// Errors is the share of the answers of every server that are errors. They
	// take as long as others.
	Errors float64

	// Events returns what happens, in any order. nil means nothing.
	Events func(Config) []Event
}

// An Event changes a server.
type Event struct {
	At     time.Duration
	Server int
	Change Change
}

// A Change is what becomes of a server.
type Change uint8

const (
	Heal  Change = iota // well again, with nothing in its queue
	Slow                // begins to take 20 times as long
	Hang                // answers nothing any more, nor what it has
	Fail                // begins to answer each call with an error, in half a millisecond
	Flake               // begins to answer one call in 4 like that
	Leave               // clients are told that it is gone; it finishes what it has
	Join                // clients are told that it is there; a new number is a new server
)

// The servers that fall sick have speed 1.
const (
	graySlow  = 2
	blackHole = 3
)

var (
	Homogeneous   = Scenario{Name: "homogeneous"}
	Heterogeneous = Scenario{Name: "heterogeneous", Uneven: true}
	GraySlow      = Scenario{Name: "gray-slow", Uneven: true, Events: sick(Event{Server: graySlow, Change: Slow})}
	BlackHole     = Scenario{Name: "black hole", Uneven: true, Events: sick(Event{Server: blackHole, Change: Hang})}
	FastFail      = Scenario{Name: "fast fail", Uneven: true, Events: sick(Event{Server: blackHole, Change: Fail})}
	PartFail      = Scenario{Name: "part fail", Uneven: true, Events: sick(Event{Server: blackHole, Change: Flake})}
	Both          = Scenario{Name: "both", Uneven: true, Events: sick(Event{Server: graySlow, Change: Slow}, Event{Server: blackHole, Change: Hang})}
	Churn         = Scenario{Name: "churn", Uneven: true, Events: churn}

	// HangRecovery, FailRecovery and SlowRecovery have a server heal after
	// half of the measured time. The servers are alike, so that a fair share is
	// the same for all.
	HangRecovery = Scenario{Name: "recovery from hanging", Events: recovery(Hang)}
	FailRecovery = Scenario{Name: "recovery from failing", Events: recovery(Fail)}
	SlowRecovery = Scenario{Name: "recovery from slowness", Events: recovery(Slow)}
)

// Scenarios are the above, in that order.
var Scenarios = []Scenario{
	Homogeneous, Heterogeneous, GraySlow, BlackHole, FastFail, PartFail, Both, Churn,
	HangRecovery, FailRecovery, SlowRecovery,
}

// Flaky has uneven servers of which none is sick, but each fails a share of its
// calls.
func Flaky(share float64) Scenario {
	return Scenario{Name: fmt.Sprintf("%g %% errors", 100*share), Uneven: true, Errors: share}
}

// Speed returns the speed of a server, in the order half, double, 1, 1, half and
// so on.
func (s Scenario) Speed(server int) float64 {
	if !s.Uneven {
		return 1
	}
	return [...]float64{0.5, 2, 1, 1}[server%4]
}

func (s Scenario) events(c Config) []Event {
	if s.Events == nil {
		return nil
	}
	return s.Events(c)
}

// sick has the events happen at the end of the warm-up.
func sick(events ...Event) func(Config) []Event {
	return func(c Config) []Event {
		var all []Event
		for _, e := range events {
			e.At = c.Warmup
			all = append(all, e)
		}
		return all
	}
}

func recovery(what Change) func(Config) []Event {
	return func(c Config) []Event {
		return []Event{
			{At: c.Warmup, Server: blackHole, Change: what},
			{At: c.Warmup + c.Measure/2, Server: blackHole, Change: Heal},
		}
	}
}

// churn has a server leave every 2 seconds. 4 seconds later it is back, or
// every other time a new one of its speed is there instead.
func churn(c Config) []Event {
	const every, away = 2 * time.Second, 4 * time.Second
	var all []Event
	fresh := c.Servers
	present := make([]int, c.Servers)
	for i := range present {
		present[i] = i
	}
	for k, at := 0, c.Warmup; at < c.end(); k, at = k+1, at+every {
		slot := k * 7 % c.Servers
		all = append(all, Event{at, present[slot], Leave})
		if k%2 == 1 {
			for fresh%4 != slot%4 {
				fresh++
			}
			present[slot] = fresh
			fresh++
		}
		all = append(all, Event{at + away, present[slot], Join})
	}
	return all
}
