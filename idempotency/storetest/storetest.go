package storetest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// Config describes the Store to test.
type Config struct {
	// Open returns the Store, ready for use. It is called for each test, and may
	// return the same one each time. What has to be closed it gives to
	// t.Cleanup.
	Open func(t *testing.T) idempotency.Store

	// Restart ends the server behind the Store and starts it again, with the
	// data that it had. It need not wait until the server is ready. nil means
	// that there is no such server, and skips the tests that need one.
	Restart func(t *testing.T)

	// Work changes something in the transaction that ctx has from the Store's
	// Begin, and Worked reports whether what it changed under this name has been
	// committed. They are for a Store that is a Transactor; nil skips the tests
	// that need them.
	Work   func(ctx context.Context, name string) error
	Worked func(t *testing.T, name string) bool

	// Virtual runs each test in a bubble of testing/synctest, where waiting takes
	// no time. It is for Stores that are not connected to anything.
	Virtual bool

	// Lease is how long the tests wait for a lease to run out. A Store that takes
	// nearly as long for 6 calls needs a longer one. 0 means 200 ms.
	Lease time.Duration
}

// Run tests the Store, each of its promises in a test of its own.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	if cfg.Open == nil {
		t.Fatal("storetest: the Config has no Open")
	}
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			switch {
			case p.restarts && cfg.Restart == nil:
				t.Skip("the Config has no Restart")
			case p.works && (cfg.Work == nil || cfg.Worked == nil):
				t.Skip("the Config has no Work and Worked")
			}
			if !cfg.Virtual {
				p.check(newSuite(t, t, cfg))
				return
			}
			synctest.Test(t, func(t *testing.T) { p.check(newSuite(t, t, cfg)) })
		})
	}
}

// A promise of the Store, and what checks it.
type promise struct {
	name     string
	check    func(s *suite)
	restarts bool // needs Restart
	works    bool // needs Work
}

var promises = []promise{
	{name: "AClaimIsWonOnce", check: claimIsWonOnce},
	{name: "AClaimCanBeRepeated", check: claimCanBeRepeated},
	{name: "ALeaseKeepsOthersOut", check: leaseKeepsOthersOut},
	{name: "ALeaseThatRanOutIsTakenOverOnRequest", check: leaseIsTakenOver},
	{name: "ARenewedLeaseHolds", check: renewedLeaseHolds},
	{name: "AnOwnerCanGiveUp", check: ownerCanGiveUp},
	{name: "ALateOwnerChangesNothing", check: lateOwnerChangesNothing},
	{name: "ALateOwnerIsStillTheOwnerUntilTakenOver", check: lateOwnerIsStillTheOwner},
	{name: "ACompletionCanBeRepeated", check: completionCanBeRepeated},
	{name: "AReleasedKeyIsFree", check: releasedKeyIsFree},
	{name: "ACompletedKeyIsNotReleased", check: completedKeyIsNotReleased},
	{name: "AKeyThatNobodyClaimedIsNobodys", check: unclaimedKeyIsNobodys},
	{name: "AFenceIsComparedInFull", check: fenceIsCompared},
	{name: "AFingerprintIsComparedFirst", check: fingerprintIsCompared},
	{name: "IDsAreApart", check: idsAreApart},
	{name: "ARecordIsKeptByteForByte", check: recordIsKept},
	{name: "ARecordIsACopy", check: recordIsACopy},
	{name: "ATTLEnds", check: ttlEnds},
	{name: "ATTLBeginsAnew", check: ttlBeginsAnew},
	{name: "OneOfFiftyWins", check: oneOfFiftyWins},
	{name: "OneOfFiftyTakesOver", check: oneOfFiftyTakesOver},
	{name: "OneOfFiftyWinsAfterTheTTL", check: oneOfFiftyWinsAfterTheTTL},
	{name: "OneOwnerAtATimeInAStorm", check: storm},
	{name: "ACanceledContextEndsTheCall", check: canceledContext},
	{name: "ALostAnswerIsAskedForAgain", check: lostAnswer},
	{name: "ARestartForgetsNothing", check: restartForgetsNothing, restarts: true},
	{name: "OneWinsAcrossARestart", check: oneWinsAcrossARestart, restarts: true},
	{name: "ATransactionIsBothOrNeither", check: transactionIsBothOrNeither, works: true},
	{name: "ARollbackUndoesTheWork", check: rollbackUndoesTheWork, works: true},
	{name: "ALateTransactionChangesNothing", check: lateTransaction, works: true},
	{name: "ALostCommitIsAskedFor", check: lostCommit, works: true},
	{name: "OneTransactionWins", check: oneTransactionWins, works: true},
}

// reporter is the part of a testing.T that tells of failures. The tests of this
// package have another, so that they can see a bad Store fail.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// newSuite opens the Store of cfg for one test.
func newSuite(t *testing.T, r reporter, cfg Config) *suite {
	t.Helper()
	s := &suite{
		reporter: r, ctx: t.Context(), cfg: cfg, lease: cfg.Lease,
		restart: func() { cfg.Restart(t) },
		worked:  func(name string) bool { return cfg.Worked(t, name) },
	}
	if s.lease == 0 {
		s.lease = 200 * time.Millisecond
	}
	s.store = cfg.Open(t)
	return s
}

// A suite is one test of one Store.
type suite struct {
	reporter
	ctx     context.Context
	cfg     Config
	store   idempotency.Store
	lease   time.Duration // a short one
	restart func()
	worked  func(name string) bool
}
