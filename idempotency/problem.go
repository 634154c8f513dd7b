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

// An Error is a server's answer about the key of a request. It unwraps to one
// of the errors of this package, such as ErrInProgress, whose text it has: what
// the server wrote may repeat the key, so it is in the fields alone.
type Error struct {
	// Status is that of the response, such as 409.
	Status int
	// Type, Title and Detail are those of the problem: RFC 9457, section 3.1.
	Type, Title, Detail string
	// RetryAfter is how long the server asked to wait; 0 if it did not say.
	RetryAfter time.Duration
}

// newError returns the Error that tells a client of is, with what is to be said
// of this case. It asks the client to wait for after, if that is not 0.
func newError(is error, detail string, after time.Duration) *Error {
	k := kindOf(func(k kind) bool { return k.is == is })
	return &Error{Status: k.status, Type: typePrefix + k.name, Title: k.title, Detail: detail, RetryAfter: after}
}

// Error returns the text of the error that e unwraps to, and the status.
func (e *Error) Error() string { return fmt.Sprintf("%v (status %d)", e.kind().is, e.Status) }

// Unwrap returns the error of this package that e's Type names. For the Type of
// another server's making it goes by the Status: ErrMissing for 400,
// ErrInProgress for 409 and ErrMismatch for 422.
func (e *Error) Unwrap() error { return e.kind().is }

// Details tells policies which of the errors it is, and that only a call in
// progress and an unavailable store are worth another attempt.
func (e *Error) Details() backstay.Error {
	k := e.kind()
	d := backstay.Error{Class: k.class, Type: k.errorType}
	if k.class != backstay.Permanent {
		d.RetryAfter = e.RetryAfter
	}
	return d
}

func (e *Error) kind() *kind {
	if k := kindOfType(e.Type); k != nil {
		return k
	}
	if k := kindOf(func(k kind) bool { return k.status == e.Status }); k != nil {
		return k
	}
	return &kinds[0]
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
