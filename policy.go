package backstay

import (
	"context"
	"fmt"
	"strings"
)

// A Func performs a call. It must be safe for concurrent use.
type Func func(ctx context.Context, call *Call) error

// A Middleware adds behaviour around a call.
type Middleware interface {
	// Wrap returns a Func that adds the behaviour to next. It runs once per
	// policy, not once per call.
	Wrap(next Func) Func
}

// A MiddlewareFunc is a function that is a Middleware.
type MiddlewareFunc func(next Func) Func

// Wrap returns f(next).
func (f MiddlewareFunc) Wrap(next Func) Func { return f(next) }

// An Overseer is a Middleware that wants to know what is beneath it, as a
// balancer does that passes over the endpoints whose breakers are open.
type Overseer interface {
	Middleware
	// WrapOver is called in place of Wrap. below is the middleware beneath, the
	// outermost first.
	WrapOver(next Func, below []Middleware) Func
}

// A Policy is an ordered stack of middleware, and a Middleware itself. The
// first is the outermost. The zero Policy and a nil one run calls unchanged.
//
// A Policy is safe for concurrent use. Calls made under the same Policy share
// the state of its middleware: one retry budget, one breaker.
type Policy struct {
	stack []Middleware
	run   Func
}

// New returns the policy in which each middleware is around those that follow.
// Policies among them count as the middleware they are made of.
//
// It panics, with a sentence that says how to mend it, where the stack cannot
// work: see Check.
func New(stack ...Middleware) *Policy {
	flat := flatten(nil, stack)
	if err := Check(flat...); err != nil {
		panic(err.Error())
	}
	p := &Policy{stack: flat}
	p.run = p.Wrap(send)
	return p
}

func flatten(to, stack []Middleware) []Middleware {
	for _, m := range stack {
		if p, ok := m.(*Policy); ok {
			if p != nil {
				to = append(to, p.stack...)
			}
			continue
		}
		to = append(to, m)
	}
	return to
}

// Wrap returns next with the policy around it.
func (p *Policy) Wrap(next Func) Func {
	if p == nil {
		return next
	}
	for i := len(p.stack) - 1; i >= 0; i-- {
		if o, ok := p.stack[i].(Overseer); ok {
			next = o.WrapOver(next, p.stack[i+1:])
		} else {
			next = p.stack[i].Wrap(next)
		}
		if next == nil {
			panic(fmt.Sprintf("backstay: %s returned no Func from Wrap", name(p.stack[i])))
		}
	}
	return next
}

// Stack returns the middleware of the policy, the outermost first.
func (p *Policy) Stack() []Middleware {
	if p == nil {
		return nil
	}
	return append([]Middleware(nil), p.stack...)
}

// String describes the policy from the outside in, as in
// "timeout(2s) > retry(3) > breaker(orders)". A middleware takes part with its
// String method.
func (p *Policy) String() string {
	var names []string
	for _, m := range p.Stack() {
		names = append(names, name(m))
	}
	return strings.Join(names, " > ")
}

func name(m Middleware) string {
	if s, ok := m.(fmt.Stringer); ok {
		return s.String()
	}
	if _, ok := m.(MiddlewareFunc); ok {
		return "func"
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", m), "*")
}

// send is the Func under every policy.
func send(ctx context.Context, call *Call) error { return call.self.send(ctx) }
