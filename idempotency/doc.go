// Package idempotency gives calls the keys that make it harmless to send them
// twice.
//
// A POST whose answer is lost leaves its caller with a bad choice: send it again
// and perhaps pay twice, or do not and perhaps not at all. An idempotency key
// ends that. The caller makes one up for each thing it wants done and sends it
// with every attempt; the server does the work once for each key and repeats
// its answer for the others. Keys does the caller's part:
//
//	policy := backstay.New(
//		idempotency.Keys(idempotency.KeysConfig{}),
//		retry.New(retry.Config{}),
//	)
//	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
//
// Every POST and PATCH of this client now has a key of its own, and so retry
// may repeat it. The header is that of the IETF draft, or what Stripe, Adyen,
// PayPal or another target wants instead: see Format.
//
// # Where it belongs
//
// Keys stands above retry and hedge, since all attempts of a call must have the
// same key. A policy that has it below them is refused.
//
// # The trade
//
// A key is a promise that the server keeps. One that does not know keys ignores
// the header, and then a POST that is retried may be done twice: use Keys for
// targets that say they support them. For functions and protocols other than
// HTTP the promise is the function's, which must send the IdempotencyKey of its
// call.
//
// # Keys that last longer than a call
//
// Calls that follow one another, such as the hops of a redirect and the retries
// that an application makes itself, are calls of their own and get new keys.
// NewContext has them share one, and WithKey has them use one that the
// application keeps. Derive makes the same key for the same intent wherever and
// whenever it is asked, so that nothing has to be kept but the intent's ID.
//
// A service that makes calls on behalf of a request does not pass on the key it
// got, which is a secret between its caller and itself. It gives each call a
// Child of it.
//
// # What the server says
//
// ResponseError reads the answers that are about keys. A request that is still
// in progress is worth another attempt with the same key; a key that is missing,
// or was used with another request, is not. An httpcall.Config with
// RetryConflict retries the former.
//
// # What is not here yet
//
// The server's part: remembering keys and repeating answers.
package idempotency
