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

	final, empty bool
}

// Empty reports whether the balancer had no endpoint when the call looked, not
// only none for this call.
func (e *NoEndpointError) Empty() bool { return e.empty }

// Error returns a text like "loadbalance: no endpoint for the call: there are
// none".
func (e *NoEndpointError) Error() string {
	text := "loadbalance: no endpoint for the call: " + e.Why
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Details says that the call was not sent; its Type is "no_endpoint". Its Class
// is Permanent where a call like it fails later too: when the balancer is
// closed, the call has no key, or its key no partition. Otherwise it is
// Transient.
func (e *NoEndpointError) Details() backstay.Error {
	class := backstay.Transient
	if e.final {
		class = backstay.Permanent
	}
	return backstay.Error{Class: class, NotSent: true, Type: "no_endpoint"}
}
