package loadbalance

import "github.com/backstay-go/backstay"

// A NoEndpointError is the error of a call that was not sent because the
// balancer had no endpoint for it.
type NoEndpointError struct {
	// Why says what is missing, as in "there are none".
	Why string

	// Err is what the last lookup of the endpoints failed with, or nil. The
	// error does not unwrap to it, for it says nothing about the callee.
	Err error
}

// Error returns a text like "loadbalance: no endpoint for the call: there are
// none".
func (e *NoEndpointError) Error() string {
	text := "loadbalance: no endpoint for the call: " + e.Why
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Details says that the call was not sent and may succeed later. Its Type is
// "no_endpoint".
func (e *NoEndpointError) Details() backstay.Error {
	return backstay.Error{Class: backstay.Transient, NotSent: true, Type: "no_endpoint"}
}
