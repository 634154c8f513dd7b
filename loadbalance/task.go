package loadbalance

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// A task runs somebody else's function, which should return when its context
// ends and must not do harm if it does not: then the run has failed, and no
// other begins before that one has returned. It is for one goroutine.
type task[T any] struct {
	name    string          // of the function
	running chan outcome[T] // of the run that goes on, or nil
}

type outcome[T any] struct {
	value T
	err   error
}

// patience is how long a function may take to see that its context has ended.
const patience = time.Second

// run returns what f returns, within limit and patience.
func (t *task[T]) run(ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	var none T
	if !t.free() {
		return none, t.hangs()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.running = make(chan outcome[T], 1) // of 1, for nobody may be there to receive
	go t.give(ctx, t.running, f)
	select {
	case o := <-t.running:
		t.running = nil
		return o.value, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-t.running:
		t.running = nil
		return o.value, o.err
	case <-time.After(patience):
		return none, t.hangs()
	}
}

// free reports whether no run goes on. What a late one has returned is out of
// date.
func (t *task[T]) free() bool {
	if t.running == nil {
		return true
	}
	select {
	case <-t.running:
		t.running = nil
		return true
	default:
		return false
	}
}

func (t *task[T]) hangs() error {
	return fmt.Errorf("loadbalance: %s has not returned though its context has ended", t.name)
}

// give sends what f returns, in any event.
func (t *task[T]) give(ctx context.Context, to chan<- outcome[T], f func(context.Context) (T, error)) {
	o := outcome[T]{err: fmt.Errorf("loadbalance: %s ended its goroutine", t.name)}
	defer func() {
		if r := recover(); r != nil {
			o.err = fmt.Errorf("loadbalance: %s panicked: %v, at %s", t.name, r, panicked())
		}
		to <- o
	}()
	o.value, o.err = f(ctx)
}

// panicked returns the file and line of the panic that has just been recovered
// from.
func panicked() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") || !more {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
	}
}

// sleep waits for d and reports whether ctx has lasted so long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
