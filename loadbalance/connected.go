package loadbalance

import (
	"context"

	"github.com/backstay-go/backstay"
)

// notConnected is the error type of an attempt whose endpoint had no connection
// while others had one. It comes from a function that waits for connections, as
// that of gRPC does, and a middleware beneath says which endpoints have none.
const notConnected = "not_connected"

// unconnected reports whether err is the end of such an attempt.
func unconnected(err error) bool {
	return backstay.TypeOf(err) == notConnected && backstay.NotSent(err)
}

// connected makes one attempt, as run does, and makes it elsewhere where its
// endpoint had no connection.
func (s *seat) connected(ctx context.Context, call *backstay.Call) error {
	mark := call.Begin()
	err := s.run(ctx, call)
	if err == nil || !unconnected(err) {
		return err
	}
	return s.elsewhere(ctx, call, call.Split(mark), err)
}

// elsewhere makes the attempt that came to nothing again, as long as there is an
// endpoint left that may be connected. Where there is no other, that is one which
// an earlier attempt was given: this one may be the last that the call has, and
// nothing of it was sent.
//
// Unlike the rejection of a breaker it was sent, may have taken long and has told
// those beneath, so each goes by a fork of its own: whether it was sent, how long
// it took and when it has ended is not that of the others.
func (s *seat) elsewhere(ctx context.Context, call, last *backstay.Call, err error) error {
	defer func() {
		if last != nil { // a panic
			last.Discard(backstay.ErrPanicked)
		}
	}()
	var lost []string
	for i := 0; i < maxRepicks && unconnected(err) && ctx.Err() == nil; i++ {
		if lost = append(lost, last.Endpoint); !s.open(ctx, call, lost) {
			break
		}
		next, forkErr := call.Fork()
		if forkErr != nil {
			break
		}
		next.Attempt = call.Attempt
		failed := last
		last = next
		failed.Discard(err)
		err = s.place(ctx, last, lost)
	}
	adopted := last
	last = nil
	call.Adopt(adopted)
	return err
}
