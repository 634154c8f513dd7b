package loadbalance

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A LookupStatus tells how the lookups of a Balancer go.
type LookupStatus struct {
	// FoundAt is when endpoints were last found, or given by Update. It is zero
	// if they never were.
	FoundAt time.Time

	// FailingSince is when lookups began to fail: the endpoints are those that were
	// found before. It is zero if the last lookup found some.
	FailingSince time.Time

	// Err is what the last lookup failed with, or nil.
	Err error
}

// LookupStatus returns how the last lookup went.
func (b *Balancer) LookupStatus() LookupStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lookup
}

// Times of lookups.
const (
	// lookupFloor is the least time between polls of DNS, and between an answer
	// and the next lookup because of a call that failed.
	lookupFloor = 5 * time.Second
	// lookupTimeout lets the Go resolver ask three servers, the first two of
	// which are dead, for 5 seconds each.
	lookupTimeout = 16 * time.Second
	// Pauses after a failure double from the first to the last and are drawn
	// from the upper half of that. The first is shorter while there were no
	// endpoints yet.
	firstPause = 200 * time.Millisecond
	againPause = 2 * lookupFloor
	longPause  = 30 * time.Second
)

// errNone is the failure of a lookup whose resolver is not Trusted.
var errNone = errors.New("loadbalance: the lookup found no endpoints")

// Follow looks the endpoints up, now and as often as r says, up to a quarter
// later by chance, and has the balancer use them as Update does. It also looks
// them up when an endpoint is ejected or a call finds none, 5 seconds after the
// last lookup at the earliest.
//
// A lookup fails with an error, a panic, after 16 seconds, with endpoints that
// Update would refuse, and without any unless r is Trusted. It is repeated
// after 100 milliseconds to 30 seconds. Until the first succeeds, calls wait as
// long as Config.Wait says. Later the last endpoints found stay for
// Config.MaxStale. What went wrong is told by LookupStatus, and by the NoEndpointError
// of a call that has none.
//
// Follow blocks until ctx ends or the balancer is closed, and then returns nil:
//
//	go balancer.Follow(ctx, loadbalance.DNS{Host: "orders.internal", Port: 80})
//
// The endpoints stay as they are. It returns an error at once if r is not valid
// or the balancer follows another. No goroutine is left, unless it is in a
// Resolve that has not returned a second after its context ended.
func (b *Balancer) Follow(ctx context.Context, r Resolver) error {
	if err := check(r); err != nil {
		b.learn(nil, err)
		return err
	}
	ctx, err := b.enter(ctx, &b.follow, "Follow")
	if err != nil {
		return err
	}
	defer b.exit(&b.follow)
	f := follower{balancer: b, resolver: r, task: task[[]Endpoint]{name: "Resolve"}}
	for ctx.Err() == nil {
		f.pause(ctx, f.lookUp(ctx))
	}
	return nil
}

// A loop is a Follow or a Monitor under way, or the zero value.
type loop struct {
	cancel context.CancelFunc
	wake   chan struct{}
}

// signal wakes the loop, now or when it next looks.
func (l *loop) signal() {
	select {
	case l.wake <- struct{}{}:
	default: // there is none, or it will wake up anyway
	}
}

// enter begins l, which ends with the context that is returned: when ctx ends or
// the balancer is closed.
func (b *Balancer) enter(ctx context.Context, l *loop, name string) (context.Context, error) {
	b.mustBeMade()
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.cancel != nil {
		return nil, fmt.Errorf("loadbalance: a %s of this balancer is under way; end its context first, or use another balancer", name)
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.wake = make(chan struct{}, 1)
	if b.closing {
		l.cancel()
	}
	return ctx, nil
}

func (b *Balancer) exit(l *loop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.cancel()
	*l = loop{}
}

// halt ends the loops. The mutex is held.
func (b *Balancer) halt() {
	for _, l := range []loop{b.follow, b.monitor} {
		if l.cancel != nil {
			l.cancel()
		}
	}
}

// stale says that the endpoints may have changed. The mutex is held.
func (b *Balancer) stale() { b.follow.signal() }

// learn takes the outcome of a lookup. It returns how long the endpoints may
// still be used if it is a failure.
func (b *Balancer) learn(endpoints []Endpoint, err error) time.Duration {
	b.mu.Lock()
	defer b.unlock()
	now := time.Now()
	switch {
	case b.closing:
		return never
	case err == nil:
		b.lookup = LookupStatus{FoundAt: now}
		b.replace(endpoints)
		return never
	}
	b.lookup.Err = err
	if b.lookup.FailingSince.IsZero() {
		b.lookup.FailingSince = now
	}
	if b.maxStale == Never || b.set.Load() == nil {
		return never
	}
	left := b.maxStale - now.Sub(b.lookup.FailingSince)
	if left > 0 {
		return left
	}
	b.replace(nil)
	return never
}

// A follower is a Follow under way.
type follower struct {
	balancer *Balancer
	resolver Resolver
	task     task[[]Endpoint]
	failures int // in a row
}

// lookUp does one lookup and returns the time until the next.
func (f *follower) lookUp(ctx context.Context) time.Duration {
	select {
	case <-f.balancer.follow.wake: // is answered by this lookup
	default:
	}
	endpoints, err := f.task.run(ctx, lookupTimeout, f.resolver.Resolve)
	if ctx.Err() != nil {
		return 0
	}
	if err == nil {
		err = f.judge(endpoints)
	}
	usable := f.balancer.learn(endpoints, err)
	next := f.balancer.later(every(f.resolver))
	if err == nil {
		f.failures = 0
		return next
	}
	f.failures++
	return min(f.backoff(), next, usable)
}

// judge reports why an answer counts as a failure.
func (f *follower) judge(endpoints []Endpoint) error {
	if _, ok := f.resolver.(trusted); !ok && len(endpoints) == 0 {
		return errNone
	}
	return validate(endpoints)
}

// backoff returns the pause after a failure.
func (f *follower) backoff() time.Duration {
	d := againPause
	if f.balancer.set.Load() == nil {
		d = firstPause
	}
	for i := 1; i < f.failures && d < longPause; i++ {
		d *= 2
	}
	d = min(d, longPause)
	return d - time.Duration(f.balancer.draw()%uint64(d/2+1))
}

// later returns d and up to a quarter more, so that clients which started
// together do not ask together.
func (b *Balancer) later(d time.Duration) time.Duration {
	if d == never {
		return never
	}
	return d + time.Duration(b.draw()%uint64(d/4+1))
}

// pause waits for d, or less if ctx ends or a call fails.
func (f *follower) pause(ctx context.Context, d time.Duration) {
	failing := f.balancer.follow.wake
	if d <= lookupFloor || d == never {
		failing = nil
	}
	began := time.Now()
	select {
	case <-failing:
		sleep(ctx, lookupFloor-time.Since(began))
	case <-time.After(d):
	case <-ctx.Done():
	}
}
