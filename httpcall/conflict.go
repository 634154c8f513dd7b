package httpcall

import (
	"context"
	"net/http"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/problem"
)

// A conflict is what a 409 says of the idempotency key of its request.
type conflict uint8

const (
	noConflict  conflict = iota
	unexplained          // a conflict of some kind
	inProgress           // an earlier attempt is still being worked on
	final                // waiting does not end it
)

// readConflict returns what resp says of the call's idempotency key. It waits
// for the body, at most 64 KiB of it, as long as the attempt may take.
//
// The IETF draft has one meaning for a 409, so a problem about keys whose type
// is none of ours is a call in progress.
func readConflict(call *backstay.Call, resp *http.Response) conflict {
	if resp.StatusCode != http.StatusConflict || call.IdempotencyKey == "" {
		return noConflict
	}
	switch p := problem.Read(resp); {
	case p.Type == problem.OutcomeUnknown, p.Type == problem.NotKept:
		return final
	case p.AboutKeys():
		return inProgress
	}
	return unexplained
}

// conflictKey is the key under which the context of a response's request tells
// check, which has no call, of the conflict.
type conflictKey struct{}

func withConflict(req *http.Request, c conflict) *http.Request {
	return req.WithContext(context.WithValue(req.Context(), conflictKey{}, c))
}

func conflictOf(resp *http.Response) conflict {
	if resp.StatusCode != http.StatusConflict || resp.Request == nil {
		return noConflict
	}
	c, _ := resp.Request.Context().Value(conflictKey{}).(conflict)
	return c
}
