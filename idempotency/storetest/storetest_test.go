package storetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay/idempotency"
)

// flaws are what a Store can do wrong, each with the promises whose check has
// to notice.
var flaws = []struct{ flaw, caughtBy string }{
	{"gives the work to all", "AClaimIsWonOnce OneOfFiftyWins OneOwnerAtATimeInAStorm"},
	{"reads, then writes", "OneOfFiftyWins OneOfFiftyTakesOver OneOfFiftyWinsAfterTheTTL OneOwnerAtATimeInAStorm"},
	{"reads, then takes over", "OneOfFiftyTakesOver OneOwnerAtATimeInAStorm"},
	{"reads, then replaces what is past its TTL", "OneOfFiftyWinsAfterTheTTL"},
	{"does not know its owner", "AClaimCanBeRepeated ALostAnswerIsAskedForAgain OneOwnerAtATimeInAStorm"},
	{"keeps the lease of a claim that is repeated", "AClaimCanBeRepeated"},
	{"tells no time", "AClaimIsWonOnce OneOfFiftyWins"},
	{"tells the TTL", "AClaimIsWonOnce OneOfFiftyWins"},
	{"takes over unasked", "ALeaseKeepsOthersOut AnOwnerCanGiveUp"},
	{"takes over too early", "ALeaseThatRanOutIsTakenOverOnRequest AClaimIsWonOnce"},
	{"never gives the work again", "ALeaseThatRanOutIsTakenOverOnRequest"},
	{"does not renew", "ARenewedLeaseHolds"},
	{"lets nobody give up", "AnOwnerCanGiveUp"},
	{"Renew compares no fence", "ALateOwnerChangesNothing AFenceIsComparedInFull"},
	{"Complete compares no fence", "ALateOwnerChangesNothing AReleasedKeyIsFree OneOwnerAtATimeInAStorm"},
	{"Release compares no fence", "ALateOwnerChangesNothing OneOwnerAtATimeInAStorm"},
	{"compares a byte of the fence", "AFenceIsComparedInFull"},
	{"takes those who are late for dead", "ALateOwnerIsStillTheOwnerUntilTakenOver"},
	{"reopens what is done", "ACompletionCanBeRepeated"},
	{"completes once", "ACompletionCanBeRepeated ALostAnswerIsAskedForAgain OneOwnerAtATimeInAStorm"},
	{"completes what nobody has claimed", "AKeyThatNobodyClaimedIsNobodys AReleasedKeyIsFree"},
	{"releases nothing", "AReleasedKeyIsFree"},
	{"releases to those who take over", "AReleasedKeyIsFree"},
	{"releases what is done", "ACompletedKeyIsNotReleased"},
	{"has no fingerprints", "AFingerprintIsComparedFirst"},
	{"compares fingerprints of what is done", "AFingerprintIsComparedFirst"},
	{"compares half of the fingerprint", "AFingerprintIsComparedFirst"},
	{"takes over another request's", "AFingerprintIsComparedFirst"},
	{"tells the record of another request", "AFingerprintIsComparedFirst"},
	{"looks at half of the ID", "IDsAreApart"},
	{"ends the ID at a NUL", "IDsAreApart"},
	{"keeps an empty record as none", "ARecordIsKeptByteForByte"},
	{"ends a record at a NUL", "ARecordIsKeptByteForByte"},
	{"keeps text", "ARecordIsKeptByteForByte"},
	{"keeps 1 MiB", "ARecordIsKeptByteForByte"},
	{"keeps the caller's slice", "ARecordIsACopy"},
	{"gives its own slice", "ARecordIsACopy"},
	{"never forgets", "ATTLEnds"},
	{"never forgets what is done", "ATTLEnds"},
	{"never forgets what is pending", "ATTLEnds"},
	{"forgets what is done when the lease ends", "ATTLBeginsAnew"},
	{"renews no TTL", "ATTLBeginsAnew"},
	{"begins no TTL when it is done", "ATTLBeginsAnew"},
	{"ignores the context", "ACanceledContextEndsTheCall"},
	{"breaks when a call is canceled", "ACanceledContextEndsTheCall"},
	{"forgets all at a restart", "ARestartForgetsNothing OneWinsAcrossARestart"},
	{"forgets claims at a restart", "ARestartForgetsNothing OneWinsAcrossARestart"},
	{"commits the work at once", "ATransactionIsBothOrNeither ARollbackUndoesTheWork ALateTransactionChangesNothing"},
	{"commits without a record", "ATransactionIsBothOrNeither ALostCommitIsAskedFor OneTransactionWins"},
	{"commits before it asks for the owner", "ALateTransactionChangesNothing ALostCommitIsAskedFor OneTransactionWins"},
	{"Tx.Complete compares no fence", "ALateTransactionChangesNothing"},
	{"completes what was ended", "ARollbackUndoesTheWork"},
	{"rolls back nothing", "ARollbackUndoesTheWork"},
	{"releases what it rolls back", "ARollbackUndoesTheWork"},
	{"does not roll back twice", "ATransactionIsBothOrNeither"},
}

func TestSuiteCatchesFlaws(t *testing.T) {
	proven := map[string]bool{}
	for _, row := range flaws {
		for name := range strings.FieldsSeq(row.caughtBy) {
			p := named(t, name)
			failures := judge(t, p, row.flaw)
			if len(failures) == 0 {
				t.Errorf("%s of a Store that %s reports nothing, want a failure", name, row.flaw)
			}
			proven[name] = true
			if testing.Verbose() && len(failures) > 0 {
				t.Logf("%s: %s: %s", row.flaw, name, failures[0])
			}
		}
	}
	for _, p := range promises {
		if !proven[p.name] {
			t.Errorf("no flaw is caught by %s, want one", p.name)
		}
	}
}

func TestRun(t *testing.T) {
	var f *faulty
	Run(t, Config{
		Virtual: true,
		Open: func(*testing.T) idempotency.Store {
			f = newFaulty("")
			return f
		},
		Restart: func(*testing.T) { f.restart() },
		Work:    func(ctx context.Context, name string) error { return f.work(ctx, name) },
		Worked:  func(_ *testing.T, name string) bool { return f.worked(name) },
	})
}

func named(t *testing.T, name string) promise {
	t.Helper()
	for _, p := range promises {
		if p.name == name {
			return p
		}
	}
	t.Fatalf("there is no promise %s", name)
	panic("unreachable")
}

func newFaulty(flaw string) *faulty { return &faulty{flaw: flaw, records: map[string]*record{}} }

// judge returns what the check of p reports of a Store with the flaw.
func judge(t *testing.T, p promise, flaw string) []string {
	t.Helper()
	var v verdict
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(flaw)
		s := newSuite(t, &v, Config{
			Open:    func(*testing.T) idempotency.Store { return f },
			Restart: func(*testing.T) { f.restart() },
			Work:    f.work,
			Worked:  func(_ *testing.T, name string) bool { return f.worked(name) },
		})
		ended := make(chan struct{})
		go func() { // which FailNow ends
			defer close(ended)
			p.check(s)
		}()
		<-ended
	})
	return v.failures
}

// A verdict is a reporter that keeps what it is told.
type verdict struct {
	mu       sync.Mutex
	failures []string
}

func (v *verdict) Helper()  {}
func (v *verdict) FailNow() { runtime.Goexit() }

func (v *verdict) Errorf(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures = append(v.failures, fmt.Sprintf(format, args...))
}
