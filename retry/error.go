package retry

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay"
)

// maxEarlier bounds Error.Earlier.
const maxEarlier = 8

// An Error is the end of a call that was made more than once. It reads as the
// last failure with the count of attempts behind it, and errors.Is and As reach
// that failure and the earlier ones.
//
// A call that was made once ends with its own error, as it is.
type Error struct {
	// Attempts is how many were made, the first included.
	Attempts int
	// Elapsed is how long the call took, with its pauses.
	Elapsed time.Duration
	// Err is why it ended: the failure of the last attempt, or the end of the
	// caller's context.
	Err error
	// Earlier are the failures before, the oldest first, at most the last 8.
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

// Permanent marks err as one that another attempt will not change. The caller
// of the policy gets err itself. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

func (p *permanent) Details() backstay.Error { return backstay.Error{Class: backstay.Permanent} }

// plain returns err without a mark of permanence around it.
func plain(err error) error {
	switch e := err.(type) {
	case *permanent:
		return e.error
	case *backoff.PermanentError:
		return e.Err
	}
	return err
}
