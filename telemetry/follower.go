package telemetry

import (
	"reflect"
	"sync/atomic"
)

// A follower keeps what was made of a value that may be replaced at any time,
// as the otel globals may, until it is.
type follower[From comparable, To any] struct {
	current func() From
	derive  func(From) To
	last    atomic.Pointer[derived[From, To]]
}

func (f *follower[From, To]) get() To {
	now := f.current()
	if d := f.last.Load(); d != nil && d.isOf(now) {
		return d.to
	}
	v := reflect.ValueOf(now)
	d := &derived[From, To]{now, !v.IsValid() || v.Comparable(), f.derive(now)}
	f.last.Store(d)
	return d.to
}

type derived[From comparable, To any] struct {
	from       From
	comparable bool // else == would panic
	to         To
}

// isOf reports whether d was made of now. A composite propagator is a slice,
// and the same one as long as it is in the same place.
func (d *derived[From, To]) isOf(now From) bool {
	if d.comparable {
		return d.from == now
	}
	a, b := reflect.ValueOf(d.from), reflect.ValueOf(now)
	return a.Kind() == reflect.Slice && b.Kind() == reflect.Slice &&
		a.Type() == b.Type() && a.UnsafePointer() == b.UnsafePointer() && a.Len() == b.Len()
}
