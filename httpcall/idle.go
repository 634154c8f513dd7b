package httpcall

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/internal/body"
)

// An idleTransport ends a response when its body is closed, whoever still reads
// it, or brings nothing for too long.
type idleTransport struct {
	base  http.RoundTripper
	limit time.Duration // 0 means none
}

// RoundTrip gives the response a context of its own: to close a body does not
// end a Read that waits for the beginning of a compressed one.
func (t *idleTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	switch {
	case err != nil || resp == nil:
		cancel(nil)
	case resp.Body == nil || resp.Body == http.NoBody:
		cancel(nil)
	case resp.StatusCode == http.StatusSwitchingProtocols: // may well be silent
		resp.Body = body.Hold(resp.Body, func(error) { cancel(nil) })
	default:
		resp.Body = &idleBody{ReadCloser: resp.Body, limit: t.limit, cancel: cancel}
	}
	return resp, err
}

// An idleBody is a response body whose request is cancelled when it is closed or
// when a Read has to wait too long.
type idleBody struct {
	io.ReadCloser
	limit   time.Duration
	cancel  context.CancelCauseFunc
	expired atomic.Bool
}

func (b *idleBody) Read(p []byte) (int, error) {
	if b.limit > 0 {
		defer time.AfterFunc(b.limit, b.expire).Stop()
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && b.expired.Load() {
		err = &IdleError{b.limit}
	}
	if err != nil {
		b.cancel(nil)
	}
	return n, err
}

// expire also closes the body, for a transport that does not look at the
// context any more.
func (b *idleBody) expire() {
	b.expired.Store(true)
	b.cancel(&IdleError{b.limit})
	b.ReadCloser.Close()
}

// Close cancels first: while net/http reads the beginning of a compressed body,
// closing that waits for it.
func (b *idleBody) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}

// An IdleError is what reading a response body ends with that has brought
// nothing for Config.BodyIdle. It is context.DeadlineExceeded to errors.Is, and
// a net.Error that is a timeout.
type IdleError struct {
	// Limit is the time that was allowed.
	Limit time.Duration
}

// Error says which limit it was.
func (e *IdleError) Error() string {
	return fmt.Sprintf("httpcall: nothing more of the response body came for %v", e.Limit)
}

// Is reports whether target is context.DeadlineExceeded.
func (e *IdleError) Is(target error) bool { return target == context.DeadlineExceeded }

// Timeout returns true, as net.Error asks.
func (e *IdleError) Timeout() bool { return true }

// Temporary returns true, as net.Error asks.
func (e *IdleError) Temporary() bool { return true }
