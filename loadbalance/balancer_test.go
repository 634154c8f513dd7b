package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		strategy  loadbalance.Strategy
		endpoints []string
		want      string
	}{
		{loadbalance.Strategy{}, []string{"a"}, `loadbalance: New needs a strategy, such as PeakEWMA()`},
		{loadbalance.RoundRobin(), nil, `loadbalance: New needs at least one address, such as "10.0.0.1:80"; NewBalancer can wait for a resolver`},
		{loadbalance.RoundRobin(), []string{"a", ""}, `loadbalance: an endpoint has no address; give one, such as "10.0.0.1:80"`},
		{loadbalance.RoundRobin(), []string{"http://a:80"}, `loadbalance: the endpoint "http://a:80" is a URL; give its address, such as "10.0.0.1:80"`},
		{loadbalance.RoundRobin(), []string{"a", "b", "a"}, `loadbalance: the endpoint "a" is given twice; give it once, with a Weight if it shall have more calls`},
	} {
		func() {
			defer func() {
				if got := recover(); got != row.want {
					t.Errorf("New(%q) panicked with %v, want %s", row.endpoints, got, row.want)
				}
			}()
			loadbalance.New(row.strategy, row.endpoints...)
		}()
	}
}

func TestZeroBalancerIsRefused(t *testing.T) {
	defer func() {
		want := `loadbalance: this Balancer was not made with New; loadbalance.New(loadbalance.PeakEWMA(), "10.0.0.1:80") makes one`
		if got := recover(); got != want {
			t.Errorf("New(a zero Balancer) panicked with %v, want %s", got, want)
		}
	}()
	backstay.New(new(loadbalance.Balancer))
}

func TestStackThatPicksTooEarlyIsRefused(t *testing.T) {
	b := loadbalance.New(loadbalance.RoundRobin(), "a", "b")
	err := backstay.Check(b, retry.New(retry.Config{}))
	want := "backstay: balance(round robin over 2) is above retry(3), so every attempt would go to one endpoint; move it under retry(3)"
	if err == nil || err.Error() != want {
		t.Errorf("Check(balancer, retry) = %v, want %s", err, want)
	}
	if err := backstay.Check(retry.New(retry.Config{}), b); err != nil {
		t.Errorf("Check(retry, balancer) = %v, want nil", err)
	}
}

func TestEndpointsAreListedInTheOrderGiven(t *testing.T) {
	b := loadbalance.New(loadbalance.RoundRobin(), "c", "a", "b")
	var names []string
	for _, e := range b.Nodes() {
		names = append(names, e.Address())
	}
	if got := strings.Join(names, " "); got != "c a b" {
		t.Errorf("Nodes() = %s, want c a b", got)
	}
	b.Nodes()[0] = nil
	if b.Nodes()[0] == nil {
		t.Error("Nodes() returns the balancer's own slice, want a copy")
	}
}

// H-45, L-23
func TestAttemptsGoToEachEndpointBeforeAnyTwice(t *testing.T) {
	for _, st := range strategies {
		b := loadbalance.NewBalancer(loadbalance.Config{
			Strategy:  st,
			Endpoints: loadbalance.Endpoints("a", "b", "c"),
			Health:    loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never},
		})
		policy := backstay.New(retry.New(retry.Config{MaxAttempts: 6, Backoff: retry.NoPause(), NoBudget: true}), b)
		var tried []string
		call := backstay.Bind(policy, backstay.Op[int, int]{
			Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
				tried = append(tried, call.Endpoint)
				return 0, errors.New("down")
			},
		})
		for range 50 {
			tried = tried[:0]
			if _, err := call(t.Context(), 0); err == nil || len(tried) != 6 {
				t.Fatalf("%v: a call that fails made %d attempts (%v), want 6", st, len(tried), err)
			}
			if first := slices.Compact(slices.Sorted(slices.Values(tried[:3]))); len(first) != 3 {
				t.Fatalf("%v: attempts went to %v, want the first 3 to different endpoints", st, tried)
			}
		}
	}
}

// A fan makes n attempts of each call at once, as a hedge does.
type fan int

func (n fan) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		forks, errs := make([]*backstay.Call, n), make([]error, n)
		var all sync.WaitGroup
		for i := range forks {
			f, err := call.Fork()
			if err != nil {
				return err
			}
			forks[i] = f
			all.Go(func() {
				defer func() {
					if p := recover(); p != nil {
						errs[i] = fmt.Errorf("panic: %v", p)
					}
				}()
				errs[i] = next(ctx, f)
			})
		}
		all.Wait()
		for i, f := range forks[1:] {
			f.Discard(errs[i+1])
		}
		call.Adopt(forks[0])
		return errs[0]
	}
}

// H-45
func TestConcurrentAttemptsGoToDifferentEndpoints(t *testing.T) {
	leak.Check(t)
	names := []string{"a", "b", "c", "d"}
	b := loadbalance.New(loadbalance.RoundRobin(), names...)
	var mu sync.Mutex
	var tried []string
	call := backstay.Bind(backstay.New(fan(len(names)), b), backstay.Op[int, int]{
		Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			tried = append(tried, call.Endpoint)
			return 0, nil
		},
	})
	for range 5000 {
		tried = tried[:0]
		if _, err := call(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(tried); !slices.Equal(tried, names) {
			t.Fatalf("4 attempts at once went to %v, want %v", tried, names)
		}
	}
}

// A result is a body whose end the balancer has to wait for.
type result struct{ done func(error) }

func (r *result) Close() error {
	if r != nil && r.done != nil {
		r.done(nil)
	}
	return nil
}

// H-46
func TestInFlightReturnsToZeroAfterAStorm(t *testing.T) {
	leak.Check(t)
	b := loadbalance.New(loadbalance.RoundRobin(), "a", "b", "c")
	var turn, highest atomic.Int64
	call := backstay.Bind(
		backstay.New(retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}), fan(2), b),
		backstay.Op[int, *result]{
			Do: func(ctx context.Context, call *backstay.Call, _ int) (*result, error) {
				for _, e := range b.Nodes() {
					highest.Store(max(highest.Load(), int64(e.InFlight())))
					if e.InFlight() < 0 {
						t.Errorf("InFlight of %s = %d, want it never below 0", e.Address(), e.InFlight())
					}
				}
				switch turn.Add(1) % 7 {
				case 0:
					panic("in the attempt")
				case 1:
					return nil, errors.New("down")
				case 2:
					return nil, ctx.Err()
				}
				return new(result), nil
			},
			Check: func(*result) error {
				if turn.Load()%5 == 0 {
					return errors.New("a result that is a failure")
				}
				return nil
			},
			Discard: func(r *result) { r.Close() },
			Hold: func(r *result, done func(error)) *result {
				if r == nil {
					done(nil)
					return r
				}
				r.done = done
				return r
			},
		})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(context.Background())
				if i%3 == 0 {
					cancel()
				}
				r, err := call(ctx, 0)
				if err == nil {
					r.Close()
				}
				cancel()
			}
		})
	}
	all.Wait()
	if highest.Load() == 0 {
		t.Error("InFlight was never above 0, want it to count")
	}
	for _, e := range b.Nodes() {
		if e.InFlight() != 0 {
			t.Errorf("InFlight of %s after the storm = %d, want 0", e.Address(), e.InFlight())
		}
	}
}

// H-46
func TestInFlightEndsOnceHoweverTheCallEnds(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func() (io.ReadCloser, error)
		end  func(io.ReadCloser)
		held int // in flight when the call has returned
	}{
		{"closed", body, func(r io.ReadCloser) { r.Close() }, 1},
		{"closed twice", body, func(r io.ReadCloser) { r.Close(); r.Close() }, 1},
		{"read to the end", body, func(r io.ReadCloser) { io.Copy(io.Discard, r) }, 1},
		{"read and closed", body, func(r io.ReadCloser) { io.Copy(io.Discard, r); r.Close() }, 1},
		{"error", func() (io.ReadCloser, error) { return nil, errors.New("down") }, nil, 0},
		{"panic", func() (io.ReadCloser, error) { panic("in the attempt") }, nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := loadbalance.New(loadbalance.RoundRobin(), "a")
			e := b.Nodes()[0]
			var r io.ReadCloser
			var err error
			func() {
				defer func() { _ = recover() }()
				r, err = backstay.Do(t.Context(), backstay.New(b), "get", func(context.Context) (io.ReadCloser, error) {
					if e.InFlight() != 1 {
						t.Errorf("InFlight during the attempt = %d, want 1", e.InFlight())
					}
					return row.do()
				})
			}()
			if e.InFlight() != row.held {
				t.Errorf("InFlight after the call = %d (%v), want %d", e.InFlight(), err, row.held)
			}
			if row.end != nil {
				row.end(r)
			}
			if e.InFlight() != 0 {
				t.Errorf("InFlight at the end = %d, want 0", e.InFlight())
			}
		})
	}
}

func body() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("body")), nil }
