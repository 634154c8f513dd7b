package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// claim wants the Store to answer o's claim with a State.
func (s *suite) claim(o owner, want idempotency.State) idempotency.Answer {
	s.Helper()
	a, err := s.store.Claim(s.ctx, o.Claim)
	if err != nil || a.State != want {
		s.Errorf("Claim(%v) = %v, want %v", o, show(a, err), want)
		s.FailNow()
	}
	if fault := faultOf(a, o.Claim); fault != "" {
		s.Errorf("Claim(%v) = %v, want %s", o, show(a, nil), fault)
	}
	return a
}

// done wants the Store to answer o's claim with a record.
func (s *suite) done(o owner, record string) {
	s.Helper()
	if a := s.claim(o, idempotency.Done); string(a.Record) != record {
		s.Errorf("Claim(%v) = %v, want done: %s", o, show(a, nil), quote([]byte(record)))
	}
}

// faultOf says what an answer to c should have, whatever its State is.
func faultOf(a idempotency.Answer, c idempotency.Claim) string {
	switch {
	case a.State == idempotency.InProgress && (a.LeaseLeft <= 0 || a.LeaseLeft > c.Lease):
		return fmt.Sprintf("more than 0 and at most %v of the lease left", c.Lease)
	case a.State != idempotency.InProgress && a.LeaseLeft != 0:
		return "no lease left"
	case a.State == idempotency.Done && a.Record == nil:
		return "a record that is not nil"
	case a.State != idempotency.Done && a.Record != nil:
		return "no record"
	}
	return ""
}

func (s *suite) renew(o owner, want error) {
	s.Helper()
	s.wantErr("Renew", o, s.store.Renew(s.ctx, o.Claim), want)
}

func (s *suite) complete(o owner, record string, want error) {
	s.Helper()
	s.wantErr("Complete", o, s.store.Complete(s.ctx, o.Claim, []byte(record)), want)
}

func (s *suite) release(o owner, want error) {
	s.Helper()
	s.wantErr("Release", o, s.store.Release(s.ctx, o.Claim), want)
}

func (s *suite) wantErr(method string, o owner, err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("%s(%v) = %v, want %v", method, o, err, want)
	}
}

// lost wants o to be the owner of nothing.
func (s *suite) lost(o owner) {
	s.Helper()
	s.renew(o, idempotency.ErrLeaseLost)
	s.renew(o.with(0), idempotency.ErrLeaseLost)
	s.complete(o, "a late record", idempotency.ErrLeaseLost)
	s.release(o, idempotency.ErrLeaseLost)
}

// wait waits until a time of d that began before now has ended, by the clock of
// the Store too, which may count in milliseconds.
func (s *suite) wait(d time.Duration) { <-time.After(d + d/20 + 2*time.Millisecond) }

// until claims for o again and again, and wants the Store to give one answer for
// d from start on, and then another.
func (s *suite) until(o owner, start time.Time, d time.Duration, first, then idempotency.State) {
	s.Helper()
	for {
		a, err := s.store.Claim(s.ctx, o.Claim)
		// Both are taken where they make d longer, but clocks run apart a little.
		elapsed := time.Since(start) + time.Millisecond
		switch {
		case err == nil && a.State == then && elapsed >= d:
			return
		case err != nil || a.State != first:
			s.Errorf("Claim(%v) = %v after %v, want %v for %v and then %v", o, show(a, err), elapsed, first, d, then)
			s.FailNow()
		case elapsed > d+10*time.Second:
			s.Errorf("Claim(%v) = %v after %v, want %v after %v", o, show(a, err), elapsed, then, d)
			s.FailNow()
		}
		<-time.After(s.lease / 10)
	}
}

// show returns the text of what Claim returned.
func show(a idempotency.Answer, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case a.LeaseLeft != 0:
		return fmt.Sprintf("%v, %v left", a.State, a.LeaseLeft)
	case a.Record != nil:
		return fmt.Sprintf("%v: %s", a.State, quote(a.Record))
	}
	return a.State.String()
}

// quote returns the text of a record, shortened if it is long.
func quote(record []byte) string {
	if len(record) <= 40 {
		return fmt.Sprintf("%q", record)
	}
	return fmt.Sprintf("%q and %d bytes more", record[:16], len(record)-16)
}

// differ says where two records first differ.
func differ(got, want []byte) string {
	if bytes.Equal(got, want) {
		return ""
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("byte %d is %#x, want %#x", i, got[i], want[i])
		}
	}
	return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
}
