package backstay

import (
	"context"
	"errors"
	"time"
)

// A Class says what an error means for policy.
type Class uint8

// The classes of errors.
const (
	// Success: no error.
	Success Class = iota
	// Transient: the callee failed, and another try may succeed.
	Transient
	// Throttled: the callee is well and asks for fewer calls. Another try may
	// succeed, later. It opens no breaker; a balancer counts it, for another
	// endpoint may have room.
	Throttled
	// Permanent: the callee answered, with a no that another try will not
	// change: not found, not allowed, malformed. It is not the callee's failure.
	Permanent
	// Broken: the callee failed in a way that another try will not mend, such
	// as a certificate that does not verify. It counts against its health.
	Broken
	// Canceled: somebody lost interest in the call. It tells nothing about the
	// callee.
	Canceled
	// Pending: the callee is well, and still at work on an earlier attempt with
	// the same idempotency key. Another try, later, gets what came of that.
	Pending
)

// String returns the name of the class in lower case.
func (c Class) String() string {
	names := [...]string{"success", "transient", "throttled", "permanent", "broken", "canceled", "pending"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// An Error tells policies more than its text does. It reads, unwraps and
// compares as Err.
type Error struct {
	// Err is the error itself. It must not be nil.
	Err error
	// Class is what Err means for policy; Success stands for the class that
	// Err has by itself.
	Class Class
	// RetryAfter is how long the callee asked to be left alone; 0 if it did
	// not say.
	RetryAfter time.Duration
	// NotSent reports that the call never left this process, so that nothing
	// can have been done.
	NotSent bool
	// Type is a short name from a fixed set for spans and metrics, such as
	// "connection_refused". It never holds an identifier.
	Type string
}

// Error returns the text of Err.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// A Detailer is an error that tells what an Error does, for packages that have
// error types of their own. Err of the details is ignored. What they leave open
// is filled in from the error that it unwraps to; one that unwraps to several
// speaks for all of them.
type Detailer interface {
	error
	Details() Error
}

// Classify returns what err means for policy: what the first *Error or
// Detailer in its tree says, else Canceled for context.Canceled, else
// Transient, which is what most errors of calls between services are.
func Classify(err error) Class {
	if err == nil {
		return Success
	}
	if d, _ := details(err); d.Class != Success {
		return d.Class
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	return Transient
}

// NotSent reports whether err says that the call never left this process. Of
// errors that are joined, each has to.
func NotSent(err error) bool {
	d, _ := details(err)
	return d.NotSent
}

// RetryAfter returns how long the callee asked to be left alone, and whether
// it did. Besides *Error and Detailer it understands every error that has a
// RetryAfter() time.Duration method.
func RetryAfter(err error) (time.Duration, bool) {
	d, _ := details(err)
	return d.RetryAfter, d.RetryAfter > 0
}

// TypeOf returns the name of err for spans and metrics: what the error says,
// "timeout" or "canceled" for those, else "_OTHER".
func TypeOf(err error) string {
	d, _ := details(err)
	switch {
	case err == nil:
		return ""
	case d.Type != "":
		return d.Type
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "_OTHER"
}

// details returns what the errors in err's tree tell, and whether any does. Of
// two that tell the same thing the outer one is believed.
func details(err error) (d Error, told bool) {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		d, told = details(e.Unwrap())
	case interface{ Unwrap() []error }:
		if own, ok := err.(Detailer); ok {
			return own.Details(), true
		}
		d, told = joined(e.Unwrap())
	}
	switch e := err.(type) {
	case *Error:
		return e.over(d), true
	case Detailer:
		own := e.Details()
		return own.over(d), true
	case interface{ RetryAfter() time.Duration }:
		own := Error{RetryAfter: max(e.RetryAfter(), 0)}
		return own.over(d), true
	}
	return d, told
}

// joined returns what the first of the errors that tells anything tells. That a
// call was not sent holds only if all say so: the errors may be of several
// attempts.
func joined(errs []error) (first Error, told bool) {
	sent := false
	for _, err := range errs {
		d, ok := details(err)
		if ok && !told {
			first, told = d, true
		}
		sent = sent || !d.NotSent
	}
	first.NotSent = told && !sent
	return first, told
}

// over returns e with what it leaves open filled in from inner.
func (e *Error) over(inner Error) Error {
	if e.Class != Success {
		inner.Class = e.Class
	}
	if e.RetryAfter != 0 {
		inner.RetryAfter = e.RetryAfter
	}
	if e.Type != "" {
		inner.Type = e.Type
	}
	inner.NotSent = inner.NotSent || e.NotSent
	return inner
}
