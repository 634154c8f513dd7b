package backstay

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"sync"

	"github.com/backstay-go/backstay/internal/body"
)

// Do runs fn as a call named op under p. It returns what fn returned in the
// last attempt, or the policy's own error.
//
// fn must honour its ctx, which ends with Do: what fn returns must not need it
// any more. Two results are exempt, for they are what people return: the body
// of an *http.Response and an io.ReadCloser may be read afterwards, and the
// call lasts until they are closed. A struct that has a body, and an *sql.Rows,
// must be read within fn.
//
// fn counts as safe to call twice; Unsafe marks a policy for functions that are
// not. An error of fn counts as a failure of the callee that may pass, unless
// it says otherwise: retry.Permanent marks an answer such as sql.ErrNoRows.
//
// HTTP statuses mean nothing to Do; package httpcall knows them. A function
// that needs the endpoint or the key is bound with Bind, whose Do is given the
// Call.
func Do[T any](ctx context.Context, p *Policy, op string, fn func(context.Context) (T, error)) (T, error) {
	return doBinding[T]().call(ctx, p, op, fn)
}

// Wrap gives fn the policy once and keeps its signature. See Do for what fn may
// return. A function that needs the endpoint or the key is bound with Bind,
// whose Do is given the Call.
//
// Where Req is *http.Request, each attempt gets a copy with a header and a body
// of its own, and one that is not safe to send twice is not: a POST without an
// idempotency key, or one whose body has been read and has no GetBody. The body
// is fn's to close, as it is a RoundTripper's; one that fn has not read is
// closed when the policy returns. The context of the copy is the ctx that fn
// gets, which comes from the one the call was made with: that of the caller's
// request counts for nothing.
func Wrap[Req, Resp any](p *Policy, op string, fn func(context.Context, Req) (Resp, error)) func(context.Context, Req) (Resp, error) {
	if fn == nil {
		panic("backstay: Wrap needs a function")
	}
	o := closing[Req, Resp]()
	o.Name = op
	o.fn = onRequests(fn, inContext[Resp])
	return onRequests(bind(p, o), sharingBody[Resp])
}

// doBindings holds a *binding for each T that Do is used with, under (*T)(nil).
var doBindings sync.Map

func doBinding[T any]() *binding[func(context.Context) (T, error), T] {
	type fn = func(context.Context) (T, error)
	key := any((*T)(nil))
	if b, ok := doBindings.Load(key); ok {
		return b.(*binding[fn, T])
	}
	o := closing[fn, T]()
	o.Do = func(ctx context.Context, _ *Call, f fn) (T, error) { return f(ctx) }
	b, _ := doBindings.LoadOrStore(key, newBinding(o))
	return b.(*binding[fn, T])
}

// closing returns an Op that knows how to copy, release and hold what HTTP
// makes special: a request that is sent again, and a Resp that is read after
// the call.
func closing[Req, Resp any]() (op Op[Req, Resp]) {
	if o, ok := any(&op.Copy).(*func(*http.Request) (*http.Request, error)); ok {
		*o = copyRequest
	}
	if o, ok := any(&op.Prepare).(*func(*Call, *http.Request)); ok {
		*o = prepareRequest
	}
	switch o := any(&op).(type) {
	case *Op[Req, *http.Response]:
		o.beside = true
		o.Discard = func(r *http.Response) {
			switch {
			case r == nil || r.Body == nil:
			case r.ProtoMajor >= 2:
				r.Body.Close() // a stream, not the connection
			default:
				body.Drain(r.Body)
			}
		}
		o.Hold = func(r *http.Response, done func(error)) *http.Response {
			if r == nil || r.Body == nil || r.Body == http.NoBody {
				done(nil)
				return r
			}
			r.Body = body.Hold(r.Body, done)
			return r
		}
	case *Op[Req, io.ReadCloser]:
		o.beside = true
		o.Discard = func(r io.ReadCloser) {
			if !nilBody(r) {
				r.Close()
			}
		}
		o.Hold = func(r io.ReadCloser, done func(error)) io.ReadCloser {
			if r == nil {
				done(nil)
				return r
			}
			return body.Hold(r, done)
		}
	}
	return op
}

// nilBody reports whether r is nil or a nil pointer, such as the *os.File beside
// an error of os.Open.
func nilBody(r io.ReadCloser) bool {
	v := reflect.ValueOf(r)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
