// Package backstay makes calls between services survive: with timeouts,
// retries, breakers, balancing and whatever else is put around a call.
//
// A [Policy] is a stack of middleware around a call, composed once, and a call
// is over when its result is closed. The policy is made where the program
// starts, and functions are wrapped in it:
//
//	policy := backstay.New(
//		timeout.Call(2*time.Second),
//		retry.New(retry.Config{MaxAttempts: 3}),
//		breaker.New(breaker.Config{Name: "orders"}),
//		timeout.Attempt(500*time.Millisecond),
//	)
//	getOrder := backstay.Wrap(policy, "orders.Get", client.GetOrder)
//
//	order, err := getOrder(ctx, 42)
//
// [Do] makes a single call of any function. Package httpcall puts a policy into
// an http.Client.
//
// # Order
//
// The first middleware is the outermost. This is the order, and what would
// break in another:
//
//   - telemetry of the call sees everything that is done for it.
//   - idempotency.Keys is above what repeats, or every attempt would have a key
//     of its own and the work be done twice.
//   - a fallback, such as a middleware of yours, answers for all that follows.
//   - timeout.Call bounds all attempts and the pauses between them.
//   - a limiter admits calls, not attempts: a retry must not wait in line again.
//   - retry makes the attempts. Whatever makes overlapping ones is under it, so
//     that these are not each retried.
//   - a balancer is under both, so that each attempt goes to another endpoint.
//   - a breaker is under the balancer, where it judges one endpoint, and under
//     retry, where it counts attempts and turns the next one away.
//   - timeout.Attempt is under the breaker, to which a timeout is a failure and
//     not a caller that gave up.
//   - telemetry of the attempt sees what is sent.
//
// [New] refuses a stack that cannot work, with a sentence that says how to mend
// it; see [Check].
//
// # Writing a middleware
//
// A [Middleware] gets the next [Func] once and returns its own. Inside a policy
// a failure always is an error: an HTTP 503 is one on its way through the policy
// and a response again for the caller, so every middleware needs one check.
//
//	func logFailures(next backstay.Func) backstay.Func {
//		return func(ctx context.Context, call *backstay.Call) error {
//			err := next(ctx, call)
//			if err != nil {
//				log.Printf("%s, attempt %d: %v", call.Op, call.Attempt, err)
//			}
//			return err
//		}
//	}
//
// It takes its place in a policy as a [MiddlewareFunc]:
//
//	policy := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), backstay.MiddlewareFunc(logFailures))
//
// One that replaces a failure sets a result of the type that the call returns,
// which is *http.Response in an HTTP policy, and returns nil:
//
//	func orZero(next backstay.Func) backstay.Func {
//		return func(ctx context.Context, call *backstay.Call) error {
//			err := next(ctx, call)
//			if err != nil && backstay.SetResult(call, 0) {
//				return nil
//			}
//			return err
//		}
//	}
//
// One that makes further attempts forks the call for each, and ends each fork
// with exactly one of [Call.Adopt], which takes its result, and [Call.Discard],
// which releases it:
//
//	func onceMore(next backstay.Func) backstay.Func {
//		return func(ctx context.Context, call *backstay.Call) error {
//			first, err := call.Fork()
//			if err != nil {
//				return err
//			}
//			err = attempt(ctx, first, next)
//			if err == nil || !first.Repeatable(err) {
//				call.Adopt(first)
//				return err
//			}
//			second, forkErr := call.Fork()
//			if forkErr != nil { // say, a body that cannot be read again
//				call.Adopt(first)
//				return err
//			}
//			first.Discard(err)
//			second.Attempt = 2
//			err = attempt(ctx, second, next)
//			call.Adopt(second) // a failure too: its response is the caller's
//			return err
//		}
//	}
//
//	// attempt runs f, and ends it if it panics.
//	func attempt(ctx context.Context, f *backstay.Call, next backstay.Func) error {
//		returned := false
//		defer func() {
//			if !returned {
//				f.Discard(backstay.ErrPanicked)
//			}
//		}()
//		err := next(ctx, f)
//		returned = true
//		return err
//	}
//
// Attempts may overlap, each on a goroutine of its own; one that nobody waits
// for any more is discarded there, even after the call has ended. [Classify],
// [NotSent] and [RetryAfter] tell what an error means.
//
// # Calls
//
// A [Call] is one request on its way through a policy, with its result. It is
// valid until the Func it was passed to returns, and must not be kept: its
// memory serves the next call. Only its end can be waited for, with
// [Call.OnDone], which comes when the response body is closed or the stream is
// over. Run tests with the race detector on: there a Call is never used again,
// and one that is used after its end panics.
package backstay
