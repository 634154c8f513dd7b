package sim

import (
	"math/rand/v2"
	"time"
)

// A Client balances its calls over the servers, with what it sees itself.
type Client struct {
	// Call makes one call and returns what the caller gets. send makes an
	// attempt at a server and returns nil or its error when it is over; Call
	// may use it again for a retry, but not two at a time. Other calls run
	// while it waits, so Call must not hold a lock around it.
	Call func(send func(server int) error) error

	// Update is given the servers when they have changed. It keeps the slice.
	// It may be nil.
	Update func(servers []int)
}

// NewClient makes the client number i of those that share the servers.
type NewClient func(env Env, i int, servers []int) Client

// Env is what a client may use of the world.
type Env struct {
	// Now returns the virtual time since the start of the run.
	Now func() time.Duration

	// After has f called after d, unless stop is called before.
	After func(d time.Duration, f func()) (stop func())

	// Rand returns the next number of a stream that the client has for itself.
	Rand func() uint64

	world *world
}

func (w *world) env(client int) Env {
	return Env{
		Now: func() time.Duration { return w.now },
		After: func(d time.Duration, f func()) func() {
			stopped := false
			w.after(d, func() {
				if !stopped {
					f()
				}
			})
			return func() { stopped = true }
		},
		Rand:  rand.NewPCG(mix(w.Seed), mix(uint64(client))).Uint64,
		world: w,
	}
}

// Oracle makes clients that see every queue and know the speed and the health
// of every server. Each call goes where it can be expected to be done first.
// They do not know how much work a call is.
func Oracle(env Env, _ int, _ []int) Client {
	return Client{Call: func(send func(int) error) error {
		return send(env.world.best())
	}}
}

// Retrying returns clients that make a call up to so many times.
func Retrying(times int, newClient NewClient) NewClient {
	return func(env Env, i int, servers []int) Client {
		c := newClient(env, i, servers)
		once := c.Call
		c.Call = func(send func(int) error) (err error) {
			for range times {
				if err = once(send); err == nil {
					break
				}
			}
			return err
		}
		return c
	}
}

func (w *world) best() int {
	best, least := -1, 0.0
	for i, s := range w.servers {
		if !s.member || s.change == Hang || s.change == Fail {
			continue
		}
		if e := s.expected(); best < 0 || e < least {
			best, least = i, e
		}
	}
	return best
}
