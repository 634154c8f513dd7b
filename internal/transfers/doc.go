// Package transfers is a bank for the tests of stores: it moves money between
// accounts while answers are lost, stores are restarted and processes are
// killed, and afterwards it counts. A transfer that was made twice, or that is
// missing although its client was told that it was made, fails the test.
//
// The client is the one that users have: an http.Client whose policy has keys,
// retries and timeouts. The server is a handler behind a Guard.
//
// The tests that use it check for goroutines themselves, before they open what
// they need.
//
// It registers the flags -transfers, the number of transfers of Run, and
// -transfers.seed.
package transfers
