package sim

import (
	"math/rand/v2"
	"time"
)

// A world is a run in progress.
type world struct {
	Config
	scenario Scenario
	now      time.Duration
	order    uint64
	agenda   agenda
	servers  []*server
	clients  []Client
	arrivals *rand.Rand
	arrived  uint64
	open     int      // calls that have not ended
	fibers   []*fiber // all
	idle     []*fiber
	work     rand.PCG
	workRand *rand.Rand
	tally    *tally
}

// Run simulates a scenario with clients made by newClient.
func Run(c Config, s Scenario, newClient NewClient) Report {
	w := &world{Config: c.orDefault(), scenario: s}
	defer w.stop()
	w.arrivals = rand.New(rand.NewPCG(w.Seed, 1))
	w.workRand = rand.New(&w.work)
	for i := range w.Servers {
		w.join(i)
	}
	events := s.events(w.Config)
	w.tally = newTally(w.Config, events)
	for _, e := range events {
		w.at(e.At, func() { w.change(e) })
	}
	for i := range w.Clients {
		w.clients = append(w.clients, newClient(w.env(i), i, w.members()))
	}
	w.awaitArrival()
	for w.open > 0 || w.now < w.end() {
		e := w.agenda.pop()
		w.now = e.at
		e.fire()
	}
	return w.tally.report(s, w.Config)
}

// stop ends the coroutines, also after a panic of a client.
func (w *world) stop() {
	for _, f := range w.fibers {
		f.stop()
	}
}

func (w *world) at(t time.Duration, f func()) {
	w.order++
	w.agenda.push(event{t, w.order, f})
}

func (w *world) after(d time.Duration, f func()) { w.at(w.now+d, f) }

// awaitArrival schedules the next call. The last one comes after the end of the
// run, which it marks.
func (w *world) awaitArrival() {
	capacity := 0.0
	for i := range w.Servers {
		capacity += w.scenario.Speed(i) * float64(w.Workers)
	}
	gap := float64(w.Mean) / (w.Load * capacity)
	var arrive func()
	arrive = func() {
		if w.now >= w.end() {
			return
		}
		w.arrived++
		client := w.clients[w.arrivals.IntN(len(w.clients))]
		w.after(time.Duration(gap*w.arrivals.ExpFloat64()), arrive)
		w.begin(client)
	}
	w.after(0, arrive)
}

func (w *world) begin(c Client) {
	if len(w.idle) == 0 {
		f := newFiber(w)
		w.fibers = append(w.fibers, f)
		w.idle = append(w.idle, f)
	}
	f := w.idle[len(w.idle)-1]
	w.idle = w.idle[:len(w.idle)-1]
	w.open++
	f.begin(w.arrived, c)
}

// send begins an attempt of f's call.
func (w *world) send(f *fiber, server int) {
	f.attempts++
	w.work.Seed(mix(w.Seed^mix(f.number)), f.attempts)
	a := &attempt{fiber: f, work: time.Duration(w.Service(w.workRand) * float64(w.Mean))}
	a.luck = w.workRand.Float64()
	w.tally.sent(w.now, server)
	w.servers[server].accept(a)
	w.after(w.Timeout, func() { w.answer(a, ErrTimeout) })
}

// answer ends an attempt, unless it has ended.
func (w *world) answer(a *attempt, err error) {
	if a.answered {
		return
	}
	a.answered = true
	a.fiber.answer = err
	a.fiber.resume()
}

func (w *world) ended(f *fiber) {
	w.open--
	w.tally.ended(f.arrived, w.now, f.err)
	w.idle = append(w.idle, f)
}

func (w *world) change(e Event) {
	switch e.Change {
	case Leave:
		w.servers[e.Server].member = false
		w.tell()
	case Join:
		w.join(e.Server)
		w.tell()
	default:
		w.servers[e.Server].become(e.Change)
	}
}

func (w *world) join(i int) {
	for len(w.servers) <= i {
		w.servers = append(w.servers, &server{world: w, number: len(w.servers), speed: w.scenario.Speed(len(w.servers))})
	}
	w.servers[i].member = true
}

// tell gives the clients the list of servers.
func (w *world) tell() {
	for _, c := range w.clients {
		if c.Update != nil {
			c.Update(w.members())
		}
	}
}

func (w *world) members() []int {
	var all []int
	for i, s := range w.servers {
		if s.member {
			all = append(all, i)
		}
	}
	return all
}

// mix spreads the bits of a seed, as consecutive ones give similar streams. It
// is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
