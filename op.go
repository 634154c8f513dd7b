package backstay

import (
	"context"
	"sync"
)

// An Op describes an operation to Bind: what a protocol adapter is made of.
// Only Name and Do are needed.
type Op[Req, Resp any] struct {
	// Name is the Op of the calls, as in "orders.Get".
	Name string

	// Prepare fills in the call from the request, before the policy runs.
	Prepare func(call *Call, req Req)

	// Copy returns a copy of req for one attempt, which may change it; where it
	// is nil the attempts share req. It may be given a copy that it has made:
	// that which a middleware has changed for all further attempts. Overlapping
	// attempts call it at the same time. An error says that req cannot be sent
	// again.
	Copy func(req Req) (Req, error)

	// Do makes one attempt.
	Do func(ctx context.Context, call *Call, req Req) (Resp, error)

	// Check tells a result that is a failure though Do gave no error, such as
	// an HTTP 503. Policies see the error; the caller of the bound function
	// gets the result and no error.
	Check func(resp Resp) error

	// Discard releases a result that nobody will read.
	Discard func(resp Resp)

	// Hold is given a result on its way to the caller, and returns it so made
	// that done is called, once, when the caller has finished with it.
	Hold func(resp Resp, done func(error)) Resp

	// fn is Do for Wrap, whose functions know no Call.
	fn func(ctx context.Context, req Req) (Resp, error)

	// beside has Discard given results that came beside an error too.
	beside bool
}

// Bind returns a function that makes op's calls under p. It is safe for
// concurrent use where Do is.
//
// It panics if op has no Do.
func Bind[Req, Resp any](p *Policy, op Op[Req, Resp]) func(context.Context, Req) (Resp, error) {
	if op.Do == nil {
		panic("backstay: Bind needs an Op with a Do function")
	}
	return bind(p, op)
}

func bind[Req, Resp any](p *Policy, op Op[Req, Resp]) func(context.Context, Req) (Resp, error) {
	b := newBinding(op)
	return func(ctx context.Context, req Req) (Resp, error) {
		return b.call(ctx, p, op.Name, req)
	}
}

// Request returns the request of the call as a T, and whether it is one: in an
// httpcall policy T is *http.Request.
//
// Where the Op has a Copy, as those for HTTP have, the request is the call's
// own, which the middleware may change: one above retry changes every attempt,
// one under it only its own. Otherwise it is what the caller gave, to be read
// only. The bodies of requests are not for middleware.
func Request[T any](call *Call) (T, bool) {
	call.check()
	if err := call.self.ownRequest(); err != nil {
		var none T
		return none, false
	}
	v, ok := call.self.request().(T)
	return v, ok
}

// Peek returns the request of the call as a T, to be read only, and whether it
// is one. It costs nothing, where Request may have to make a copy.
func Peek[T any](call *Call) (T, bool) {
	call.check()
	v, ok := call.self.request().(T)
	return v, ok
}

// Result returns the result of the call as a T, and whether there is one. A
// failure may have a result too: a 503 has. What a function has returned beside
// an error is none.
func Result[T any](call *Call) (T, bool) {
	call.check()
	if c, ok := call.self.(interface{ result() (T, bool) }); ok {
		return c.result()
	}
	v, ok := call.self.resultAny().(T)
	return v, ok
}

// SetResult makes v the result of the call in place of what it had, which is
// released. It reports whether a T is what the call returns. A middleware that
// sets a result in place of a failure also returns nil.
func SetResult[T any](call *Call, v T) bool {
	call.check()
	if c, ok := call.self.(interface{ setResult(T) }); ok { // a nil interface is a T too
		c.setResult(v)
		return true
	}
	return call.self.setResultAny(v)
}

// A binding makes the calls of one Op.
type binding[Req, Resp any] struct {
	op   Op[Req, Resp]
	pool sync.Pool
}

func newBinding[Req, Resp any](op Op[Req, Resp]) *binding[Req, Resp] {
	b := &binding[Req, Resp]{op: op}
	b.pool.New = func() any {
		f := &frame[Req, Resp]{binding: b}
		f.self, f.root, f.copies = f, &f.Call, op.Copy != nil
		return f
	}
	return b
}

func (b *binding[Req, Resp]) call(ctx context.Context, p *Policy, name string, req Req) (Resp, error) {
	f := b.pool.Get().(*frame[Req, Resp])
	f.Op, f.Attempt = name, 1
	f.req = req
	over := false
	defer func() {
		if !over {
			f.abandon()
		}
	}()
	if b.op.Prepare != nil {
		b.op.Prepare(&f.Call, req)
	}
	var resp Resp
	var err error
	if p == nil || p.run == nil {
		err = f.send(ctx)
	} else {
		err = p.run(ctx, &f.Call)
	}
	if f.onDone.n == 0 && f.failure == nil && (err == nil || !f.has || f.failed) {
		resp = f.resp // nothing to release, to tell or to turn back
	} else {
		resp, err = f.settle(err)
	}
	over = true
	if f.live == 0 && !poison {
		f.reset()
		f.clear()
		b.pool.Put(f)
	} else {
		f.release()
	}
	return resp, err
}
