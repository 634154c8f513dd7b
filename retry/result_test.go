package retry_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
)

// A ledger notes what becomes of the results of the attempts, which are their
// numbers, and of the attempts themselves.
type ledger struct {
	mu        sync.Mutex
	discarded []int
	done      []string
	attempts  int
}

// bind returns calls whose result is a failure wherever check has an error.
func (l *ledger) bind(check func(n int) error, stack ...backstay.Middleware) func(context.Context) (int, error) {
	note := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			n := call.Attempt
			call.OnDone(func(err error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.done = append(l.done, fmt.Sprintf("%d: %v", n, err))
			})
			return next(ctx, call)
		}
	})
	f := backstay.Bind(backstay.New(append(stack, note)...), backstay.Op[int, int]{
		Name: "test",
		Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.attempts++
			return call.Attempt, nil
		},
		Check: check,
		Discard: func(n int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.discarded = append(l.discarded, n)
		},
	})
	return func(ctx context.Context) (int, error) { return f(ctx, 0) }
}

func (l *ledger) want(t *testing.T, discarded []int, done ...string) {
	t.Helper()
	if !slices.Equal(l.discarded, discarded) {
		t.Errorf("discarded the results of %v, want %v", l.discarded, discarded)
	}
	if !slices.Equal(l.done, done) {
		t.Errorf("OnDone was told %q, want %q", l.done, done)
	}
}

func alwaysSick(int) error { return errSick }

// The last failing attempt's result is the caller's.
func TestLastFailureIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger
		n, err := l.bind(alwaysSick, retry.New(every(ms)))(t.Context())
		if n != 3 || err != nil {
			t.Errorf("Do(three failures) = %d, %v, want the third result without an error", n, err)
		}
		l.want(t, []int{1, 2}, "1: sick", "2: sick", "3: <nil>")
	})
}

func TestSuccessIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger
		n, err := l.bind(func(n int) error {
			if n == 1 {
				return errSick
			}
			return nil
		}, retry.New(every(ms)))(t.Context())
		if n != 2 || err != nil {
			t.Errorf("Do(fails once) = %d, %v, want 2, nil", n, err)
		}
		l.want(t, []int{1}, "1: sick", "2: <nil>")
	})
}

// A result that is a permanent failure is the caller's, like any other.
func TestPermanentResultIsTheCallers(t *testing.T) {
	var l ledger
	n, err := l.bind(func(int) error { return retry.Permanent(errSick) }, retry.New(every(ms)))(t.Context())
	if n != 1 || err != nil {
		t.Errorf("Do(permanent result) = %d, %v, want 1, nil", n, err)
	}
}

func TestDeniedRetryReturnsTheResult(t *testing.T) {
	var l ledger
	empty := retry.NewBudget(retry.BudgetConfig{Ratio: 1e-9, PerSecond: -1})
	n, err := l.bind(alwaysSick, retry.New(retry.Config{Budget: empty}))(t.Context())
	if n != 1 || err != nil {
		t.Errorf("Do(no budget) = %d, %v, want 1, nil", n, err)
	}
	l.want(t, nil, "1: <nil>")
}

func TestCanceledInPauseReleasesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(ms, cancel) // in the pause, which is a second
		_, err := l.bind(alwaysSick, retry.New(every(s)))(ctx)
		is(t, err, context.Canceled)
		l.want(t, []int{1}, "1: sick")
	})
}

// Whatever panics and whenever, each attempt ends once.
func TestPanicsEndEveryAttempt(t *testing.T) {
	boom := func(when bool, how func()) {
		if when {
			how()
		}
	}
	for hows, how := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for name, run := range map[string]func(l *ledger){
			"the second attempt": func(l *ledger) {
				l.bind(func(n int) error { boom(n == 2, how); return errSick }, retry.New(every(ms)))(context.Background())
			},
			"If": func(l *ledger) {
				cfg := every(ms)
				cfg.If = func(error) bool { how(); return true }
				l.bind(alwaysSick, retry.New(cfg))(context.Background())
			},
			"If after the second": func(l *ledger) {
				cfg, n := every(ms), 0
				cfg.If = func(error) bool { n++; boom(n == 2, how); return true }
				l.bind(alwaysSick, retry.New(cfg))(context.Background())
			},
			"the intervals": func(l *ledger) {
				cfg := retry.Config{Backoff: retry.Custom(func() retry.Intervals { return bomb(how) })}
				l.bind(alwaysSick, retry.New(cfg))(context.Background())
			},
			"an observer": func(l *ledger) {
				watch := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
					return func(ctx context.Context, call *backstay.Call) error {
						call.Watch(bomb(how))
						return next(ctx, call)
					}
				})
				l.bind(alwaysSick, watch, retry.New(every(ms)))(context.Background())
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				var l ledger
				over := make(chan struct{})
				go func() {
					defer close(over)
					defer func() { recover() }()
					run(&l)
				}()
				<-over
				if len(l.done) != l.attempts || l.attempts == 0 {
					t.Errorf("%s in %s: %d attempts, OnDone told %q, want one for each", hows, name, l.attempts, l.done)
				}
			})
		}
	}
}

// A bomb goes off where it is used.
type bomb func()

func (b bomb) NextBackOff() (d time.Duration)         { b(); return 0 }
func (b bomb) Observe(*backstay.Call, backstay.Event) { b() }

func TestPanicReachesTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if v := recover(); v != "boom" {
				t.Errorf("recover() = %v, want boom", v)
			}
		}()
		c := newCallee(sick, func() error { panic("boom") })
		c.bind(retry.New(every(ms)))(t.Context())
	})
}

func TestStorm(t *testing.T) {
	leak.Check(t)
	budget := plenty()
	var inFlight, done atomic.Int64
	count := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			inFlight.Add(1)
			call.OnDone(func(error) { inFlight.Add(-1); done.Add(1) })
			return next(ctx, call)
		}
	})
	fn := func(ctx context.Context, n int) (int, error) {
		switch rand.N(8) {
		case 0:
			panic("boom")
		case 1:
			runtime.Goexit()
		case 2, 3:
			return n, nil
		}
		return 0, errSick
	}
	cfg := retry.Config{Budget: budget, Backoff: retry.Exponential(10*time.Microsecond, 100*time.Microsecond)}
	call := backstay.Wrap(backstay.New(retry.New(cfg), balancer{[]string{"a", "b"}}, count), "storm", fn)
	one := func(n int) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if n%3 == 0 {
			go cancel()
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer func() { recover() }()
			if got, err := call(ctx, n); err == nil && got != n {
				t.Errorf("Do(%d) = %d, want its own", n, got)
			}
		}()
		<-over
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for n := range 200 {
				one(n)
			}
		})
	}
	wg.Wait()
	if n := inFlight.Load(); n != 0 || done.Load() < 4000 {
		t.Errorf("%d attempts in flight after all, and %d ended, want 0 and at least 4000", n, done.Load())
	}
}

// A success costs no allocation, with a target of its own too.
func TestSuccessAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, target := range []string{"", "api.example.com:443"} {
		c := backstay.Bind(backstay.New(retry.New(retry.Config{})), backstay.Op[int, int]{
			Name:    "test",
			Prepare: func(call *backstay.Call, _ int) { call.Target = target },
			Do:      func(_ context.Context, _ *backstay.Call, n int) (int, error) { return n, nil },
		})
		ctx := context.Background()
		if n := testing.AllocsPerRun(1000, func() { c(ctx, 1) }); n != 0 {
			t.Errorf("Do(success) with target %q allocates %v times, want 0", target, n)
		}
	}
}

func TestRejectionAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	rejected := &backstay.Error{Err: errSick, NotSent: true}
	stack := backstay.New(retry.New(retry.Config{}), rejecting(func(*backstay.Call) bool { return true }, rejected))
	c := backstay.Wrap(stack, "test", func(_ context.Context, n int) (int, error) { return n, nil })
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() { c(ctx, 1) }); n != 0 {
		t.Errorf("Do(rejected) allocates %v times, want 0", n)
	}
}
