package backstay

import (
	"context"
	"errors"
)

// A frame is a Call together with its request and result, which have types.
type frame[Req, Resp any] struct {
	Call
	binding *binding[Req, Resp]
	spare   *frame[Req, Resp] // an adopted fork, kept for the next
	req     Req               // the original, which attempts copy
	copy    Req               // this attempt's own, if own
	resp    Resp
	failure error // what Check said of resp
	own     bool
	has     bool // resp is set
	failed  bool // resp came beside an error
}

// send makes the attempt: it is the Func under every policy.
func (f *frame[Req, Resp]) send(ctx context.Context) error {
	op := &f.binding.op
	if f.sent { // by a middleware that calls next again without a Fork
		f.dropResult()
		f.own = false
	}
	if err := f.ownRequest(); err != nil {
		return err
	}
	f.sent = true
	var err error
	if op.fn != nil {
		f.resp, err = op.fn(ctx, f.req)
	} else {
		f.resp, err = op.Do(ctx, &f.Call, f.sendable())
	}
	f.has = true
	if err != nil {
		f.failed = true
		return err
	}
	if op.Check != nil {
		f.failure = op.Check(f.resp)
		return f.failure
	}
	return nil
}

// ownRequest makes the request one of the call's own, once.
func (f *frame[Req, Resp]) ownRequest() error {
	if f.own || f.binding.op.Copy == nil {
		return nil
	}
	req, err := f.binding.op.Copy(f.req)
	if err != nil {
		return err
	}
	f.copy, f.own = req, true
	return nil
}

// disown makes what the call has changed in its request so far the original of
// the copies that its attempts get.
func (f *frame[Req, Resp]) disown() {
	if f.own {
		f.req, f.own = f.copy, false
	}
}

// sendable returns the request of this attempt.
func (f *frame[Req, Resp]) sendable() Req {
	if f.own {
		return f.copy
	}
	return f.req
}

// settle turns the end of the policy into the end of the call. A result that
// Check called a failure goes to the caller without an error, unless a
// middleware has put an error of its own in the failure's place. A success
// that a middleware has refused is released.
func (f *frame[Req, Resp]) settle(err error) (Resp, error) {
	op := &f.binding.op
	if f.failure != nil && errors.Is(err, f.failure) {
		err = nil
	}
	if err != nil && !f.failed {
		f.dropResult()
	}
	resp := f.resp
	if op.Hold != nil && f.has && err == nil && f.onDone.n > 0 {
		list := new(doneList)
		list.take(&f.onDone)
		return op.Hold(resp, list.run), nil
	}
	f.onDone.run(err)
	return resp, err
}

// abandon ends a call that panicked. Its memory is left to the garbage
// collector, since attempts of it may be anywhere.
func (f *frame[Req, Resp]) abandon() {
	defer f.onDone.run(ErrPanicked)
	f.dropResult()
}

func (f *frame[Req, Resp]) fork() *Call {
	k := f.spare
	if k != nil {
		f.spare = nil
	} else {
		k = f.binding.pool.Get().(*frame[Req, Resp])
	}
	f.disown()
	k.req = f.req
	return &k.Call
}

func (f *frame[Req, Resp]) adopt(from *Call) {
	k := from.self.(*frame[Req, Resp])
	if f.has {
		f.dropResult()
	}
	f.resp, f.has, f.failed, f.failure = k.resp, k.has, k.failed, k.failure
	var none Resp
	k.resp, k.has, k.failed, k.failure = none, false, false, nil
}

// dropResult releases the result, if there is one.
func (f *frame[Req, Resp]) dropResult() {
	resp, release := f.resp, f.has && !f.failed && f.binding.op.Discard != nil
	var none Resp
	f.resp, f.has, f.failed, f.failure = none, false, false, nil
	if release {
		f.binding.op.Discard(resp)
	}
}

// clear forgets the request and the result.
func (f *frame[Req, Resp]) clear() {
	var req Req
	var resp Resp
	f.req, f.resp = req, resp
	if f.own {
		f.copy = req
	}
	f.own, f.has, f.failed, f.failure = false, false, false, nil
}

// keep has the memory of an adopted fork wait here for the next Fork.
func (f *frame[Req, Resp]) keep(fork *Call) {
	k := fork.self.(*frame[Req, Resp])
	k.reset()
	k.clear()
	if f.spare != nil {
		k.recycle()
		return
	}
	f.spare = k
}

func (f *frame[Req, Resp]) recycle() { f.binding.pool.Put(f) }

func (f *frame[Req, Resp]) held() bool          { return f.binding.op.Hold != nil }
func (f *frame[Req, Resp]) request() any        { return f.sendable() }
func (f *frame[Req, Resp]) result() any         { return f.resultOrNil() }
func (f *frame[Req, Resp]) typed() (Resp, bool) { return f.resp, f.has }

func (f *frame[Req, Resp]) resultOrNil() any {
	if !f.has {
		return nil
	}
	return f.resp
}

func (f *frame[Req, Resp]) setResult(v any) bool {
	resp, ok := v.(Resp)
	if ok {
		f.dropResult()
		f.resp, f.has = resp, true
	}
	return ok
}
