package grpccall

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// A method is what is known of one.
type method struct {
	op         string // its name without the leading slash
	idempotent bool   // doing it twice does its work once
	streams    bool   // there may be more than one message on one of the sides
}

// maxMethods bounds the memory of a proxy that is asked for anything.
const maxMethods = 4096

// methods keeps what is known of methods, in a map that is copied to add one: a
// lookup takes no lock and, unlike that of a sync.Map, does not allocate.
type methods struct {
	of    func(name string) method
	known atomic.Pointer[map[string]method]
	mu    sync.Mutex // held while known is replaced
}

func (m *methods) get(name string) method {
	known := m.known.Load()
	if known != nil {
		if d, ok := (*known)[name]; ok {
			return d
		}
	}
	d := m.of(name)
	m.add(name, d)
	return d
}

func (m *methods) add(name string, d method) {
	m.mu.Lock()
	defer m.mu.Unlock()
	more := map[string]method{}
	if known := m.known.Load(); known != nil {
		if len(*known) >= maxMethods {
			return
		}
		more = maps.Clone(*known)
	}
	more[strings.Clone(name)] = d
	m.known.Store(&more)
}

// describe looks at the definition of the method, if the program has it.
func (c *client) describe(name string) method {
	m := method{op: strings.TrimPrefix(name, "/")}
	switch levelOf(m.op) {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS, descriptorpb.MethodOptions_IDEMPOTENT:
		m.idempotent = true
	default:
		m.idempotent = c.cfg.Idempotent != nil && c.cfg.Idempotent(name)
	}
	return m
}

// levelOf returns the idempotency_level of a method.
func levelOf(op string) descriptorpb.MethodOptions_IdempotencyLevel {
	d := descriptorOf(op)
	if d == nil {
		return descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
	}
	options, _ := d.Options().(*descriptorpb.MethodOptions)
	return options.GetIdempotencyLevel()
}

// descriptorOf returns the definition of a method such as "orders.v1.Orders/Get"
// as the generated code has registered it, or nil.
func descriptorOf(op string) protoreflect.MethodDescriptor {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.Replace(op, "/", ".", 1)))
	if err != nil {
		return nil
	}
	m, _ := d.(protoreflect.MethodDescriptor)
	return m
}
