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
	lost    error // why there can be no copy
	own     bool
	has     bool // resp is set
	failed  bool // resp came beside an error
}

// send makes the attempt: it is the Func under every policy.
func (f *frame[Req, Resp]) send(ctx context.Context) error {
	op := &f.binding.op
	if f.sent || f.has {
		f.again()
	}
	if f.copies {
		if err := f.ownRequest(); err != nil {
			return err
		}
	}
	f.sent = true
	for p := f.parent; p != nil; p = p.parent {
		p.sentBelow.Store(true)
	}
	var err error
	if op.fn != nil {
		f.resp, err = op.fn(ctx, f.sendable())
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

// again readies a call that has a result, for a middleware that calls next once
// more without a Fork or has set one before.
func (f *frame[Req, Resp]) again() {
	f.dropResult()
	f.ended = 0
	if f.sent {
		f.disown()
	}
}

// ownRequest makes the request one of the call's own, once. Where that fails
// for a middleware that had to write something, it fails for the call: the next
// copy might succeed, and be sent without.
func (f *frame[Req, Resp]) ownRequest() error {
	if f.own || f.binding.op.Copy == nil || f.lost != nil {
		return f.lost
	}
	f.copy, f.lost = f.binding.op.Copy(f.req)
	f.own = f.lost == nil
	return f.lost
}

// disown makes what the call has changed in its request so far the original of
// the copies that its attempts get.
func (f *frame[Req, Resp]) disown() {
	if f.own {
		f.req = f.copy
		f.dropCopy()
	}
}

func (f *frame[Req, Resp]) dropCopy() {
	var none Req
	f.copy, f.own = none, false
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
	// Retry takes its mark of permanence off, so err may be within failure.
	if f.failure != nil && (errors.Is(err, f.failure) || errors.Is(f.failure, err)) {
		err = nil
	}
	if err != nil && !f.failed {
		f.dropResult()
	}
	if op.Hold != nil && f.has && err == nil && f.onDone.n > 0 {
		return f.hold(), nil
	}
	resp := f.resp
	f.onDone.run(err)
	return resp, err
}

// hold hands the result out with the OnDone functions, which outlive the Call.
func (f *frame[Req, Resp]) hold() Resp {
	list, held := new(doneList), false
	list.take(&f.onDone)
	defer func() {
		if !held {
			list.run(ErrPanicked)
		}
	}()
	resp := f.binding.op.Hold(f.resp, list.run)
	held = true
	return resp
}

// abandon ends a call that panicked. Its memory is left to the garbage
// collector, since attempts of it may be anywhere.
func (f *frame[Req, Resp]) abandon() {
	defer func() {
		if poison {
			f.poison()
		}
	}()
	defer f.onDone.run(ErrPanicked)
	f.dropResult()
}

// fork returns a frame with the request as the call has changed it so far.
func (f *frame[Req, Resp]) fork() *Call {
	f.disown()
	k := f.fresh()
	k.req, k.lost = f.req, f.lost
	return &k.Call
}

// begin returns the request as the call has changed it so far, from which all
// attempts are to start.
func (f *frame[Req, Resp]) begin() any {
	f.disown()
	return f.req
}

// split returns a frame with the result and the request of an attempt that
// started from request.
func (f *frame[Req, Resp]) split(request any) *Call {
	k := f.fresh()
	k.req, k.copy, k.own = f.req, f.copy, f.own
	f.dropCopy()
	if f.binding.op.Copy != nil {
		f.req, _ = request.(Req)
	}
	k.takeResult(f)
	return &k.Call
}

func (f *frame[Req, Resp]) fresh() *frame[Req, Resp] {
	if k := f.spare; k != nil {
		f.spare = nil
		return k
	}
	return f.binding.pool.Get().(*frame[Req, Resp])
}

func (f *frame[Req, Resp]) adopt(from *Call) {
	f.dropResult()
	f.takeResult(from.self.(*frame[Req, Resp]))
}

// takeResult moves the result of k to f, which has none.
func (f *frame[Req, Resp]) takeResult(k *frame[Req, Resp]) {
	f.resp, f.has, f.failed, f.failure = k.resp, k.has, k.failed, k.failure
	k.forgetResult()
}

func (f *frame[Req, Resp]) forgetResult() {
	var none Resp
	f.resp, f.has, f.failed, f.failure = none, false, false, nil
}

// dropResult releases the result, if there is one.
func (f *frame[Req, Resp]) dropResult() {
	op := &f.binding.op
	resp, release := f.resp, f.has && (!f.failed || op.beside) && op.Discard != nil
	f.forgetResult()
	if release {
		op.Discard(resp)
	}
}

// clear forgets the request and the result.
func (f *frame[Req, Resp]) clear() {
	var none Req
	f.req, f.lost = none, nil
	if f.own {
		f.dropCopy()
	}
	f.forgetResult()
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

func (f *frame[Req, Resp]) held() bool   { return f.binding.op.Hold != nil }
func (f *frame[Req, Resp]) request() any { return f.sendable() }

// result returns the result unless there is none: what a function returns
// beside an error is for its caller, and mostly nothing.
func (f *frame[Req, Resp]) result() (resp Resp, ok bool) {
	if f.has && !f.failed {
		return f.resp, true
	}
	return resp, false
}

func (f *frame[Req, Resp]) resultAny() any {
	resp, ok := f.result()
	if !ok {
		return nil
	}
	return resp
}

func (f *frame[Req, Resp]) setResult(v Resp) {
	f.dropResult()
	f.resp, f.has = v, true
}

func (f *frame[Req, Resp]) setResultAny(v any) bool {
	resp, ok := v.(Resp)
	if ok {
		f.setResult(resp)
	}
	return ok
}
