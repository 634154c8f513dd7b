package idempotency

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func (g *Guard) claimFor(req Request) Claim {
	return Claim{
		ID:          idOf(g.cfg.Name, req.Tenant, req.Key),
		Fingerprint: req.Fingerprint,
		Lease:       g.cfg.Lease,
		TTL:         g.cfg.TTL,
		Takeover:    g.cfg.OnLeaseExpiry == Reexecute,
	}
}

// claim asks the store for the work of c, and sets its fence: that of a claim in
// doubt, if there is one. If it is granted, the lease began after began. A
// caller that goes away meanwhile does not stop it, or nobody would know whether
// it was granted.
func (g *Guard) claim(ctx context.Context, c *Claim) (a Answer, began time.Time, err error) {
	ctx = context.WithoutCancel(ctx)
	end := time.Now().Add(g.cfg.StoreTimeout)
	fence, doubted := g.doubts.take(c.ID)
	if !doubted {
		fence = NewFence()
	}
	for {
		c.Fence = fence
		a, began, err = g.ask(ctx, end, *c)
		if g.mayOwn(a, err, doubted) {
			g.doubts.add(*c)
		}
		if err != nil || a.State != InProgress && a.State != Abandoned {
			return a, began, err
		}
		if fence, doubted = g.doubts.take(c.ID); !doubted {
			return a, began, nil
		}
	}
}

// mayOwn reports whether a claim may have been granted that nobody will work
// under now. With FailOpen somebody will, unprotected: to have it done again at
// once is worse than to have the next caller told that the outcome is unknown.
func (g *Guard) mayOwn(a Answer, err error, doubted bool) bool {
	if err != nil {
		return !g.cfg.FailOpen
	}
	return doubted && a.State == Mismatch // with the request that was in doubt
}

// ask claims, once more if that fails: with the same fence, so that a claim
// whose answer was lost is not taken for another's.
func (g *Guard) ask(ctx context.Context, end time.Time, c Claim) (a Answer, began time.Time, err error) {
	for range 2 {
		began = time.Now()
		each, cancel := g.attempt(ctx, end)
		a, err = g.store.Claim(each, c)
		cancel()
		switch {
		case err != nil:
		case a.State == none || a.State > Abandoned:
			err = fmt.Errorf("idempotency: the store answered a claim with state %d", a.State)
		case a.State == Claimed && time.Since(began) >= c.Lease:
			err = errors.New("idempotency: the store granted a claim too late: its lease may have run out")
		default:
			return a, began, nil
		}
	}
	return Answer{}, began, err
}

// attempt returns a context for one operation of the store, which leaves time for
// another before end.
func (g *Guard) attempt(ctx context.Context, end time.Time) (context.Context, context.CancelFunc) {
	if soon := time.Now().Add(g.cfg.StoreTimeout / 2); soon.Before(end) {
		end = soon
	}
	return context.WithDeadline(ctx, end)
}
