package grpccall

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// ClassifyStatus returns what a status means for policy where Config has no
// Classify:
//
//   - UNAVAILABLE is Transient.
//   - RESOURCE_EXHAUSTED is Throttled, and tried again only if the server says
//     when to come back.
//   - INTERNAL, UNKNOWN, DATA_LOSS and DEADLINE_EXCEEDED are Broken: failures of
//     the server that are not tried again.
//   - All others are answers, and Permanent.
//
// Messages that are too large for one side are Permanent, though their status is
// RESOURCE_EXHAUSTED.
func ClassifyStatus(st *status.Status) backstay.Class {
	switch st.Code() {
	case codes.OK:
		return backstay.Success
	case codes.Unavailable:
		return backstay.Transient
	case codes.ResourceExhausted:
		if tooLarge(st.Message()) {
			return backstay.Permanent
		}
		return backstay.Throttled
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.DeadlineExceeded:
		return backstay.Broken
	}
	return backstay.Permanent
}

// tooLarge reports whether the text is that with which grpc-go refuses a message
// for its size, on either side.
func tooLarge(text string) bool {
	text = strings.TrimPrefix(text, "grpc: ")
	return strings.HasPrefix(text, "trying to send message larger than max") ||
		strings.HasPrefix(text, "received message larger than max") ||
		strings.HasPrefix(text, "received message after decompression larger than max") ||
		strings.HasPrefix(text, "message after decompression larger than max")
}

// classify returns what a status means under the config of the channel.
func (c *client) classify(st *status.Status) backstay.Class {
	if c.cfg.Classify != nil {
		if class := c.cfg.Classify(st); class != backstay.Success {
			return class
		}
		return backstay.Permanent // the server has answered, and it is an error still
	}
	class := ClassifyStatus(st)
	switch {
	case !slices.Contains(c.cfg.RetryOn, st.Code()), st.Code() == codes.ResourceExhausted:
	case class == backstay.Broken:
		return backstay.Transient
	case class == backstay.Permanent:
		return backstay.Pending // trying again does not make an answer a failure of the server
	}
	return class
}

// waits reports whether a call that is throttled may be tried again only if the
// server says when.
func (c *client) waits() bool {
	return c.cfg.Classify == nil && !slices.Contains(c.cfg.RetryOn, codes.ResourceExhausted)
}

// nameOf returns the name of a code as gRPC's documents write it.
func nameOf(code codes.Code) string {
	names := [...]string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return "_OTHER"
}
