package grpccall

import (
	"runtime"
	"sync"
	"weak"

	"github.com/backstay-go/backstay/loadbalance"
)

// claims says whose turn it is where one at a time can have something: the
// connections of a channel, or the endpoints of a balancer.
var claims turns

type turns struct {
	mu     sync.Mutex
	queues map[any][]*connector
}

// take puts g in the queue for what, and reports whether it is its turn.
func (t *turns) take(what any, g *connector) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queues == nil {
		t.queues = map[any][]*connector{}
	}
	t.queues[what] = append(t.queues[what], g)
	return t.queues[what][0] == g
}

// leave takes g out of the queue for what, and returns whose turn it has become,
// or nil.
func (t *turns) leave(what any, g *connector) (next *connector) {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.queues[what]
	for i, waiting := range queue {
		if waiting != g {
			continue
		}
		queue = append(queue[:i:i], queue[i+1:]...)
		if i == 0 && len(queue) > 0 {
			next = queue[0]
		}
		break
	}
	if t.queues[what] = queue; len(queue) == 0 {
		delete(t.queues, what)
	}
	return next
}

// fed are the balancers of policies whose endpoints come from the resolver of a
// channel, which does not keep them alive.
var fed feeds

type feeds struct {
	mu        sync.Mutex
	balancers map[weak.Pointer[loadbalance.Balancer]]bool
}

func (f *feeds) add(b *loadbalance.Balancer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	self := weak.Make(b)
	if f.balancers == nil {
		f.balancers = map[weak.Pointer[loadbalance.Balancer]]bool{}
	}
	if !f.balancers[self] {
		f.balancers[self] = true
		runtime.AddCleanup(b, f.remove, self)
	}
}

func (f *feeds) remove(b weak.Pointer[loadbalance.Balancer]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.balancers, b)
}

func (f *feeds) has(b *loadbalance.Balancer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.balancers[weak.Make(b)]
}
