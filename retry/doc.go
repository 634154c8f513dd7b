// Package retry makes a call again when it has failed and another try may
// succeed, without doing work twice, without arriving early, and without
// burying a sick callee under retries.
//
//	policy := backstay.New(
//		timeout.Call(2*time.Second),
//		retry.New(retry.Config{}),
//	)
//	greet := backstay.Wrap(policy, "greeter.Greet", greeter.Greet)
//	text, err := greet(context.Background(), "gopher")
//
// That makes up to 3 attempts, with pauses drawn evenly from 0 to 50 ms, then
// to 100 ms: exponential backoff with full jitter.
//
// # When it retries
//
// After a failure it asks these questions, in this order, and the first no ends
// the call with that failure, as it is:
//
//  1. Is the caller still there?
//  2. Was the attempt sent? One that the policy itself turned away, as an open
//     breaker does, is not counted. It goes to another endpoint at once where
//     the balancer has one that this call has not tried; else it is the end.
//  3. May another attempt succeed: is the failure [backstay.Transient],
//     [backstay.Throttled] or [backstay.Pending], or does Config.If say so? An
//     error marked with [Permanent] or backoff.Permanent may not.
//  4. Has no other retry of this package seen to it? See Nesting.
//  5. Are there attempts left of Config.MaxAttempts?
//  6. Is it harmless: is the call safe to do twice, or has it an idempotency
//     key, or did it provably not arrive? A breaker that this very failure
//     opened says no here too.
//  7. Does the callee want to be called again within Config.MaxRetryAfter?
//  8. Is there time for the pause before the caller's deadline? A pause that
//     does not fit is not begun.
//  9. Can the request be sent again?
//  10. Is there something left in the budget?
//
// There is no pause before an endpoint that this call has not tried, unless
// the failure is Throttled or Pending, which is about the caller and not the
// endpoint. A
// pause that the callee asked for is kept to the end and a little longer. A
// caller who gives up during a pause gets its error at once, as an [Error] that
// reaches the cause of the cancellation and the failures too.
//
// The result of the last attempt is the caller's, a failure's too: the body of
// a 503 can be read. A call that was made more than once ends with an [Error].
//
// # Where it belongs
//
// Under the timeout of the whole call, so that the deadline bounds the pauses
// too. Above everything that is about one attempt: the balancer, so that each
// attempt picks anew; the breaker, so that it counts each attempt and is asked
// before each; the attempt's timeout. backstay.New refuses other orders.
//
// # Budgets
//
// Three attempts each are three times the load, just when the callee cannot
// bear it. A [Budget] holds retries to a share of the calls: 20 %, and 10 a
// second so that rare calls can be retried too. Each target has one by itself;
// give several policies that call the same target one Budget to share.
//
// # Nesting
//
// Where an attempt contains calls that are retried too, only the first attempt
// lets them be: later ones carry a mark in their context that holds retries
// inside them to one attempt, and a failure that a retry inside has tried more
// than once is not tried again outside, so that n attempts in k layers make n
// and not n to the power of k. The first attempt carries no mark, which would
// cost every success an allocation, so a function that hides the inner [Error]
// has n-1 attempts more in each layer that cannot see it, and so has a call
// inside that succeeded before its attempt failed.
//
// # The trade
//
// A retry buys success with load and with time: a call that would fail takes
// up to MaxAttempts attempts and their pauses longer to do so. Leave it out
// where the callee retries already, where a late answer is worth nothing, and
// where failures are not brief. Only what is repeatable is retried, so mark
// calls that are not as [backstay.Call].Unsafe; a function given to
// backstay.Do or backstay.Wrap counts as safe.
package retry
