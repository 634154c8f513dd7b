package grpccall

import "sync"

// An ending is the end of a stream, told once. The zero value is one that has
// not been told.
type ending struct {
	mu    sync.Mutex
	over  bool
	err   error
	after []func(error)
	room  [2]func(error) // for what most have
}

// with says that the stream is over, with an error or without. The first to say
// it is heard: gRPC, or the caller's having received the end where something
// between us and gRPC kept our options from it.
func (e *ending) with(err error) {
	e.mu.Lock()
	if e.over {
		e.mu.Unlock()
		return
	}
	e.over, e.err = true, err
	after := e.after
	e.after = nil
	e.mu.Unlock()
	for _, f := range after {
		f(err)
	}
}

// retract takes back what nobody was to be told of yet.
func (e *ending) retract() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over, e.err = false, nil
}

// told returns the error that the stream has ended with, and whether it has.
func (e *ending) told() (err error, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err, e.over
}

// then calls f with the error that the stream ends with, or has.
func (e *ending) then(f func(error)) {
	e.mu.Lock()
	if !e.over {
		if e.after == nil {
			e.after = e.room[:0]
		}
		e.after = append(e.after, f)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	f(e.err)
}
