package backstay

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// shared is what a logical call and all its attempts know together, concurrent
// attempts included.
type shared struct {
	mu        sync.Mutex
	dirty     bool
	tried     []string
	router    Router
	observers []Observer
	watched   atomic.Bool // there are observers
}

// A Router picks endpoints for calls.
type Router interface {
	// Untried reports whether it could give the call an endpoint that none of
	// its attempts was given before.
	Untried(ctx context.Context, call *Call) bool
}

// Try sets Endpoint and remembers it as tried by the logical call, all its
// attempts together. r may be nil; else Elsewhere asks it.
//
// It reports whether the endpoint is new to the call: of two attempts that
// overlap and chose the same one, one is told false and may choose again.
func (c *Call) Try(endpoint string, r Router) bool {
	c.check()
	c.Endpoint = endpoint
	s := &c.root.shared
	if c.alone() {
		return s.try(endpoint, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.try(endpoint, r)
}

func (s *shared) try(endpoint string, r Router) bool {
	s.router = r
	return s.add(endpoint)
}

func (s *shared) add(endpoint string) bool {
	s.dirty = true
	if slices.Contains(s.tried, endpoint) {
		return false
	}
	s.tried = append(s.tried, endpoint)
	return true
}

// Alone reports whether c is the one attempt of its call, so that no other can
// overlap with it: it was not forked and is no fork. An attempt that is not
// alone must not write to what the attempts share.
func (c *Call) Alone() bool { c.check(); return c.alone() }

// alone is asked before a lock is taken, which costs more than all the rest of a
// pick.
func (c *Call) alone() bool { return c.root == c && !c.forked }

// TriedCount returns how many endpoints the attempts of the logical call were given.
func (c *Call) TriedCount() int {
	c.check()
	s := &c.root.shared
	if c.alone() {
		return len(s.tried)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tried)
}

// Tried reports whether an attempt of the logical call was given the endpoint.
func (c *Call) Tried(endpoint string) bool {
	c.check()
	s := &c.root.shared
	if c.alone() {
		return slices.Contains(s.tried, endpoint)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.tried, endpoint)
}

// AppendTried appends the endpoints to dst that the attempts of the logical call
// were given, and returns the longer slice.
func (c *Call) AppendTried(dst []string) []string {
	c.check()
	s := &c.root.shared
	if c.alone() {
		return append(dst, s.tried...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.tried...)
}

// Elsewhere reports whether another attempt would go to an endpoint that this
// call has not tried yet, so that it need not wait. ctx is that of the attempt.
func (c *Call) Elsewhere(ctx context.Context) bool {
	c.check()
	s := &c.root.shared
	s.mu.Lock()
	r := s.router
	s.mu.Unlock()
	return r != nil && r.Untried(ctx, c)
}

func (s *shared) reset() {
	clear(s.tried)
	clear(s.observers)
	s.tried, s.observers, s.router = s.tried[:0], s.observers[:0], nil
	s.dirty = false
	s.watched.Store(false)
}
