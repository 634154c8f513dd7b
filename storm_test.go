package backstay_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
)

// A storm is calls of every kind at once, and counts that come out even if the
// core loses nothing, ends nothing twice, and mixes up no two calls.
type storm struct {
	inFlight   atomic.Int64 // attempts
	registered atomic.Int64
	ran        atomic.Int64
	twice      atomic.Int64
	bodies     atomic.Int64 // open
}

// watch counts the attempt in, and out when it is done.
func (s *storm) watch(ctx context.Context, call *backstay.Call, next backstay.Func) error {
	s.inFlight.Add(1)
	s.registered.Add(1)
	var over atomic.Bool
	call.OnDone(func(error) {
		if over.Swap(true) {
			s.twice.Add(1)
		}
		s.ran.Add(1)
		s.inFlight.Add(-1)
	})
	call.Try(fmt.Sprint(call.Attempt), nil)
	return next(ctx, call)
}

// first marks the context of the first of two attempts.
type first struct{}

// overlap makes two attempts at once and takes the first success. The loser may
// outlive the call.
func overlap(ctx context.Context, call *backstay.Call, next backstay.Func) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		*backstay.Call
		err error
	}
	ends, over := make(chan end), make(chan struct{})
	defer close(over)
	for i := range 2 {
		f, err := call.Fork()
		if err != nil {
			return err
		}
		f.Attempt = i + 1
		ctx := context.WithValue(ctx, first{}, i == 0 || ctx.Value(first{}) == true)
		go func() {
			err := caught(func() error { return next(ctx, f) })
			select {
			case ends <- end{f, err}:
			case <-over:
				f.Discard(err)
			}
		}()
	}
	for range 2 {
		select {
		case e := <-ends:
			if err = e.err; err == nil {
				call.Adopt(e.Call)
				return nil
			}
			e.Discard(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// caught returns the panic of f as an error.
func caught(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// A stormBody is a result that knows which call it is of.
type stormBody struct {
	*storm
	call int
}

func (b *stormBody) Read(p []byte) (int, error) { return binary.PutVarint(p, int64(b.call)), io.EOF }
func (b *stormBody) Close() error               { b.bodies.Add(-1); return nil }

// attempt is the function: what it does depends on the call's number.
func (s *storm) attempt(ctx context.Context, n int) (io.ReadCloser, error) {
	switch n % 16 {
	case 1, 2:
		return nil, errBoom
	case 3:
		panic("storm")
	case 4:
		<-ctx.Done()
		return nil, ctx.Err()
	case 5, 6, 7: // the first attempt loses, late
		if ctx.Value(first{}) == true {
			<-ctx.Done()
		}
	}
	s.bodies.Add(1)
	return &stormBody{s, n}, nil
}

func TestStorm(t *testing.T) {
	s := new(storm)
	t.Cleanup(func() { s.check(t) }) // after leak.Check has waited for the last loser
	leak.Check(t)
	const workers = 50
	const calls = 10_000
	hedged := backstay.New(around(s.watch), splitting(2), around(overlap), around(s.watch), splitting(2), around(s.watch))
	plain := backstay.New(around(s.watch), splitting(3), around(s.watch))
	nested := backstay.New(around(overlap), splitting(2), around(overlap), around(s.watch))
	attempts := []func(context.Context, int) (io.ReadCloser, error){
		backstay.Wrap(plain, "plain", s.attempt), backstay.Wrap(hedged, "hedged", s.attempt),
		backstay.Wrap(plain, "plain", s.attempt), backstay.Wrap(nested, "nested", s.attempt),
		backstay.Wrap(plain, "plain", s.attempt),
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				s.one(t, attempts[i%len(attempts)], w*calls+i)
			}
		})
	}
	wg.Wait()
}

func (s *storm) check(t *testing.T) {
	if got := s.inFlight.Load(); got != 0 {
		t.Errorf("%d attempts are in flight after the storm, want 0", got)
	}
	if got := s.bodies.Load(); got != 0 {
		t.Errorf("%d bodies are open after the storm, want 0", got)
	}
	if s.ran.Load() != s.registered.Load() || s.twice.Load() != 0 {
		t.Errorf("%d of %d OnDone functions ran, %d of them twice; want each once", s.ran.Load(), s.registered.Load(), s.twice.Load())
	}
	t.Logf("%d attempts", s.ran.Load())
}

// one makes call n and checks that its result is its own.
func (s *storm) one(t *testing.T, call func(context.Context, int) (io.ReadCloser, error), n int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if n%16 == 4 || n%64 == 5 {
		go cancel()
	}
	var body io.ReadCloser
	err := caught(func() (err error) {
		body, err = call(ctx, n)
		return err
	})
	if err != nil {
		if n%16 > 6 && !errors.Is(err, context.Canceled) {
			t.Errorf("call %d = %v, want nil", n, err)
		}
		return
	}
	defer body.Close()
	if n%2 == 0 {
		return
	}
	var buf [binary.MaxVarintLen64]byte
	_, _ = body.Read(buf[:])
	if of, _ := binary.Varint(buf[:]); of != int64(n) {
		t.Errorf("call %d got the result of call %d", n, of)
	}
}
