package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"
)

// Config describes a run. A zero field has its default.
type Config struct {
	// Seed decides the run. 0 is a seed as well.
	Seed uint64

	// Clients share the calls. 0 means 10.
	Clients int

	// Servers is their number. 0 means 50.
	Servers int

	// Workers is how many calls a server works on at a time. 0 means 4, a small
	// container's cores: with 1 every slow call blocks the server, and with
	// many there is next to no queueing to be balanced.
	Workers int

	// Queue is how many calls may wait at a server. 0 means 100.
	Queue int

	// Mean is what a call takes at a server of speed 1. 0 means 10 ms.
	Mean time.Duration

	// Service draws a call's work, of mean 1. nil means Lognormal(0.85): its
	// 99th percentile is 5 times the mean.
	Service func(*rand.Rand) float64

	// Load is the arriving work, as a share of the capacity of all servers in
	// good health. 0 means 0.75.
	Load float64

	// Timeout ends an attempt. 0 means 1 second.
	Timeout time.Duration

	// Warmup is before the calls that are measured. 0 means 20 seconds.
	Warmup time.Duration

	// Measure is how long calls are measured; 0 means 60 seconds. With the other
	// defaults that is a million calls.
	Measure time.Duration
}

func (c Config) orDefault() Config {
	c.Clients = cmp.Or(c.Clients, 10)
	c.Servers = cmp.Or(c.Servers, 50)
	c.Workers = cmp.Or(c.Workers, 4)
	c.Queue = cmp.Or(c.Queue, 100)
	c.Mean = cmp.Or(c.Mean, 10*time.Millisecond)
	c.Load = cmp.Or(c.Load, 0.75)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Warmup = cmp.Or(c.Warmup, 20*time.Second)
	c.Measure = cmp.Or(c.Measure, time.Minute)
	if c.Service == nil {
		c.Service = Lognormal(0.85)
	}
	return c
}

func (c Config) end() time.Duration { return c.Warmup + c.Measure }

// Lognormal returns a distribution of mean 1 whose logarithm has the standard
// deviation sigma.
func Lognormal(sigma float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return math.Exp(sigma*r.NormFloat64() - sigma*sigma/2) }
}

// Exponential is the distribution for which queueing theory has formulas.
func Exponential(r *rand.Rand) float64 { return r.ExpFloat64() }
