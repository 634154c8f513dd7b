package transfers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/backstay-go/backstay/idempotency"
)

// A Bank makes the transfers that it is sent, behind a Guard.
type Bank struct {
	Guard  idempotency.GuardConfig
	Ledger Ledger

	// At is told of each Step of each transfer. nil means nobody.
	At func(Step)
}

// A Step is a moment in the making of a transfer.
type Step string

const (
	// BeforeEffect: the key is claimed.
	BeforeEffect Step = "before the effect"
	// AfterEffect: the money is moved, in a transaction if there is one.
	AfterEffect Step = "between effect and record"
	// BeforeCommit: the record is in the transaction.
	BeforeCommit Step = "between record and commit"
	// AfterCommit: the database has committed.
	AfterCommit Step = "after the commit"
	// AfterRecord: the record is kept and the answer not sent.
	AfterRecord Step = "after the record"
)

func (b Bank) at(s Step) {
	if b.At != nil {
		b.At(s)
	}
}

// Handler returns the handler of the bank.
func (b Bank) Handler() http.Handler {
	tell := b.Guard.OnEvent
	b.Guard.OnEvent = func(ctx context.Context, e idempotency.Event) {
		if e.Kind == idempotency.Executed {
			b.at(AfterRecord)
		}
		if tell != nil {
			tell(ctx, e)
		}
	}
	guard := idempotency.NewGuard(b.Guard)
	return guard.Handler(http.HandlerFunc(b.transfer), idempotency.HandlerConfig{Tenant: idempotency.OneTenant})
}

func (b Bank) transfer(w http.ResponseWriter, r *http.Request) {
	var t Transfer
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.at(BeforeEffect)
	switch err := b.Ledger.Apply(r.Context(), t); {
	case errors.Is(err, ErrInDoubt):
		// Whatever it answered would be kept as the truth.
		panic(http.ErrAbortHandler)
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	b.at(AfterEffect)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(t) // a client that has gone will ask again
}
