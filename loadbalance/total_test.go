package loadbalance

import (
	"context"
	"sync"
	"testing"

	"github.com/backstay-go/backstay"
)

// newBounded returns a balancer by a bounded hash of a single key.
func newBounded(endpoints int) *Balancer {
	key := func(context.Context, *backstay.Call) string { return "user 1" }
	return New(Hash(HashConfig{Key: key, Bound: 1.25}), addresses(endpoints)...)
}

// A pick may be one of several for an attempt: of another locality, or after the
// rejection of a breaker.
//
// L-14
func TestPickByABoundedHashCountsNothing(t *testing.T) {
	b := newBounded(17)
	inCall(func(call *backstay.Call) {
		h := b.set.Load().root.(*hashed)
		for range 100 {
			h.pick(query{ctx: t.Context(), call: call, seat: &seat{balancer: b}})
		}
		if got := h.inFlight(); got != 0 {
			t.Errorf("inFlight() after 100 picks = %d, want 0", got)
		}
	})
}

// Calls begin and end while endpoints come and go, and some are held.
//
// L-14
func TestTotalIsWhatItsNodesHaveInFlight(t *testing.T) {
	b := newBounded(20)
	nodes := b.Nodes()
	var all sync.WaitGroup
	over := make(chan struct{})
	for i := range 4 {
		all.Go(func() {
			for held := 0; ; {
				n := nodes[i%3]
				n.enter()
				select {
				case <-over:
					return // with this one in flight
				default:
				}
				if held++; held > 2 {
					n.end()
					n.end()
					held -= 2
				}
			}
		})
	}
	for i := range 500 {
		b.mustUpdate(Endpoints(addresses(20 - i%3*2)...))
		if i%10 == 0 {
			b.rebuild()
		}
	}
	close(over)
	all.Wait()
	h, want := b.set.Load().root.(*hashed), 0
	for _, n := range h.nodes {
		want += n.InFlight()
		if got := len(n.partOf()); got != 1 {
			t.Errorf("%s is part of %d totals, want 1", n.Address(), got)
		}
	}
	// Each of the goroutines may have met the last update half way.
	if got := int(h.inFlight()); got < want-4 || got > want+4 {
		t.Errorf("inFlight() = %d, want %d ± 4, which the nodes have together", got, want)
	}
}
