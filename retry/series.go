package retry

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay"
)

// A series is a call whose first attempt has failed.
type series struct {
	*retrier
	next   backstay.Func
	call   *backstay.Call
	budget *Budget

	last      *backstay.Call // the attempt that is neither adopted nor discarded yet
	moved     bool           // last was given another endpoint than the one before
	sent      int            // attempts that reached the function
	began     time.Duration  // a reading of the clock, once there is a retry
	intervals Intervals      // made for the first pause
	failures  []error        // of the attempts before last, without rejections
}

// A plan is what follows a failure: an attempt, or none.
type plan struct {
	never   string // why there is none
	attempt *backstay.Call
	delay   time.Duration
	source  string // what chose the delay
	charged bool   // to the budget
}

// run goes on after err, the failure of the first attempt.
func (s *series) run(ctx context.Context, err error) error {
	defer s.abandon()
	var marked context.Context // made for the second attempt
	for {
		p := s.plan(ctx, err)
		if p.never != "" {
			return s.giveUp(ctx, err, p.never)
		}
		s.turn(p, err)
		if !sleep(ctx, p.delay) {
			s.refund(p)
			return s.interrupted(ctx)
		}
		if marked == nil {
			marked = mark(ctx)
		}
		before := s.last.Endpoint
		err = s.next(marked, s.last)
		s.moved = s.last.Endpoint != before
		if s.last.Sent() {
			s.sent++
		} else {
			s.refund(p)
		}
		if err == nil {
			s.call.Adopt(s.end())
			return nil
		}
	}
}

// plan decides, after the last attempt has ended with err, whether there is
// another. What is free to check comes first, and the budget is charged last.
func (s *series) plan(ctx context.Context, err error) plan {
	s.call.Endpoint = s.last.Endpoint
	elsewhere := s.call.Elsewhere(ctx)
	if why := s.final(ctx, err, elsewhere); why != "" {
		if wait, told := pushback(err); told && wait < 0 && s.budget != nil {
			s.budget.Withdraw() // gRFC A6: it counts against the callee like a retry
		}
		return plan{never: why}
	}
	p := s.pause(err, elsewhere)
	if p.never == "" && !fits(ctx, p.delay) {
		p.never = "deadline"
	}
	if p.never != "" {
		return p
	}
	next, forkErr := s.call.Fork()
	if forkErr != nil {
		return plan{never: "body_not_replayable"}
	}
	next.Attempt = s.last.Attempt
	if s.last.Sent() {
		next.Attempt++
		if p.charged = s.budget != nil; p.charged && !s.budget.Withdraw() {
			next.Discard(err)
			s.slowDown(ctx, err, p)
			return plan{never: "budget"}
		}
	}
	p.attempt = next
	return p
}

// final returns why err is the end of the call, or "".
func (s *series) final(ctx context.Context, err error, elsewhere bool) string {
	switch {
	case ctx.Err() != nil:
		return reason(ctx)
	case !s.last.Sent():
		return s.rejection(err, elsewhere)
	case vetoed(err) != "":
		return vetoed(err)
	case permanently(err) || !s.retryable(err) && !(elsewhere && unreachable(err)):
		return "non_retryable"
	case !s.nested && (ctx.Value(markKey{}) != nil || retried(err)):
		return "nested"
	case s.attempts != Unlimited && s.sent >= s.attempts:
		return "attempts"
	case !s.last.Repeatable(err):
		return "not_idempotent"
	case s.last.Barred() && !elsewhere:
		return "circuit_open"
	}
	return ""
}

// rejection returns why err, with which the policy turned the last attempt
// away, is the end of the call, or "" where another endpoint may let it pass.
//
// Something above the balancer turns an attempt away before the endpoint
// changes, and would do so for ever.
func (s *series) rejection(err error, elsewhere bool) string {
	if elsewhere && s.moved && worthIt(err) {
		return ""
	}
	if name := backstay.TypeOf(err); name != "_OTHER" {
		return name
	}
	return "non_retryable"
}

// pause returns a plan with the time to wait before the next attempt, or with
// why there must not be one.
//
// Another endpoint is not the one that failed, so there is nothing to wait
// for, unless the failure says that it is the caller who calls too much or too
// soon. A pushback is kept to exactly, and the pauses begin anew after it.
func (s *series) pause(err error, elsewhere bool) plan {
	if wait, told := pushback(err); told {
		if wait > s.maxRetryAfter {
			return plan{never: "server_veto"}
		}
		s.intervals = nil
		return plan{delay: wait, source: "pushback"}
	}
	class := backstay.Classify(err)
	early := class == backstay.Throttled || class == backstay.Pending
	if elsewhere && (!s.last.Sent() || !early) {
		return plan{source: "elsewhere"}
	}
	asked, _ := backstay.RetryAfter(err)
	if asked > s.maxRetryAfter {
		return plan{never: "server_veto"}
	}
	delay := s.interval()
	switch {
	case delay < 0:
		return plan{never: "attempts"}
	case asked > delay:
		return plan{delay: later(asked), source: "retry_after"}
	case asked > 0:
		return plan{delay: later(delay), source: "backoff"}
	}
	return plan{delay: delay, source: "backoff"}
}

func (s *series) interval() time.Duration {
	if s.intervals == nil {
		s.intervals = s.backoff.fresh()
	}
	return s.intervals.NextBackOff()
}

// turn makes the planned attempt the last one, in place of the one that failed
// with err.
func (s *series) turn(p plan, err error) {
	failed := s.last
	if s.began == 0 {
		s.began = min(failed.Began(), failed.Ended())
	}
	if failed.Sent() {
		s.remember(err)
	}
	s.last = p.attempt
	failed.Discard(err)
	if s.last.Watched() {
		s.last.Emit(backstay.Event{
			Kind: backstay.EventRetry, Attempt: s.last.Attempt,
			Reason: backstay.TypeOf(err), Delay: p.delay, Source: p.source, Err: err,
		})
	}
}

// giveUp ends the call with its last attempt, whose result is the caller's
// though it is a failure: a response has a body that only the caller can close.
func (s *series) giveUp(ctx context.Context, err error, why string) error {
	s.last.Emit(backstay.Event{Kind: backstay.EventGiveUp, Attempt: s.last.Attempt, Reason: why, Err: err})
	rejected := !s.last.Sent()
	s.call.Adopt(s.end())
	if why == "canceled" {
		return s.failure(canceled(ctx, err))
	}
	if n := len(s.failures); rejected && n > 0 {
		// What the callee said is the result, not that it was not asked again.
		err, s.failures[n-1] = s.failures[n-1], err
	}
	return s.failure(plain(err))
}

// interrupted is the end of a call whose caller gave up during a pause.
func (s *series) interrupted(ctx context.Context) error {
	why := reason(ctx)
	s.last.Emit(backstay.Event{Kind: backstay.EventGiveUp, Attempt: s.sent, Reason: why, Err: ctx.Err()})
	s.end().Discard(ctx.Err())
	return s.failure(canceled(ctx, ctx.Err()))
}

// failure returns the error of the call, which is err itself for one attempt.
func (s *series) failure(err error) error {
	if len(s.failures) == 0 {
		return err
	}
	return &Error{Attempts: s.sent, Elapsed: s.call.Ended() - s.began, Err: err, Earlier: s.failures}
}

// end returns the last attempt, for the one way to end it that it must have.
func (s *series) end() *backstay.Call {
	last := s.last
	s.last = nil
	return last
}

// abandon discards the last attempt where a panic left it.
func (s *series) abandon() {
	if s.last != nil {
		s.end().Discard(backstay.ErrPanicked)
	}
}

// refund takes back the charge for an attempt that was not sent.
func (s *series) refund(p plan) {
	if p.charged {
		s.budget.refund()
	}
}

// slowDown pauses in place of the retry that the budget denied, for callers
// that would call again at once.
func (s *series) slowDown(ctx context.Context, err error, denied plan) {
	if !s.polling {
		return
	}
	p := denied
	if p.source == "elsewhere" {
		p = s.pause(err, false)
	}
	if p.never == "" && fits(ctx, p.delay) {
		sleep(ctx, p.delay)
	}
}

// remember keeps err for the Error of the call, which holds the last few.
func (s *series) remember(err error) {
	if len(s.failures) == maxEarlier {
		s.failures = append(s.failures[:0], s.failures[1:]...)
	}
	s.failures = append(s.failures, err)
}

// markKey is the key under which the contexts of attempts from the second on
// carry a mark.
type markKey struct{}

func mark(ctx context.Context) context.Context {
	if ctx.Value(markKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, markKey{}, true)
}

// permanently reports whether err is marked as one that will not change.
func permanently(err error) bool {
	if _, ok := errors.AsType[*permanent](err); ok {
		return true
	}
	_, ok := errors.AsType[*backoff.PermanentError](err)
	return ok
}

// unreachable reports whether err says that the endpoint cannot be called at
// all, such as a name that does not resolve. Another one may be well.
func unreachable(err error) bool {
	return backstay.Classify(err) == backstay.Broken && backstay.NotSent(err)
}

// vetoed returns the reason for which err, as the errors of protocol adapters
// can, rules out another attempt, or "".
func vetoed(err error) string {
	e, ok := errors.AsType[interface {
		error
		Suppressed() string
	}](err)
	if !ok {
		return ""
	}
	return e.Suppressed()
}

// pushback returns when the callee wants the next attempt, to the moment, and
// whether it said so at all; below 0 it wants none. gRPC servers can say it.
func pushback(err error) (wait time.Duration, told bool) {
	e, ok := errors.AsType[interface {
		error
		Pushback() (wait time.Duration, told bool)
	}](err)
	if !ok {
		return 0, false
	}
	return e.Pushback()
}

// retried reports whether a retry further in has made attempts more than once.
func retried(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Attempts > 1
}

// reason returns the reason of an event for the end of ctx.
func reason(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "deadline"
	}
	return "canceled"
}

// fits reports whether there is time left after a pause of d.
func fits(ctx context.Context, d time.Duration) bool {
	at, ok := ctx.Deadline()
	return !ok || time.Until(at) > d
}

// later returns d and a little more, so that callers who were told the same
// time do not all come at it. It never returns less.
func later(d time.Duration) time.Duration {
	more := rand.N(d/16 + 1)
	if d > math.MaxInt64-more {
		return math.MaxInt64
	}
	return d + more
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
