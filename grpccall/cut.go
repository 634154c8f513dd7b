package grpccall

import (
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What gRPC makes again, because no server has looked at it, may be over before
// all is sent that had been sent: the server has answered, or the connection is
// lost. gRPC then finishes the call as if it had ended well, and returns io.EOF or
// an error around it. What has come by then can be received; how the call ended
// may not be known, and to receive that may take for ever.

// errCut is the end of such a call where it is out of reach.
var errCut = status.Error(codes.Unavailable, "grpccall: gRPC made the call again and has lost how that ended; the server may have done the work")

// lost reports whether err is how gRPC ends such a call.
func (a *attempt) lost(err error) bool {
	return a.told.Load() && (a.toldErr == nil || within(err, a.toldErr)) && errors.Is(err, io.EOF)
}

// cutTail is how long gRPC is given to hand over what it has of a stream.
const cutTail = time.Second

// RecvMsg receives the next message, if there is one yet where the stream is cut.
func (o *opened) RecvMsg(m any) error {
	switch {
	case !o.cut:
		return o.ClientStream.RecvMsg(m)
	case o.gone != nil:
		return o.gone
	}
	own, done := fresh(m), make(chan error, 1)
	go func() { done <- o.ClientStream.RecvMsg(own) }() // which ends with the process, at worst
	t := time.NewTimer(cutTail)
	defer t.Stop()
	select {
	case err := <-done:
		if err == nil {
			transfer(m, own)
		}
		return err
	case <-t.C:
		o.gone = errCut
	case <-o.attempt.Context.Done():
		o.gone = status.FromContextError(o.attempt.Context.Err()).Err()
	}
	return o.gone
}
