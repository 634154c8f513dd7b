package backstay

import "context"

// Unsafe returns a middleware that marks calls as unsafe: doing one twice could
// do its work twice, as with an INSERT, so one is made again only if it was not
// sent or has an idempotency key. It stands above retry.
//
// HTTP calls need no mark; their method tells.
func Unsafe() Middleware { return unsafe{} }

type unsafe struct{}

func (unsafe) String() string { return "unsafe" }

func (unsafe) Traits() Traits { return Traits{PerCall: true} }

func (unsafe) Wrap(next Func) Func {
	return func(ctx context.Context, call *Call) error {
		call.Unsafe = true
		return next(ctx, call)
	}
}
