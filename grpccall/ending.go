package grpccall

import (
	"io"
	"sync"
)

// An ending is the end of a stream, told once.
type ending struct {
	mu    sync.Mutex
	after []func(error)
	done  chan struct{} // closed by the end
	err   error         // to be read once done is closed
}

func newEnding() *ending { return &ending{done: make(chan struct{})} }

// with says that the stream is over. The first to say it is heard: gRPC, or the
// caller's having received the end where something between us and gRPC kept our
// options from it.
func (e *ending) with(err error) {
	if err == io.EOF {
		err = nil
	}
	e.mu.Lock()
	if e.isOver() {
		e.mu.Unlock()
		return
	}
	e.err = err
	close(e.done)
	after := e.after
	e.after = nil
	e.mu.Unlock()
	for _, f := range after {
		f(err)
	}
}

// isOver reports whether the stream has ended.
func (e *ending) isOver() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// then calls f with the error that the stream ends with, or has.
func (e *ending) then(f func(error)) {
	e.mu.Lock()
	over := e.isOver()
	if !over {
		e.after = append(e.after, f)
	}
	e.mu.Unlock()
	if over {
		f(e.err)
	}
}
