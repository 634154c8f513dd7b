package grpccall

import (
	"runtime"
	"strconv"
	"sync"
	"weak"
)

// channels are those that a service config can name, which does not keep them
// alive.
var channels registry

type registry struct {
	mu   sync.Mutex
	last int
	byID map[string]weak.Pointer[channel]
}

// add gives c an ID.
func (r *registry) add(c *channel) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = map[string]weak.Pointer[channel]{}
	}
	r.last++
	c.id = strconv.Itoa(r.last)
	r.byID[c.id] = weak.Make(c)
	runtime.AddCleanup(c, r.remove, c.id)
}

func (r *registry) remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, id)
}

// find returns the channel with the ID, or nil.
func (r *registry) find(id string) *channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byID[id].Value()
}
