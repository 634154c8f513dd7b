package retry_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

//
func TestPermanent(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("get: %w", err) }
	for _, row := range []struct {
		name     string
		err      error
		want     error  // the result itself, where it is comparable
		wantText string // else its text
	}{
		{"retry.Permanent", retry.Permanent(errSick), errSick, ""},
		{"backoff.Permanent", backoff.Permanent(errSick), errSick, ""},
		{"both", retry.Permanent(backoff.Permanent(errSick)), errSick, ""},
		{"wrapped outside", wrap(retry.Permanent(errSick)), nil, "get: sick"},
		{"wrapped inside", retry.Permanent(wrap(errSick)), nil, "get: sick"},
		{"of backoff, wrapped outside", wrap(backoff.Permanent(errSick)), nil, "get: sick"},
		{"around nothing", &backoff.PermanentError{Err: nil}, nil, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(func() error { return row.err })
			defer func() { recover() }() // a PermanentError of nil has no text
			err := c.bind(retry.New(every(ms)))(t.Context())
			if c.attempts() != 1 || err == nil {
				t.Errorf("Do(%s) made %d attempts and returned nil: %v, want 1 and the error", row.name, c.attempts(), err == nil)
			}
			if row.want != nil && err != row.want || row.wantText != "" && err.Error() != row.wantText {
				t.Errorf("Do(%s) = %v, want %v%s", row.name, err, row.want, row.wantText)
			}
			if row.want != nil || row.wantText != "" {
				is(t, err, errSick)
			}
		})
	}
	if err := retry.Permanent(nil); err != nil {
		t.Errorf("Permanent(nil) = %v, want nil", err)
	}
	if got := backstay.Classify(retry.Permanent(errSick)); got != backstay.Permanent {
		t.Errorf("Classify(Permanent(err)) = %v, want permanent", got)
	}
}

// H-24: the error of a call that ran out of attempts.
func TestErrorOfManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, last := errors.New("first"), errors.New("second"), errors.New("last")
		c := newCallee(
			func() error { return first },
			func() error { <-time.After(5 * ms); return second },
			func() error { return last },
		)
		err := c.bind(retry.New(every(10 * ms)))(t.Context())
		e, ok := errors.AsType[*retry.Error](err)
		if !ok || e.Attempts != 3 || e.Elapsed != 25*ms || e.Err != last {
			t.Errorf("Do = %#v, want 3 attempts, 25ms, and the last failure", err)
		}
		for _, cause := range []error{first, second, last} {
			is(t, err, cause)
		}
		if got, want := err.Error(), "last (3 attempts, 25ms)"; got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
	})
}

// Elapsed has the first attempt in it where something has read the clock.
func TestElapsed(t *testing.T) {
	for _, row := range []struct {
		name  string
		stack []backstay.Middleware
		want  time.Duration
	}{
		{"retry alone", []backstay.Middleware{retry.New(every(ms))}, 22 * ms},
		{"under timeout", []backstay.Middleware{timeout.Call(s), retry.New(every(ms))}, 32 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCallee(func() error { <-time.After(10 * ms); return errSick })
			e, _ := errors.AsType[*retry.Error](c.bind(row.stack...)(t.Context()))
			if e.Elapsed/ms*ms != row.want {
				t.Errorf("Elapsed of three attempts of 10ms, %s = %v, want %v", row.name, e.Elapsed, row.want)
			}
		})
	}
}

func TestOnlyTheLastFailuresAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := newCallee(func() error { n++; return fmt.Errorf("failure %d", n) })
		cfg := every(ms)
		cfg.MaxAttempts = 20
		e, _ := errors.AsType[*retry.Error](c.bind(retry.New(cfg))(t.Context()))
		if len(e.Earlier) != 8 || e.Earlier[0].Error() != "failure 12" || e.Err.Error() != "failure 20" {
			t.Errorf("Earlier of 20 failures = %v before %v, want failures 12 to 19 before 20", e.Earlier, e.Err)
		}
	})
}

func TestOneAttemptHasItsOwnError(t *testing.T) {
	c := newCallee(func() error { return &backstay.Error{Err: errSick, Class: backstay.Broken} })
	err := c.bind(retry.New(retry.Config{}))(t.Context())
	if e, ok := err.(*backstay.Error); !ok || e.Err != errSick {
		t.Errorf("Do(broken) = %#v, want the function's error itself", err)
	}
}

// An earlier failure does not speak for the last, except on whether anything
// was sent.
func TestErrorMeansWhatTheLastFailureMeans(t *testing.T) {
	refused := &backstay.Error{Err: errSick, Class: backstay.Broken, RetryAfter: s, NotSent: true, Type: "refused"}
	for _, row := range []struct {
		last, earlier error
		class         backstay.Class
		after         time.Duration
		notSent       bool
		kind          string
	}{
		{errSick, refused, backstay.Transient, 0, false, "_OTHER"},
		{refused, errSick, backstay.Broken, s, false, "refused"},
		{refused, refused, backstay.Broken, s, true, "refused"},
		{context.Canceled, refused, backstay.Canceled, 0, false, "canceled"},
	} {
		err := fmt.Errorf("get: %w", &retry.Error{Attempts: 2, Err: row.last, Earlier: []error{row.earlier}})
		if got := backstay.Classify(err); got != row.class {
			t.Errorf("Classify(%v after %v) = %v, want %v", row.last, row.earlier, got, row.class)
		}
		if got, ok := backstay.RetryAfter(err); got != row.after || ok != (row.after > 0) {
			t.Errorf("RetryAfter(%v after %v) = %v, %v, want %v", row.last, row.earlier, got, ok, row.after)
		}
		if got := backstay.NotSent(err); got != row.notSent {
			t.Errorf("NotSent(%v after %v) = %v, want %v", row.last, row.earlier, got, row.notSent)
		}
		if got := backstay.TypeOf(err); got != row.kind {
			t.Errorf("TypeOf(%v after %v) = %q, want %q", row.last, row.earlier, got, row.kind)
		}
	}
}

// H-28: url.Error asks its Err alone.
func TestErrorOfTimeoutsIsATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			err  error
			want bool
		}{{errSick, false}, {context.DeadlineExceeded, true}, {&timeout.Error{Scope: "attempt"}, true}} {
			c := newCallee(func() error { return row.err })
			err := &url.Error{Err: c.bind(retry.New(every(ms)))(t.Context())}
			if c.attempts() != 3 || err.Timeout() != row.want {
				t.Errorf("Timeout() of %v = %v, want %v", err.Err, err.Timeout(), row.want)
			}
		}
	})
}
