// Package storetest holds the tests that every idempotency.Store has to pass,
// one of your own too:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Config{
//			Open: func(t *testing.T) idempotency.Store { return openMyStore(t) },
//		})
//	}
//
// A Store that passes gives the work of a key to one of all that ask for it, at
// the same time or one after the other, and lets none of the others change what
// that one does. Where the Store is a server, run them against a real one: what
// they are about is atomic operations, lost connections and clocks, which no
// fake has. A Store that is a Transactor has tests of its own, for which the
// Config says how to do some work in a transaction.
//
// A run takes 5 to 10 seconds of real time. It leaves records behind, which
// outlive it by an hour; their IDs are random.
package storetest
