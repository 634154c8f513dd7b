package idempotency

import (
	"errors"
	"net/http"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/problem"
)

// What a server can have against a request with a key, or without one.
var (
	// ErrMissing: the server wants a key, and there is none or a malformed one.
	// The work was not begun. Send the request with a key.
	ErrMissing = errors.New("idempotency: key missing or malformed")
	// ErrInProgress: an earlier attempt with the key is still being worked on.
	// Try again later, with the same key.
	ErrInProgress = errors.New("idempotency: earlier attempt in progress")
	// ErrMismatch: the key was used before, with another request. The work was
	// not begun. A new request wants a new key.
	ErrMismatch = errors.New("idempotency: key used with another request")
	// ErrOutcomeUnknown: an earlier attempt with the key began the work and was
	// not heard of again, for its process died, its handler panicked or its
	// lease ran out. Whether the work was done is not known, and it will not be
	// tried again with this key. Find out by other means what happened, and
	// only then send it with a new key.
	ErrOutcomeUnknown = errors.New("idempotency: outcome of an earlier attempt unknown")
	// ErrNotKept: an earlier attempt with the key has done the work, and its
	// answer was too large to be kept, or streamed. Do not send it again; if
	// the answer is needed, ask for it in another way.
	ErrNotKept = errors.New("idempotency: work done, answer not kept")
	// ErrUnavailable: the server cannot ask its store of keys. The work was not
	// begun. Try again later, with the same key.
	ErrUnavailable = errors.New("idempotency: store of keys unavailable")
	// ErrTooLarge: the body is larger than the server reads to tell requests
	// with the same key apart. The work was not begun.
	ErrTooLarge = errors.New("idempotency: request body too large")
	// ErrNoTenant: the server cannot tell whose key it is. The work was not
	// begun.
	ErrNoTenant = errors.New("idempotency: owner of the key unknown")
)

// A kind is what is said of a sentinel: on the wire by its status, the name in
// its type and its title, to policies by its class and its errorType.
type kind struct {
	is        error
	status    int
	name      string
	title     string
	class     backstay.Class
	errorType string
}

// uri returns the type of the kind's problems, which is the address of the
// sentinel's documentation.
func (k kind) uri() string { return problem.Keys + k.name }

// kinds has the standard's meaning of a status before others. The titles of
// the standard are those of draft-ietf-httpapi-idempotency-key-header-07,
// section 2.7. By "Idempotency" in their titles, clients that know no types
// see what the others are about.
var kinds = []kind{
	{ErrMissing, http.StatusBadRequest, "ErrMissing", "Idempotency-Key is missing", backstay.Permanent, "idempotency_missing"},
	{ErrInProgress, http.StatusConflict, "ErrInProgress", "A request is outstanding for this Idempotency-Key", backstay.Pending, "idempotency_in_progress"},
	{ErrMismatch, http.StatusUnprocessableEntity, "ErrMismatch", "Idempotency-Key is already used", backstay.Permanent, "idempotency_mismatch"},
	{ErrOutcomeUnknown, http.StatusConflict, "ErrOutcomeUnknown", "The outcome of the request with this Idempotency-Key is unknown", backstay.Permanent, "idempotency_outcome_unknown"},
	{ErrNotKept, http.StatusConflict, "ErrNotKept", "The request with this Idempotency-Key is done, its response was not kept", backstay.Permanent, "idempotency_not_kept"},
	{ErrUnavailable, http.StatusServiceUnavailable, "ErrUnavailable", "Idempotency-Keys cannot be checked at the moment", backstay.Transient, "idempotency_unavailable"},
	{ErrTooLarge, http.StatusRequestEntityTooLarge, "ErrTooLarge", "The request with this Idempotency-Key is too large", backstay.Permanent, "idempotency_too_large"},
	{ErrNoTenant, http.StatusForbidden, "ErrNoTenant", "The owner of this Idempotency-Key is unknown", backstay.Permanent, "idempotency_no_tenant"},
}

// otherKind is that of an Error which says nothing that is known.
var otherKind = kind{is: errors.New("idempotency: refused by the server"), class: backstay.Permanent, errorType: "_OTHER"}

// kindOf returns the kind that meets the condition, or nil.
func kindOf(meets func(kind) bool) *kind {
	for i := range kinds {
		if meets(kinds[i]) {
			return &kinds[i]
		}
	}
	return nil
}

// kindOfType returns the kind that a problem's type names, or nil: a server of
// another make has types of its own.
func kindOfType(uri string) *kind {
	return kindOf(func(k kind) bool { return uri == k.uri() })
}

// kindOfStatus returns the kind that the status means by itself, or nil.
func kindOfStatus(status int) *kind {
	return kindOf(func(k kind) bool { return k.status == status })
}
