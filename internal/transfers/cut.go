package transfers

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/services"
)

// A Cut is a request to the store that breaks its connection.
type Cut struct {
	// After is the step after which it is looked for. "" means from before the
	// claim on.
	After Step
	// Match is in the request.
	Match string
}

// Cuts makes transfers while the connection to the store is cut, at each of the
// cuts: before the request has come to the store, and when the store has done
// what it was told and its answer is on the way. Then it keeps back the answer
// to a claim until the guard has given up. In each case the client must be told
// that the transfer was made, and soon: the lease of a claim whose answer was
// lost is not waited for, since it is claimed again with the same fence.
func Cuts(t *testing.T, b Bank, proxy *services.Proxy, cuts ...Cut) {
	b.Guard.Lease = 2 * patience // who waits for it fails
	b.Guard.StoreTimeout = time.Second
	var arm, resume atomic.Pointer[func()]
	after := Step("")
	b.At = func(s Step) {
		if f := arm.Load(); f != nil && s == after {
			(*f)()
		}
	}
	b.Guard.OnEvent = func(_ context.Context, e idempotency.Event) {
		if f := resume.Load(); f != nil && e.Kind == idempotency.Refused {
			(*f)()
		}
	}
	url, c, all := serve(t, b.Handler()), newClient(t), plan(*seed, 4*len(cuts)+2)
	var o outcome
	transfer := func(what string) {
		tr := all[0]
		all = all[1:]
		_, err := send(within(t), c, url, tr)
		o.add(tr, err)
		if err != nil {
			t.Errorf("%s: the client was told %v, want nil", what, err)
		}
	}

	transfer("nothing is cut") // connects
	for _, cut := range cuts {
		for what, lose := range map[string]func(string) <-chan struct{}{"request": proxy.LoseRequest, "answer": proxy.LoseAnswer} {
			what += " lost: " + cut.Match
			var lost <-chan struct{}
			once := func() { lost = lose(cut.Match); arm.Store(nil) }
			if after = cut.After; after == "" {
				once()
			} else {
				arm.Store(&once)
			}
			transfer(what)
			select {
			case <-lost:
			default:
				t.Errorf("%s: there was none", what)
			}
			transfer("after " + what)
		}
	}

	given := make(chan struct{})
	over := func() {
		if resume.Swap(nil) != nil {
			proxy.Cut()
			proxy.Resume()
			close(given)
		}
	}
	resume.Store(&over)
	proxy.Hang()
	transfer("the store is silent")
	select {
	case <-given:
	default:
		t.Error("the store is silent: nothing was refused, want ErrUnavailable")
	}
	audit(t, b.Ledger, o)
}
