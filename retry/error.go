package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay"
)

// maxEarlier bounds Error.Earlier.
const maxEarlier = 8

// An Error is the end of a call that was to be made more than once. It reads as
// the last failure with the count of attempts behind it, and errors.Is and As
// reach that failure and the earlier ones.
//
// A call that was made once, and was not to be made again, ends with its own
// error as it is.
type Error struct {
	// Attempts is how many were made, the first included. What the policy
	// turned away, as an open breaker does, is not counted.
	Attempts int

	// Elapsed is how long the call took, with its pauses. A success costs
	// nothing because nobody reads the clock for it, so the first attempt
	// counts only in a stack that reads it anyway, as timeout and breaker do;
	// else the time runs from the end of the first attempt.
	Elapsed time.Duration

	// Err is why it ended: the failure of the last attempt, or the end of the
	// caller's context.
	Err error

	// Earlier are the other failures, the oldest first, at most the last 8. If
	// the policy itself turned the retry away, its error is the last of them.
	Earlier []error
}

// Error returns the text of Err and the number of attempts.
func (e *Error) Error() string {
	plural := "s"
	if e.Attempts == 1 {
		plural = ""
	}
	return fmt.Sprintf("%v (%d attempt%s, %v)", e.Err, e.Attempts, plural, e.Elapsed.Round(time.Microsecond))
}

// Unwrap returns Err and then the earlier failures, the latest first.
func (e *Error) Unwrap() []error {
	all := []error{e.Err}
	for i := len(e.Earlier) - 1; i >= 0; i-- {
		all = append(all, e.Earlier[i])
	}
	return all
}

// Timeout reports whether Err is a timeout. With Temporary it makes the Error a
// net.Error: url.Error and others ask the outermost error alone.
func (e *Error) Timeout() bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && t.Timeout()
}

// Temporary reports the same as Timeout.
func (e *Error) Temporary() bool { return e.Timeout() }

// Details tells policies what Err does. Without it an earlier failure would
// speak where Err is silent. That nothing was sent takes all of them to say.
func (e *Error) Details() backstay.Error {
	after, _ := backstay.RetryAfter(e.Err)
	return backstay.Error{
		Class:      backstay.Classify(e.Err),
		RetryAfter: after,
		NotSent:    backstay.NotSent(errors.Join(e.Unwrap()...)),
		Type:       backstay.TypeOf(e.Err),
	}
}

// Permanent marks err as one that another attempt will not change, whatever
// Config.If says. The caller of the policy gets err itself. nil stays nil.
//
// Where err is wrapped again outside the mark, the caller gets it as it is,
// with the mark inside.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

func (p *permanent) Details() backstay.Error { return backstay.Error{Class: backstay.Permanent} }

// plain returns err without the marks of permanence around it.
func plain(err error) error {
	for {
		switch e := err.(type) {
		case *permanent:
			err = e.error
			continue
		case *backoff.PermanentError:
			if e.Err != nil {
				err = e.Err
				continue
			}
		}
		return err
	}
}

// canceled returns err so that errors.Is finds the end of ctx and its cause in
// it.
func canceled(ctx context.Context, err error) error {
	if end := ctx.Err(); !errors.Is(err, end) {
		err = fmt.Errorf("%w: %w", end, err)
	}
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return err
}
