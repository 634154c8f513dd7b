package idempotency

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The key is free, and the answer says so: nobody has taken over.
func TestAReleaseWhoseAnswerWasLostIsNoTakeover(t *testing.T) {
	for _, expiry := range []OnLeaseExpiry{Fail, Reexecute} {
		synctest.Test(t, func(t *testing.T) {
			p := newProcess(t, GuardConfig{OnLeaseExpiry: expiry}, on("Release", fault{err: errDown, done: true}))
			record, _, err := p.do(t.Context(), func(context.Context) Result { return Result{Record: []byte("busy"), Verdict: Release} })
			if record != "busy" || err != nil {
				t.Errorf("%d: Do = %q, %v, want the record of the work", expiry, record, err)
			}
		})
	}
}

// I-13: the work is done, its owner lives and tries to keep the result.
func TestTheLeaseIsRenewedWhileTheResultIsKept(t *testing.T) {
	for _, expiry := range []OnLeaseExpiry{Fail, Reexecute} {
		synctest.Test(t, func(t *testing.T) {
			full := time.Now().Add(3 * s)
			p := newProcess(t, GuardConfig{OnLeaseExpiry: expiry, Lease: s}, func(operation string, _ int) fault {
				if operation == "Complete" && time.Now().Before(full) {
					return fault{err: errDown}
				}
				return fault{}
			})
			go func() { _, _, _ = p.do(t.Context(), tea) }()
			<-time.After(2 * s) // two leases
			p.want("", false, ErrInProgress)
			<-time.After(2 * s)
			p.want("tea", true, nil)
			wantWorks(t, 1, p)
		})
	}
}

// I-14: who says Fail of a Transactor has effects outside of its transactions,
// which nobody undoes.
func TestWithFailATransactionThatIsUndoneIsNotDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBank()
		b.rule = on("Commit", fault{err: errDown})
		p := newProcess(t, GuardConfig{Store: b, OnLeaseExpiry: Fail}, nil)
		for range 2 {
			if _, _, err := p.do(t.Context(), tea); !errors.Is(err, ErrOutcomeUnknown) {
				t.Errorf("Do = %v, want %v", err, ErrOutcomeUnknown)
			}
		}
		wantWorks(t, 1, p)
	})
}

// I-15
func TestWithFailA500OfATransactorIsKept(t *testing.T) {
	ran := 0
	g := NewGuard(GuardConfig{Store: &transactor{Memory: NewMemory(MemoryConfig{})}, OnLeaseExpiry: Fail})
	h := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran++
		w.WriteHeader(500)
	}), HandlerConfig{Tenant: OneTenant})
	for range 2 {
		if w := post(h, "k", ""); w.Code != 500 {
			t.Errorf("answer = %d, want 500", w.Code)
		}
	}
	if ran != 1 {
		t.Errorf("the handler ran %d times, want 1", ran)
	}
}

// I-14, I-17: a long answer is on its way before the transaction commits. If that
// fails its caller must not have all of it, though the handler has said its
// length.
func TestALongAnswerOfAFailedCommitBreaksOff(t *testing.T) {
	g := NewGuard(GuardConfig{Store: &transactor{Memory: NewMemory(MemoryConfig{}), err: errDown}})
	server := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(1<<16))
		_, _ = w.Write(make([]byte, 1<<16)) // at once, so that it goes out at once
	}), HandlerConfig{Tenant: OneTenant, MaxAnswer: 5}))
	defer server.Close()
	resp, body, err := postTo(t, server, "k")
	if err == nil {
		t.Errorf("answer = %d, %d bytes, want one that breaks off", resp.StatusCode, len(body))
	}
}

// One that waited for the commit has the length that the handler has said.
func TestAnAnswerThatIsCommittedKeepsItsLength(t *testing.T) {
	g := NewGuard(GuardConfig{Store: &transactor{Memory: NewMemory(MemoryConfig{})}})
	w := post(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = w.Write([]byte("hello"))
	}), HandlerConfig{Tenant: OneTenant}), "k", "")
	if got := w.Header().Get("Content-Length"); got != "5" {
		t.Errorf("answer has Content-Length: %s, want 5", got)
	}
}

func TestAMessageWithoutAKeyIsRefused(t *testing.T) {
	_, _, err := NewGuard(GuardConfig{}).Do(t.Context(), Request{Tenant: "t"}, func(context.Context) Result {
		t.Error("the work was done")
		return Result{}
	})
	if !errors.Is(err, ErrMissing) {
		t.Errorf("Do(no key) = %v, want %v", err, ErrMissing)
	}
}
