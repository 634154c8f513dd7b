package transfers

import (
	"errors"
	"fmt"
	"testing"

	"github.com/backstay-go/backstay/idempotency"
)

// An outcome is what clients were told of their transfers.
type outcome struct {
	made    []Transfer // told that it was made
	unknown []Transfer // told that nobody knows
	failed  []error    // told anything else
}

// add notes that the client of t was told err.
func (o *outcome) add(t Transfer, err error) {
	switch {
	case err == nil:
		o.made = append(o.made, t)
	case errors.Is(err, idempotency.ErrOutcomeUnknown):
		o.unknown = append(o.unknown, t)
	default:
		o.failed = append(o.failed, fmt.Errorf("%s: %w", t.ID, err))
	}
}

// audit compares what is in the ledger with what clients were told: what they
// were told is made was made once, and nothing was made twice.
func audit(t testing.TB, l Ledger, o outcome) (found findings) {
	t.Helper()
	book, err := l.Read(t.Context())
	if err != nil {
		t.Fatalf("Read = %v, want nil", err)
	}
	want := NewBook()
	for _, tr := range o.made {
		found.count(book.Entries[tr.ID], 1)
		want.applyTimes(tr, book.Entries[tr.ID])
	}
	for _, tr := range o.unknown {
		found.count(book.Entries[tr.ID], 0)
		want.applyTimes(tr, book.Entries[tr.ID])
	}
	if found.twice > 0 {
		t.Errorf("%d transfers were made more than once, want none", found.twice)
	}
	if found.lost > 0 {
		t.Errorf("%d transfers were not made although the client was told so, want none", found.lost)
	}
	if n, all := len(book.Entries), len(want.Entries); n != all {
		t.Errorf("the ledger has the entries of %d transfers, want %d", n, all)
	}
	if book.Balances != want.Balances {
		t.Errorf("balances are %v, want %v", book.Balances, want.Balances)
	}
	var sum int64
	for _, b := range book.Balances {
		sum += b
	}
	if sum != Accounts*Opening {
		t.Errorf("the sum of balances is %d, want %d", sum, Accounts*Opening)
	}
	for _, err := range o.failed[:min(3, len(o.failed))] {
		t.Errorf("%d clients failed, want none: %v", len(o.failed), err)
	}
	return found
}

func (b *Book) applyTimes(t Transfer, n int) {
	for range n {
		b.apply(t)
	}
}

// findings are what an audit has found.
type findings struct{ twice, lost int }

func (f *findings) count(entries, least int) {
	switch {
	case entries > 1:
		f.twice++
	case entries < least:
		f.lost++
	}
}
