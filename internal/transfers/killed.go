package transfers

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/services"
)

// A Site is a store and a ledger that outlive the processes that use them.
type Site struct {
	// Env tells another process where they are, as in "NAME=value".
	Env []string

	// Open opens them, in the part of the site that has this name, and makes that
	// if there is none. It has at called at steps that nobody else sees.
	Open func(t testing.TB, name string, at func(Step)) (idempotency.Store, Ledger)

	// OnLeaseExpiry is that of the guard.
	OnLeaseExpiry idempotency.OnLeaseExpiry

	test string // by which a process finds its way to Open
}

// lease is so short that tests need not wait long for it to run out.
const lease = 300 * time.Millisecond

// bank returns the bank of this process.
func (s Site) bank(t testing.TB, name string, at func(Step)) Bank {
	store, ledger := s.Open(t, name, at)
	return Bank{
		Guard:  idempotency.GuardConfig{Store: store, Lease: lease, OnLeaseExpiry: s.OnLeaseExpiry},
		Ledger: ledger,
		At:     at,
	}
}

// A Fate is what becomes of a transfer whose process is killed.
type Fate struct {
	// Step is where the process is killed.
	Step Step
	// Made is how often the transfer is made in the end.
	Made int
	// Err is what the client is told. nil means that it was made.
	Err error
	// Replayed reports whether it is told so by the answer that was kept.
	Replayed bool
}

// Killed kills a server, by SIGKILL, at the step of each Fate, starts another,
// and compares what becomes of the transfer that was under way. The client
// learns it by the retries of its policy alone.
func Killed(t *testing.T, s Site, fates []Fate) {
	s.test = t.Name()
	if inProcess() {
		s.serve(t)
	}
	for _, f := range fates {
		t.Run(string(f.Step), func(t *testing.T) {
			t.Parallel()
			name := services.Name()
			_, ledger := s.Open(t, name, func(Step) {})
			l, url := listen(t)
			c := newClient(t)
			tr := plan(*seed, 1)[0]
			victim := s.start(t, l, name, f.Step, 1)
			var replayed bool
			told := make(chan error, 1)
			go func() {
				var err error
				replayed, err = send(within(t), c, url, tr)
				told <- err
			}()
			victim.killed(t)
			heir := s.start(t, l, name, "", 0)
			err := <-told
			heir.stop()
			if !errors.Is(err, f.Err) || replayed != f.Replayed {
				t.Errorf("the client was told %v, replayed: %v, want %v, %v\n%s", err, replayed, f.Err, f.Replayed, &heir.said)
			}
			book, err := ledger.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if made := book.Entries[tr.ID]; made != f.Made {
				t.Errorf("the transfer was made %d times, want %d", made, f.Made)
			}
		})
	}
}

// KilledOften has servers killed at one step after another while clients make
// transfers. What they are told in the end must be the truth; unless unknown is
// true it must be that the transfer was made.
func KilledOften(t *testing.T, s Site, unknown bool, steps ...Step) {
	s.test = t.Name()
	if inProcess() {
		s.serve(t)
	}
	name := services.Name()
	_, ledger := s.Open(t, name, func(Step) {})
	l, url := listen(t)
	c := newClient(t)
	ctx := within(t)

	all := make(chan outcome, 1)
	go func() {
		all <- each(plan(*seed, 40*len(steps)), func(_ int, tr Transfer) error { return insist(ctx, c, url, tr) })
	}()
	r := rand.New(rand.NewPCG(*seed, 1))
	for _, step := range steps {
		s.start(t, l, name, step, 1+r.IntN(5)).killed(t)
	}
	s.start(t, l, name, "", 0)
	o := <-all
	found := audit(t, ledger, o)
	t.Logf("servers killed at %q: %d transfers made, %d unknown, %d made twice, %d lost (seed %d)",
		steps, len(o.made), len(o.unknown), found.twice, found.lost, *seed)
	if len(o.unknown) > 0 && !unknown {
		t.Errorf("of %d transfers the outcome is unknown, want none", len(o.unknown))
	}
}
