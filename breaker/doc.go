// Package breaker stops calling a callee that is sick, so that callers fail at
// once instead of waiting, and the callee is left alone to recover.
//
//	policy := backstay.New(
//		retry.New(retry.Config{}),
//		breaker.New(breaker.Config{Name: "orders", MinCalls: 3}),
//		timeout.Attempt(time.Second),
//	)
//	get := backstay.Wrap(policy, "orders.Get", getOrder)
//
// A breaker is closed while all is well. It opens when too many calls fail, are
// slow, or fail in a row. While it is open calls get an *OpenError, which is
// ErrOpen to errors.Is, and are not sent. After the cooldown it is half open:
// a few calls are let pass as probes, and it closes if all of them go well.
// ForceOpen, Disable and Reset are for the hand of an operator.
//
// # Where it stands
//
// Under retry, so that it judges attempts, and opens during the retries of one
// call if need be; retry does not try again what an open breaker would turn
// away. Above timeout.Attempt, whose end is for the breaker to judge: from
// underneath it would look like the caller giving up. A Group ByEndpoint stands
// under the balancer, which picks what it is keyed by; when one endpoint's
// breaker turns an attempt away, retry goes on to another endpoint. One breaker
// for a whole service stands above or under the balancer, and opens when the
// service is sick, not one endpoint of it.
//
// # What counts as a failure
//
// Errors of class Transient and Broken, a panic and a runtime.Goexit of the
// function, and the end of an attempt's timeout. Permanent and Pending errors are
// answers of a healthy callee, so they count as successes, and slow ones as slow.
//
// Neither way count errors of class Throttled and Canceled, calls whose caller
// gave up, and those that were turned away before they were sent: by a limiter,
// another breaker, a balancer without endpoints. When the caller's own deadline
// passes, that is a failure if the call had been under way for SlowAfter, or a
// second where there is none, and does not count otherwise. The end of a
// timeout.Call is a failure too if the call had at least half of the limit:
// with less, earlier attempts may have used the time up. So where callers have
// little time and there is no limit of the policy's, a callee that hangs is not
// noticed.
//
// Config.Failure replaces the classes, for all but the calls that were given up
// or turned away. A call counts when it ends, and only if the breaker has not
// changed its state since it began.
//
// # What it trades
//
// An open breaker fails calls that might have succeeded, for the sake of the
// others. It judges from what one process sees, which costs little and needs no
// shared store, but every process finds out by itself. With fewer than MinCalls
// in a window the rates mean nothing, and only ConsecutiveFailures opens it:
// for rare calls a timeout and a retry may be all that is worth having.
//
// A success under a closed breaker takes no lock, and reads no clock unless
// there is a deadline or SlowAfter, whose readings the call's middleware share.
// The exception is the first in each tenth of the window, which makes the part
// that the others are counted in. As timers tell the parts, a success may be
// counted in the one before, by as much as a timer is late.
//
// In tests, the timers of a breaker that is used inside a testing/synctest
// bubble end with the bubble, so make one for each bubble, or Reset it after.
//
// # How it relates to gobreaker
//
// The states and the rules between them are those of github.com/sony/gobreaker.
// It is asked only where they may change; windows, probes, cooldowns and
// callbacks are this package's. Its users will find that calls slower than the
// window count, that OnChange may use the breaker, that a Goexit loses no probe
// and a panic is never a success, and that calls do not wait for one another.
// There is no counterpart of its breaker with a shared store.
package breaker
