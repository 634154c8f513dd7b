// Package body holds and drains the bodies of results.
package body

import (
	"io"
	"sync/atomic"
	"time"
)

// What is read of a body that nobody wants, so that its connection can be used
// again, and how long that may take.
const (
	drainBytes = 64 << 10
	drainTime  = 50 * time.Millisecond
)

// Drain reads what is left of b, within bounds, and closes it.
//
// A gzipped body of net/http that has sent nothing yet cannot be closed while
// it is read. It is then left to whoever cancels its request.
func Drain(b io.ReadCloser) {
	if within(drainTime, func() { _, _ = io.CopyN(io.Discard, b, drainBytes) }) {
		b.Close()
		return
	}
	within(drainTime/10, func() { b.Close() })
}

// within runs f and reports whether it has ended in the time d. It goes on if
// it has not.
func within(d time.Duration, f func()) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-ended:
		return true
	case <-late.C:
		return false
	}
}

// Hold returns b so that done is called once, when b has been read to its end,
// has failed, or is closed. It is an io.Writer if b is one.
func Hold(b io.ReadCloser, done func(error)) io.ReadCloser {
	h := &held{ReadCloser: b, done: done}
	if w, ok := b.(io.Writer); ok {
		return &heldWriter{held: h, Writer: w}
	}
	return h
}

type held struct {
	io.ReadCloser
	done func(error)
	over atomic.Bool
}

func (h *held) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if err == io.EOF {
		h.end(nil)
	} else if err != nil {
		h.end(err)
	}
	return n, err
}

func (h *held) Close() error {
	defer h.end(nil)
	return h.ReadCloser.Close()
}

func (h *held) end(err error) {
	if !h.over.Swap(true) {
		h.done(err)
	}
}

// heldWriter is the body of a 101 response, which is written to as well. It is
// over only when it is closed: the two directions end apart.
type heldWriter struct {
	*held
	io.Writer
}

func (h *heldWriter) Read(p []byte) (int, error) { return h.ReadCloser.Read(p) }
