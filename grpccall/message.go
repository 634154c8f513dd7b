package grpccall

import (
	"reflect"

	"google.golang.org/protobuf/proto"
)

// clone returns a copy of a message, for an attempt that may still read it when
// the caller has it back; or itself if it cannot be copied, as a type around a
// message of protobuf's cannot.
func clone(message any) any {
	if m, ok := message.(proto.Message); ok {
		if c := proto.Clone(m); reflect.TypeOf(c) == reflect.TypeOf(message) {
			return c
		}
	}
	return message
}

// fresh returns a message like reply, for an attempt that may overlap with
// another: an empty one of protobuf, else a copy, for what a codec decodes into
// may need what is in it. One that is not a pointer is returned itself.
func fresh(reply any) any {
	if m, ok := reply.(proto.Message); ok {
		return m.ProtoReflect().New().Interface()
	}
	v := reflect.ValueOf(reply)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return reply
	}
	own := reflect.New(v.Type().Elem())
	own.Elem().Set(v.Elem())
	return own.Interface()
}

// before returns what fresh is to be given for attempts after the first, which
// may leave something in the reply and fail.
func before(reply any) any {
	if _, ok := reply.(proto.Message); ok {
		return reply // nothing of it is copied
	}
	return fresh(reply)
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
	to, isProto := reply.(proto.Message)
	if m, ok := from.(proto.Message); ok && isProto { // a type around a message is one too
		return replace(to, m)
	}
	if reflect.TypeOf(reply) != reflect.TypeOf(from) {
		return false
	}
	v := reflect.ValueOf(reply)
	if v.Kind() != reflect.Pointer {
		return true // the attempts decoded into the same
	}
	if v.IsNil() {
		return false
	}
	v.Elem().Set(reflect.ValueOf(from).Elem())
	return true
}

func replace(to, from proto.Message) bool {
	if !to.ProtoReflect().IsValid() || to.ProtoReflect().Descriptor() != from.ProtoReflect().Descriptor() {
		return false
	}
	proto.Reset(to)
	proto.Merge(to, from)
	return true
}
