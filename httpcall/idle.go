package httpcall

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// An idleBody is a response body that is closed when a Read has to wait too
// long.
type idleBody struct {
	io.ReadCloser
	limit   time.Duration
	expired atomic.Bool
}

func (b *idleBody) Read(p []byte) (int, error) {
	t := time.AfterFunc(b.limit, func() {
		b.expired.Store(true)
		b.Close()
	})
	n, err := b.ReadCloser.Read(p)
	t.Stop()
	if err != nil && err != io.EOF && b.expired.Load() {
		err = &IdleError{b.limit}
	}
	return n, err
}

// An IdleError is what reading a response body ends with that has brought
// nothing for Config.BodyIdle. It is context.DeadlineExceeded to errors.Is, and
// a net.Error that is a timeout.
type IdleError struct{ Limit time.Duration }

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
