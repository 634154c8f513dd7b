// Package idempotency makes it harmless to send a request twice: with keys on
// the client, and on the server with a guard that does the work of each key
// once.
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
// PayPal or another target wants instead: see Format. A Guard does the server's
// part:
//
//	guard := idempotency.NewGuard(idempotency.GuardConfig{})
//	once := guard.Handler(transfer, idempotency.HandlerConfig{Tenant: account})
//
// where account is a function that returns whose request it is.
//
// # Keys
//
// Keys stands above retry and hedge, since all attempts of a call must have the
// same key. A policy that has it below them is refused.
//
// A key is a promise that the server keeps. One that does not know keys ignores
// the header, and then a POST that is retried may be done twice: use Keys for
// targets that say they support them. Packages httpcall and grpccall send the
// key. For any other function the promise is the function's, which must send the
// IdempotencyKey of its call.
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
// # Guards
//
// A guard claims a key in its Store before the work and keeps the answer there
// before it is sent. Whoever asks again gets the same answer; asks at the same
// time, is told to come back (409, which an httpcall.Transport does by itself);
// asks for something else with the same key, is refused (422). Memory is the
// Store of one process. Several share the one of the module redisstore or
// pgstore, or one of your own, which storetest examines.
//
// What no Store can do is to see what happened in a process that died between
// the effect of its work and the record of it. There the guard does not guess:
// those who ask again are told that the outcome is unknown. The way out is to
// make the record a part of the effect, which is what the transactions of
// pgstore are for: then each piece of work is done exactly once, whenever the
// process dies. Use them where money moves.
//
// The guard stands below the handler that authenticates callers and above the
// one that has effects. It holds the body of a request and of its answer in
// memory, so uploads and streams are not for it.
//
// # What the server says
//
// ResponseError reads the answers that are about keys, those of a Guard and
// those of the IETF draft. Without it, a 409 that is returned after the last
// attempt looks like any other. A request that is still in progress is worth
// another attempt with the same key; a key that is missing, or was used with
// another request, is not.
package idempotency
