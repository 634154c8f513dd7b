package loadbalance_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// Endpoints come, go and change their weights 100 times a second, while 64
// goroutines make calls for two seconds of virtual time. Two endpoints always
// stay, and calls at one that has left go on.
//
// L-6, L-26, L-28, H-46
func TestCallsDoNotFailBecauseEndpointsChange(t *testing.T) {
	for _, st := range strategies {
		t.Run(st.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
				b := balance(st, loadbalance.HealthConfig{}, addressesOf(8)...)
				var s service
				var mu sync.Mutex
				left := map[string]int{}
				b.OnLeave(func(address string) {
					mu.Lock()
					defer mu.Unlock()
					left[address]++
				})
				known := map[*loadbalance.Node]bool{}
				note := func() {
					for _, n := range b.Nodes() {
						known[n] = true
					}
				}
				note()
				call := s.under(retry.New(retry.Config{}), b, group)
				over, stop := context.WithTimeout(t.Context(), 2*time.Second)
				defer stop()
				for _, address := range addressesOf(8) {
					s.becomes(address, func(ctx context.Context) error {
						select {
						case <-time.After(rand.N(30 * time.Millisecond)):
							return nil
						case <-ctx.Done():
							return ctx.Err()
						}
					})
				}
				var all sync.WaitGroup
				for i := range 64 {
					all.Go(func() {
						for over.Err() == nil {
							if err := call(context.WithValue(t.Context(), keyOf{}, i)); err != nil {
								t.Errorf("a call while endpoints change = %v, want nil", err)
								return
							}
							<-time.After(time.Millisecond)
						}
					})
				}
				for over.Err() == nil {
					<-time.After(10 * time.Millisecond)
					var endpoints []loadbalance.Endpoint
					for i, address := range addressesOf(8) {
						if i < 2 || rand.N(2) == 0 {
							endpoints = append(endpoints, loadbalance.Endpoint{Address: address, Weight: 1 + rand.N(5)})
						}
					}
					rand.Shuffle(len(endpoints), func(i, j int) { endpoints[i], endpoints[j] = endpoints[j], endpoints[i] })
					if err := b.Update(endpoints...); err != nil {
						t.Error(err)
					}
					note()
				}
				all.Wait()
				if err := b.Close(t.Context()); err != nil {
					t.Errorf("Close() = %v, want nil", err)
				}
				for n := range known {
					if n.InFlight() != 0 || n.State() != loadbalance.Gone {
						t.Errorf("%s has %d in flight in the end and is %v, want 0 and gone", n.Address(), n.InFlight(), n.State())
					}
				}
				for _, address := range addressesOf(8) {
					if left[address] == 0 || has(group, address) {
						t.Errorf("OnLeave was told of %s %d times and it has a breaker = %v, want told and none", address, left[address], has(group, address))
					}
				}
			})
		})
	}
}

// The same in real time, where goroutines meet anywhere.
//
// L-26, H-46
func TestCallsDoNotFailBecauseEndpointsChangeAtOnce(t *testing.T) {
	leak.Check(t)
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{}, addressesOf(8)...)
		var s service
		call := s.under(retry.New(retry.Config{}), b, breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint))
		var stop atomic.Bool
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				ctx := context.WithValue(context.Background(), keyOf{}, i)
				for !stop.Load() {
					if err := call(ctx); err != nil {
						t.Errorf("%v: a call while endpoints change = %v, want nil", st, err)
						return
					}
				}
			})
		}
		known := map[*loadbalance.Node]bool{}
		for i := range 40 {
			for _, n := range b.Nodes() {
				known[n] = true
			}
			if err := b.Update(loadbalance.Endpoints(addressesOf(8)[:1+i%8]...)...); err != nil {
				t.Error(err)
			}
		}
		stop.Store(true)
		all.Wait()
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("%v: Close() = %v, want nil", st, err)
		}
		for n := range known {
			if n.InFlight() != 0 {
				t.Errorf("%v: %s has %d in flight in the end, want 0", st, n.Address(), n.InFlight())
			}
		}
	}
}

// Attempts that panic, fail, are given up, overlap with others, lose to them,
// hold their result or have it discarded, and breakers that turn them away.
//
// L-9, H-46
func TestInFlightIsZeroAfterAStormOfEverything(t *testing.T) {
	leak.Check(t)
	for _, st := range strategies {
		b := balance(st, loadbalance.HealthConfig{BaseEjection: time.Millisecond, MaxEjection: 2 * time.Millisecond, SlowStart: time.Millisecond}, addressesOf(5)...)
		group := breaker.NewGroup(breaker.Config{ConsecutiveFailures: 2, Cooldown: time.Millisecond, MaxCooldown: 2 * time.Millisecond}, breaker.ByEndpoint)
		var turn atomic.Int64
		call := backstay.Bind(
			backstay.New(retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}), fan(2), b, group),
			backstay.Op[int, *result]{
				Do: func(ctx context.Context, call *backstay.Call, _ int) (*result, error) {
					switch turn.Add(1) % 11 {
					case 0:
						panic("in the attempt")
					case 1, 2, 3:
						return nil, errDown
					case 4:
						return nil, ctx.Err()
					}
					return new(result), nil
				},
				Check: func(*result) error {
					if turn.Load()%7 == 0 {
						return errors.New("503")
					}
					return nil
				},
				Discard: func(r *result) { r.Close() },
				Hold: func(r *result, done func(error)) *result {
					if r == nil {
						done(nil)
						return nil
					}
					var once sync.Once
					r.done = func(err error) { once.Do(func() { done(err) }) }
					return r
				},
			})
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for j := range 200 {
					ctx, cancel := context.WithCancel(context.WithValue(context.Background(), keyOf{}, i))
					if (i+j)%5 == 0 {
						cancel()
					}
					r, err := call(ctx, 0)
					if err == nil {
						go r.Close()
						r.Close()
					}
					cancel()
				}
			})
		}
		for range 20 {
			for n := range 5 {
				if err := b.Update(loadbalance.Endpoints(addressesOf(5)[:1+n]...)...); err != nil {
					t.Error(err)
				}
				for _, n := range b.Nodes() {
					if got := n.InFlight(); got < 0 || got > 1000 {
						t.Errorf("%v: InFlight() of %s = %d, want 0 to 32", st, n.Address(), got)
					}
				}
			}
		}
		all.Wait()
		nodes := b.Nodes()
		if err := b.Close(t.Context()); err != nil {
			t.Errorf("%v: Close() = %v, want nil", st, err)
		}
		for _, n := range nodes {
			if got := n.InFlight(); got != 0 {
				t.Errorf("%v: InFlight() of %s after the storm = %d, want 0", st, n.Address(), got)
			}
		}
	}
}

// What the observers of a call and OnChange do at the same time as an update and
// Close is seen by the race detector.
//
// L-28
func TestEverythingAtOnce(t *testing.T) {
	leak.Check(t)
	var changes atomic.Int64
	b := loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  loadbalance.PeakEWMA(),
		Endpoints: loadbalance.Endpoints(addressesOf(4)...),
		Health:    loadbalance.HealthConfig{ConsecutiveFailures: 1, BaseEjection: time.Microsecond, MaxEjection: time.Microsecond, SlowStart: time.Microsecond, LatencyFactor: 2},
		OnChange:  func(loadbalance.Change) { changes.Add(1) },
	})
	var s service
	var n atomic.Int64
	for _, address := range addressesOf(4) {
		s.becomes(address, func(context.Context) error {
			if n.Add(1)%10 == 0 {
				return errDown
			}
			return nil
		})
	}
	call := s.under(retry.New(retry.Config{NoBudget: true}), b)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { repeat(context.Background(), 500, call) })
		all.Go(func() {
			for i := range 100 {
				_ = b.Update(loadbalance.Endpoints(addressesOf(4)[:2+i%3]...)...)
				_, _, _, _ = b.String(), b.Nodes(), b.Addresses(), b.LookupStatus()
				b.OnLeave(func(string) {})
			}
		})
	}
	all.Wait()
	for range 4 {
		all.Go(func() {
			if err := b.Close(t.Context()); err != nil {
				t.Errorf("Close() = %v, want nil", err)
			}
		})
		all.Go(func() { repeat(context.Background(), 100, call) })
	}
	all.Wait()
	if changes.Load() == 0 {
		t.Error("there were no changes, want many")
	}
}
