package backstay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
)

// told is an error type of another package, that tells what it is.
type told struct {
	details backstay.Error
	inner   []error
}

func (e told) Error() string           { return "told" }
func (e told) Details() backstay.Error { return e.details }
func (e told) Unwrap() []error         { return e.inner }

// patient is an error that knows only a method.
type patient time.Duration

func (p patient) Error() string             { return "patient" }
func (p patient) RetryAfter() time.Duration { return time.Duration(p) }

func TestWhatAnErrorMeans(t *testing.T) {
	const s = time.Second
	notSent := &backstay.Error{Err: errBoom, NotSent: true}
	throttled := &backstay.Error{Err: errBoom, Class: backstay.Throttled, RetryAfter: s, Type: "429"}
	permanent := told{details: backstay.Error{Class: backstay.Permanent, Type: "no"}}
	rows := []struct {
		name    string
		err     error
		class   backstay.Class
		after   time.Duration
		notSent bool
		kind    string
	}{
		{"nil", nil, backstay.Success, 0, false, ""},
		{"plain", errBoom, backstay.Transient, 0, false, "_OTHER"},
		{"canceled", fmt.Errorf("x: %w", context.Canceled), backstay.Canceled, 0, false, "canceled"},
		{"deadline", context.DeadlineExceeded, backstay.Transient, 0, false, "timeout"},
		{"*Error", throttled, backstay.Throttled, s, false, "429"},
		{"wrapped", fmt.Errorf("x: %w", throttled), backstay.Throttled, s, false, "429"},
		{"joined", errors.Join(errBoom, throttled), backstay.Throttled, s, false, "429"},
		{"the first of those joined", errors.Join(permanent, throttled), backstay.Permanent, 0, false, "no"},
		{"detailer", fmt.Errorf("x: %w", permanent), backstay.Permanent, 0, false, "no"},
		{"the outer one is believed", &backstay.Error{Err: throttled, Class: backstay.Broken, RetryAfter: 2 * s, Type: "outer"}, backstay.Broken, 2 * s, false, "outer"},
		{"what it leaves open is filled in", &backstay.Error{Err: fmt.Errorf("x: %w", throttled), NotSent: true}, backstay.Throttled, s, true, "429"},
		{"but not by what it joins", told{inner: []error{errBoom, throttled}}, backstay.Transient, 0, false, "_OTHER"},
		{"no class of its own", &backstay.Error{Err: context.Canceled, Type: "gone"}, backstay.Canceled, 0, false, "gone"},
		{"not sent", fmt.Errorf("x: %w", notSent), backstay.Transient, 0, true, "_OTHER"},
		{"not sent, each of them", errors.Join(notSent, notSent), backstay.Transient, 0, true, "_OTHER"},
		{"not sent, one of them", errors.Join(notSent, errBoom), backstay.Transient, 0, false, "_OTHER"},
		{"not sent, the other one", errors.Join(errBoom, notSent), backstay.Transient, 0, false, "_OTHER"},
		{"method", fmt.Errorf("x: %w", patient(s)), backstay.Transient, s, false, "_OTHER"},
		{"method of the outer one", &backstay.Error{Err: patient(s), RetryAfter: 2 * s}, backstay.Transient, 2 * s, false, "_OTHER"},
		{"method of the inner one", &backstay.Error{Err: patient(s), Class: backstay.Throttled}, backstay.Throttled, s, false, "_OTHER"},
		{"negative", patient(-s), backstay.Transient, 0, false, "_OTHER"},
	}
	for _, r := range rows {
		if got := backstay.Classify(r.err); got != r.class {
			t.Errorf("Classify(%s) = %v, want %v", r.name, got, r.class)
		}
		if got, ok := backstay.RetryAfter(r.err); got != r.after || ok != (r.after > 0) {
			t.Errorf("RetryAfter(%s) = %v, %v, want %v, %v", r.name, got, ok, r.after, r.after > 0)
		}
		if got := backstay.NotSent(r.err); got != r.notSent {
			t.Errorf("NotSent(%s) = %v, want %v", r.name, got, r.notSent)
		}
		if got := backstay.TypeOf(r.err); got != r.kind {
			t.Errorf("TypeOf(%s) = %q, want %q", r.name, got, r.kind)
		}
	}
}

func TestErrorReadsAndComparesAsErr(t *testing.T) {
	err := &backstay.Error{Err: errBoom, Class: backstay.Permanent}
	if err.Error() != "boom" || !errors.Is(err, errBoom) {
		t.Errorf("Error{boom} = %q, errors.Is(boom) = %v, want boom, true", err, errors.Is(err, errBoom))
	}
}

func TestClassesHaveNames(t *testing.T) {
	want := []string{"success", "transient", "throttled", "permanent", "broken", "canceled", "pending", "unknown"}
	for i, w := range want {
		if got := backstay.Class(i).String(); got != w {
			t.Errorf("Class(%d).String() = %q, want %q", i, got, w)
		}
	}
}
