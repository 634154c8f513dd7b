// Package timeout ends calls and attempts that take too long.
//
//	policy := backstay.New(
//		timeout.Call(2*time.Second),
//		retry.New(retry.Config{MaxAttempts: 3}),
//		timeout.Attempt(500*time.Millisecond),
//	)
//
// [Call] bounds everything that the caller waits for: all attempts, the pauses
// between them, and reading the response to its end. It stands on top.
//
// [Attempt] bounds the wait for an answer, so that another attempt still has
// time. It stands at the bottom, under breakers, to which its end is a failure.
// Once the answer is there the body may take as long as the call has, so a large
// download is not cut; [WholeAttempt] cuts it.
//
// A sooner deadline of the caller's holds in place of either, and its end is the
// caller's own error. The end by a limit is an [*Error], whatever the function
// has made of it, and context.DeadlineExceeded and a net.Error as well. A
// function that comes back late with another error, or with a result, keeps it.
//
// A limit ends the function's context and no more: it waits for the function to
// return, so a function that ignores its context is not bounded. In exchange no
// goroutine is left behind, and no result is lost. Where a function does not ask
// its context for Done, Call costs no timer, only one allocation.
package timeout
