package idempotency

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
)

// Work whose answer cannot be repeated is done once like any other.
func TestWhoAsksAgainForWhatIsNotKeptIsToldThatItWasDone(t *testing.T) {
	for _, verdict := range []Verdict{Commit, Reject} {
		p := newProcess(t, GuardConfig{}, nil)
		long := func(context.Context) Result {
			return Result{Record: []byte("a long answer"), Verdict: verdict, NotKept: true}
		}
		if got, again, err := p.do(t.Context(), long); got != "a long answer" || again || err != nil {
			t.Errorf("Do = %q, %v, %v, want the answer itself", got, again, err)
		}
		p.want("", false, ErrNotKept)
		wantWorks(t, 1, p)
	}
}

func TestWhatIsReleasedIsDoneAgainThoughItIsNotKept(t *testing.T) {
	p := newProcess(t, GuardConfig{}, nil)
	if _, _, err := p.do(t.Context(), func(context.Context) Result { return Result{Verdict: Release, NotKept: true} }); err != nil {
		t.Errorf("Do = %v, want nil", err)
	}
	p.want("tea", false, nil)
}

func TestAnAdapterRefusesAsTheGuardDoes(t *testing.T) {
	var told []Event
	g := NewGuard(GuardConfig{OnEvent: func(_ context.Context, e Event) { told = append(told, e) }})
	for _, is := range []error{ErrMissing, ErrTooLarge, ErrNoTenant} {
		told = nil
		err := g.Refuse(t.Context(), is, "do this")
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, is) || e.Detail != "do this" {
			t.Errorf("Refuse(%v) = %#v, want an *Error that is it", is, err)
		}
		if len(told) != 1 || told[0].Kind != Refused || told[0].Err != err {
			t.Errorf("Refuse(%v) told %v, want that it was refused", is, told)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Refuse(ErrLeaseLost) returned, want a panic")
		}
	}()
	_ = g.Refuse(t.Context(), ErrLeaseLost, "")
}

func TestARecordThatAnAdapterCannotReadIsAFailureOfTheStore(t *testing.T) {
	var told []Event
	g := NewGuard(GuardConfig{OnEvent: func(_ context.Context, e Event) { told = append(told, e) }})
	unread := errors.New("no head")
	if err := g.Unreadable(t.Context(), unread); !errors.Is(err, ErrNotKept) {
		t.Errorf("Unreadable = %v, want %v", err, ErrNotKept)
	}
	if len(told) != 1 || told[0].Kind != StoreFailed || told[0].Err != unread {
		t.Errorf("Unreadable told %v, want that the store failed", told)
	}
}

func TestUndoes(t *testing.T) {
	for _, row := range []struct {
		name string
		cfg  GuardConfig
		want bool
	}{
		{"Memory", GuardConfig{}, false},
		{"Memory with Reexecute", GuardConfig{OnLeaseExpiry: Reexecute}, false},
		{"Transactor", GuardConfig{Store: newBank()}, true},
		{"Transactor with Fail", GuardConfig{Store: newBank(), OnLeaseExpiry: Fail}, false},
	} {
		if got := NewGuard(row.cfg).Undoes(); got != row.want {
			t.Errorf("Undoes with %s = %v, want %v", row.name, got, row.want)
		}
	}
}

// The answers of other protocols have no status of HTTP.
func TestAnErrorWithoutAStatusIsKnownByItsType(t *testing.T) {
	e := &Error{Type: newError(ErrInProgress, "", 0).Type, RetryAfter: time.Second}
	if !errors.Is(e, ErrInProgress) || e.Error() != ErrInProgress.Error() {
		t.Errorf("Error() = %q, want %q", e, ErrInProgress)
	}
	if got := e.Details(); got.Class != backstay.Pending || got.RetryAfter != time.Second {
		t.Errorf("Details() = %+v, want Pending after 1s", got)
	}
}
