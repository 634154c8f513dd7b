package idempotency

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/httpreq"
)

// What a server can have against a key.
var (
	// ErrMissing: the server wants a key, and there is none or a malformed one.
	ErrMissing = errors.New("idempotency: key missing or malformed")
	// ErrInProgress: an earlier attempt with the key is still being worked on.
	// Try again later, with the same key.
	ErrInProgress = errors.New("idempotency: earlier attempt in progress")
	// ErrMismatch: the key was used before, with another request.
	ErrMismatch = errors.New("idempotency: key used with another request")
)

// An Error is a server's answer about the key of a request. It unwraps to
// ErrMissing, ErrInProgress or ErrMismatch, whose text it has: what the server
// wrote may repeat the key, so it is in the fields alone.
type Error struct {
	// Status is 400, 409 or 422.
	Status int
	// Type, Title and Detail are those of the problem: RFC 9457, section 3.1.
	Type, Title, Detail string
	// RetryAfter is how long the server asked to wait; 0 if it did not say.
	RetryAfter time.Duration
}

// Error returns the text of the error that e unwraps to, and the status.
func (e *Error) Error() string { return fmt.Sprintf("%v (status %d)", e.Unwrap(), e.Status) }

// Unwrap returns ErrMissing, ErrInProgress or ErrMismatch.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusConflict:
		return ErrInProgress
	case http.StatusUnprocessableEntity:
		return ErrMismatch
	}
	return ErrMissing
}

// Details tells policies that only a call in progress is worth another attempt.
func (e *Error) Details() backstay.Error {
	switch e.Status {
	case http.StatusConflict:
		return backstay.Error{Class: backstay.Throttled, RetryAfter: e.RetryAfter, Type: "idempotency_in_progress"}
	case http.StatusUnprocessableEntity:
		return backstay.Error{Class: backstay.Permanent, Type: "idempotency_mismatch"}
	}
	return backstay.Error{Class: backstay.Permanent, Type: "idempotency_missing"}
}

// maxProblem is how much of a body is read to find out whether it is a problem
// about a key.
const maxProblem = 64 << 10

// ResponseError returns the *Error that resp is, or nil if it is none: a 400,
// 409 or 422 of type application/problem+json whose "type" or "title" speaks of
// idempotency, as those of the standard do. The same statuses mean other things
// too, and so does the body of a provider with a form of its own.
//
// The body can be read afterwards as if it had not been. At most 64 KiB of it
// are kept in memory.
func ResponseError(resp *http.Response) error {
	if !maybeProblem(resp) {
		return nil
	}
	var p struct{ Type, Title, Detail string }
	if !decode(peek(resp), &p) || !aboutKeys(p.Type) && !aboutKeys(p.Title) {
		return nil
	}
	wait, _ := httpreq.RetryAfter(resp.Header.Get("Retry-After"), resp.Header.Get("Date"), time.Now())
	return &Error{Status: resp.StatusCode, Type: p.Type, Title: p.Title, Detail: p.Detail, RetryAfter: wait}
}

func maybeProblem(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		return err == nil && media == "application/problem+json" && resp.Body != nil
	}
	return false
}

// aboutKeys reports whether a problem's type or title is about keys. The type
// is the server's own, so there is no list to compare it with.
func aboutKeys(s string) bool { return strings.Contains(strings.ToLower(s), "idempotency") }

// decode reports whether text is a JSON object. Members that have the wrong
// type are left out: RFC 9457, section 3.1.
func decode(text []byte, to any) bool {
	err := json.Unmarshal(text, to)
	_, mistyped := errors.AsType[*json.UnmarshalTypeError](err)
	return err == nil || mistyped
}

// peek returns the beginning of the body and puts it back, together with the
// error that reading it has met.
func peek(resp *http.Response) []byte {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failed{err}
	}
	resp.Body = &putBack{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	return head
}

type putBack struct {
	io.Reader
	io.Closer
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
