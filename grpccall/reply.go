package grpccall

import (
	"reflect"

	"google.golang.org/protobuf/proto"
)

// clone returns a copy of a message, for an attempt that may still read it when
// the caller has it back; or itself if it cannot be copied.
func clone(message any) any {
	if m, ok := message.(proto.Message); ok {
		return proto.Clone(m)
	}
	return message
}

// fresh returns an empty message like reply, for an attempt that may overlap
// with another. One that is not a pointer is returned itself.
func fresh(reply any) any {
	if m, ok := reply.(proto.Message); ok {
		return m.ProtoReflect().New().Interface()
	}
	t := reflect.TypeOf(reply)
	if t == nil || t.Kind() != reflect.Pointer {
		return reply
	}
	return reflect.New(t.Elem()).Interface()
}

// same reports whether a and b are one message. Those that cannot be compared are
// of types that nothing is decoded into anew.
func same(a, b any) bool {
	t := reflect.TypeOf(a)
	return t == reflect.TypeOf(b) && (t == nil || t.Comparable() && a == b)
}

// transfer makes reply what from is, and nothing besides: an attempt that failed
// may have left something in it. It reports whether the two are of one type.
func transfer(reply, from any) bool {
	if reflect.TypeOf(reply) != reflect.TypeOf(from) {
		return false
	}
	if m, ok := reply.(proto.Message); ok {
		if !m.ProtoReflect().IsValid() {
			return false
		}
		proto.Reset(m)
		proto.Merge(m, from.(proto.Message))
		return true
	}
	to := reflect.ValueOf(reply)
	if to.Kind() != reflect.Pointer {
		return true // the attempts decoded into the same
	}
	if to.IsNil() {
		return false
	}
	to.Elem().Set(reflect.ValueOf(from).Elem())
	return true
}
