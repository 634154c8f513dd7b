package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/backstay-go/backstay"
)

// A series is a call whose first attempt has failed.
type series struct {
	*retrier
	next      backstay.Func
	call      *backstay.Call
	budget    *Budget
	intervals Intervals // made for the first pause
	failures  []error   // of the attempts before the last
	sent      int       // attempts that were made
}

// insideKey marks the context of attempts that are retries already.
type insideKey struct{}

// run decides, after attempt a has ended with err, whether there is another.
func (s *series) run(ctx context.Context, a *backstay.Call, err error) error {
	caller := ctx
	if !s.nested && ctx.Value(insideKey{}) == nil {
		ctx = context.WithValue(ctx, insideKey{}, true)
	}
	for {
		b, e := s.decide(caller, a, err)
		if b == nil {
			return s.giveUp(a, err, e)
		}
		b.Emit(e)
		a.Discard(err)
		s.remember(err)
		if !sleep(caller, e.Delay) {
			b.Discard(caller.Err())
			return s.interrupted(caller)
		}
		if err = attempt(ctx, b, s.next); err == nil {
			s.call.Adopt(b)
			return nil
		}
		if b.Sent() {
			s.sent++
		}
		a = b
	}
}

// decide returns the next attempt and the event that announces it, or no
// attempt and the event that says why not. The order matters: what is free to
// check comes first, and a budget is charged last.
func (s *series) decide(ctx context.Context, a *backstay.Call, err error) (*backstay.Call, backstay.Event) {
	no := backstay.Event{Kind: backstay.EventGiveUp, Attempt: a.Attempt, Err: err}
	yes := backstay.Event{Kind: backstay.EventRetry, Attempt: a.Attempt + 1, Reason: backstay.TypeOf(err), Err: err}
	s.call.Endpoint = a.Endpoint
	elsewhere := s.call.Elsewhere()
	rejected := !a.Sent()
	if rejected {
		yes.Attempt = a.Attempt
	}

	if no.Reason = s.final(ctx, a, err, elsewhere, rejected); no.Reason != "" {
		return nil, no
	}
	if yes.Delay, yes.Source, no.Reason = s.pause(err, elsewhere); no.Reason != "" {
		return nil, no
	}
	if at, ok := ctx.Deadline(); ok && time.Until(at) <= yes.Delay {
		no.Reason = "deadline"
		return nil, no
	}
	b, forkErr := s.call.Fork()
	if forkErr != nil {
		no.Reason = "body_not_replayable"
		return nil, no
	}
	if s.budget != nil && !rejected && !s.budget.Withdraw() {
		b.Discard(err)
		no.Reason = "budget"
		if s.polling {
			sleep(ctx, yes.Delay)
		}
		return nil, no
	}
	b.Attempt = yes.Attempt
	return b, yes
}

// final returns why the failure of a is the end of the call, or "".
func (s *series) final(ctx context.Context, a *backstay.Call, err error, elsewhere, rejected bool) string {
	switch {
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return "deadline"
		}
		return "canceled"
	case rejected && elsewhere:
		return "" // another endpoint's breaker may let it pass; this was no attempt
	case rejected:
		return backstay.TypeOf(err)
	case !s.retryable(err):
		return "non_retryable"
	case !s.nested && (ctx.Value(insideKey{}) != nil || retried(err)):
		return "nested"
	case s.attempts != Unlimited && s.sent >= s.attempts:
		return "attempts"
	case !a.Repeatable(err):
		return "not_idempotent"
	case a.Barred() && !elsewhere:
		return "circuit_open"
	}
	return ""
}

// retried reports whether a retry further in has had its attempts.
func retried(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}

// pause returns how long to wait before the next attempt and what says so, or
// why there must not be one.
//
// Another endpoint is not the one that failed, so there is nothing to wait
// for, unless the failure says that it is the caller who calls too much.
func (s *series) pause(err error, elsewhere bool) (delay time.Duration, source, never string) {
	if elsewhere && backstay.Classify(err) != backstay.Throttled {
		return 0, "elsewhere", ""
	}
	asked, _ := backstay.RetryAfter(err)
	if asked > s.maxRetryAfter {
		return 0, "", "deadline"
	}
	if s.intervals == nil {
		s.intervals = s.backoff.fresh()
	}
	delay = s.intervals.NextBackOff()
	if delay < 0 {
		return 0, "", "attempts"
	}
	if asked > delay {
		return asked + rand.N(asked/16+1), "retry_after", ""
	}
	return delay, "backoff", ""
}

// giveUp ends the call with its last attempt, whose result is the caller's
// though it is a failure: a response has a body that only the caller can close.
func (s *series) giveUp(a *backstay.Call, err error, why backstay.Event) error {
	a.Emit(why)
	s.call.Adopt(a)
	if len(s.failures) == 0 {
		return plain(err)
	}
	return &Error{Attempts: s.sent, Elapsed: s.elapsed(), Err: plain(err), Earlier: s.failures}
}

// interrupted is the end of a call whose caller gave up during a pause.
func (s *series) interrupted(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	} else {
		err = cause
	}
	s.call.Emit(backstay.Event{Kind: backstay.EventGiveUp, Attempt: s.sent, Reason: backstay.TypeOf(ctx.Err()), Err: err})
	return &Error{Attempts: s.sent, Elapsed: s.elapsed(), Err: err, Earlier: s.failures}
}

func (s *series) elapsed() time.Duration { return s.call.Ended() - s.call.Began() }

// remember keeps err for the Error of the call, which holds the last few.
func (s *series) remember(err error) {
	if len(s.failures) == maxEarlier {
		copy(s.failures, s.failures[1:])
		s.failures = s.failures[:maxEarlier-1]
	}
	s.failures = append(s.failures, err)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
