package storetest

import (
	"bytes"
	"time"
)

func completionCanBeRepeated(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.complete(first, "the record", nil)
	s.complete(first, "the record", nil)
	s.done(first.next("second"), "the record")
	s.renew(first, nil) // one that was under way
	s.renew(first.with(0), nil)
	s.done(first.next("third").takingOver(), "the record")
}

func completedKeyIsNotReleased(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	s.complete(first, "the record", nil)
	s.release(first, lost)
	s.release(first.next("second"), lost)
	s.done(first.next("third"), "the record")
}

func recordIsKept(s *suite) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	rows := map[string][]byte{
		"nil":          nil,
		"empty":        {},
		"one NUL":      {0},
		"NULs":         make([]byte, 1000),
		"a newline":    []byte("\r\n"),
		"like a hex":   []byte(`\x00ff`),
		"not UTF-8":    {0xc3, 0x28, 0xff, 0xfe},
		"every byte":   every,
		"1 MiB, 4 KiB": bytes.Repeat(every, (1<<20+4<<10)/len(every)),
	}
	for name, record := range rows {
		o := newOwner(name)
		s.claim(o, claimed)
		s.wantErr("Complete", o, s.store.Complete(s.ctx, o.Claim, record), nil)
		if a := s.claim(o.next(name), isDone); differ(a.Record, record) != "" {
			s.Errorf("Claim(%v) = %v: %s", o, show(a, nil), differ(a.Record, record))
		}
	}
}

// recordIsACopy: a caller may do with its slices what it likes.
func recordIsACopy(s *suite) {
	first := newOwner("first")
	s.claim(first, claimed)
	record := []byte("the record")
	s.wantErr("Complete", first, s.store.Complete(s.ctx, first.Claim, record), nil)
	clear(record)
	a := s.claim(first.next("second"), isDone)
	if string(a.Record) != "the record" {
		s.Errorf("Claim(second) = %v, want what the record was when it was completed", show(a, nil))
	}
	clear(a.Record)
	s.done(first.next("third"), "the record")
}

func ttlEnds(s *suite) {
	start := time.Now()
	pending := newOwner("pending").keeping(s.lease)
	s.claim(pending, claimed)
	second := pending.next("second").keeping(time.Hour).changed()
	s.until(second, start, s.lease, mismatch, claimed)
	s.lost(pending)
	s.complete(second, "the second's", nil)

	done := newOwner("done")
	s.claim(done, claimed)
	start = time.Now()
	s.complete(done.keeping(s.lease), "the record", nil)
	second = done.next("second")
	s.until(second, start, s.lease, isDone, claimed)
	s.lost(done)
	s.complete(second, "the second's", nil)

	renewed := newOwner("renewed")
	s.claim(renewed, claimed)
	start = time.Now()
	s.renew(renewed.keeping(s.lease), nil)
	s.until(renewed.next("second").changed(), start, s.lease, mismatch, claimed)
}

// ttlBeginsAnew needs the Store to answer within a TTL, and gives one that does
// not several chances.
func ttlBeginsAnew(s *suite) {
	for range 10 {
		start := time.Now()
		o := make([]owner, 3)
		for i := range o {
			o[i] = newOwner("first")
			s.claim(o[i].keeping(s.lease), claimed)
		}
		errs := [...]error{
			s.store.Renew(s.ctx, o[0].Claim),
			s.store.Complete(s.ctx, o[1].Claim, []byte("the record")),
		}
		s.claim(o[2], claimed)
		if time.Since(start) > s.lease*9/10 {
			continue
		}
		s.wantErr("Renew", o[0], errs[0], nil)
		s.wantErr("Complete", o[1], errs[1], nil)
		s.wait(s.lease)
		s.claim(o[0].next("second").changed(), mismatch)
		s.done(o[1].next("second"), "the record")
		s.claim(o[2].next("second").changed(), mismatch)
		return
	}
	s.Errorf("Claim(first), Renew and Complete took more than %v, 10 times; want a longer Config.Lease", s.lease)
}
