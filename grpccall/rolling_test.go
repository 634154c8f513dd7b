package grpccall_test

import (
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/idempotency"
)

// drain stops h when its calls have ended, and reports whether they have before
// the bound.
func (h *host) drain(bound time.Duration) bool {
	late := time.AfterFunc(bound, h.grpc.Stop)
	h.grpc.GracefulStop()
	h.wg.Wait()
	return late.Stop()
}

// Three servers, of which one is 20 times slower and one is killed and comes
// back; addresses leave and return; then all are restarted one by one, with and
// without a drain. No call fails that is harmless to repeat, none that is not is
// done twice, and with a key each is done.
//
// G-2, G-25
func TestServersComeAndGoAndNoCallFails(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			b := newBooks()
			f := newFleet(t, 3, b.prepare)
			keyed := &fleet{hosts: f.hosts, resolver: newResolver(f.state(f.hosts...))}
			tr := newTraffic(t, b)
			client := pb.NewOrdersClient(f.connect(t, w.options(nil, tr.patience())...))
			once := pb.NewOrdersClient(keyed.connect(t, w.options([]backstay.Middleware{idempotency.Keys(idempotency.KeysConfig{})}, tr.patience())...))

			tr.flow(6, tr.get(client))
			tr.flow(3, tr.watch(client))
			tr.flow(2, tr.place(client))
			tr.flow(3, tr.placeOnce(once))
			tr.more(400)
			before := f.counts()
			tr.more(500)
			calls := f.since(before)
			if slow, all := calls[b.slow], calls[0]+calls[1]+calls[2]; slow*10 > all {
				t.Errorf("the slow host got %d of %d calls, want a tenth at most", slow, all)
			}

			back := func(h *host) {
				t.Helper()
				h.up(t)
				eventually(t, "both channels are connected to the host again", func() bool { return h.open.Load() >= 2 })
				tr.more(60)
			}
			tr.kill(f.hosts[0])
			tr.more(200)
			back(f.hosts[0])

			for _, hosts := range [][]*host{f.hosts[1:], f.hosts[:1], f.hosts[:2], f.hosts} {
				f.resolver.UpdateState(f.state(hosts...))
				keyed.resolver.UpdateState(f.state(hosts...))
				tr.more(60)
			}
			for _, h := range f.hosts {
				eventually(t, "both channels are connected to the host", func() bool { return h.open.Load() >= 2 })
			}

			failed := tr.failed.Load()
			for _, h := range f.hosts {
				if !h.drain(within) {
					t.Errorf("a host was not drained after %v, want it to be", within)
				}
				back(h)
			}
			if n := tr.failed.Load() - failed; n != 0 {
				t.Errorf("%d calls failed in a rolling restart with drains, want 0", n)
			}
			for _, h := range f.hosts {
				tr.kill(h)
				back(h)
			}
			tr.check()
			for _, n := range w.nodes() {
				eventually(t, "nothing is in flight at "+n.Address(), func() bool { return n.InFlight() == 0 })
			}
			t.Logf("%d calls, of which %d that are not harmless to repeat failed", tr.made.Load(), tr.failed.Load())
		})
	}
}
