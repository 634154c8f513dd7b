package idempotency

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/httpreq"
	"github.com/backstay-go/backstay/internal/problem"
)

// An Error is a server's answer about the key of a request. It unwraps to one
// of the errors of this package, such as ErrInProgress, whose text it has: what
// the server wrote may repeat the key, so it is in the fields alone.
type Error struct {
	// Status is that of the HTTP response, such as 409. It is 0 for the answer of
	// another protocol.
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
	return &Error{Status: k.status, Type: k.uri(), Title: k.title, Detail: detail, RetryAfter: after}
}

// Error returns the text of the error that e unwraps to, and the status if it
// has one.
func (e *Error) Error() string {
	text := e.kind().is.Error()
	if e.Status == 0 {
		return text
	}
	return fmt.Sprintf("%s (status %d)", text, e.Status)
}

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

// answer answers a request with e, as application/problem+json. What w's header
// says of another body is removed.
func (e *Error) answer(w http.ResponseWriter, r *http.Request) {
	body := e.problem()
	h := w.Header()
	for _, ofAnother := range []string{"Content-Disposition", "Content-Language", "Content-Length", "Content-Range", "Etag", "Expires", "Last-Modified"} {
		h.Del(ofAnother) // but Content-Encoding: a handler above may be about to encode
	}
	h.Set("Content-Type", problem.MediaType)
	h.Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(seconds(e.RetryAfter), 10))
	}
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is nobody to tell
	}
}

// problem returns e in the form of RFC 9457, section 3. The fields are strings
// and a number, which always can be written.
func (e *Error) problem() []byte {
	body, _ := json.Marshal(struct {
		Type   string `json:"type,omitempty"`
		Title  string `json:"title,omitempty"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{e.Type, e.Title, e.Status, e.Detail})
	return body
}

// seconds returns d, which is positive, in whole seconds, rounded up: a client
// that comes back sooner would come in vain.
func seconds(d time.Duration) int64 { return int64((d-1)/time.Second) + 1 }

func (e *Error) kind() *kind {
	if k := kindOfType(e.Type); k != nil {
		return k
	}
	if k := kindOfStatus(e.Status); k != nil {
		return k
	}
	return &otherKind
}

// ResponseError returns the *Error that resp is, or nil if it is none: a
// response of type application/problem+json whose "type" is one of this
// package's, or a 400, 409 or 422 whose "type" or "title" speaks of
// idempotency, as those of the standard do. The same statuses mean other things
// too, and so does the body of a provider with a form of its own.
//
// The body can be read afterwards as if it had not been. At most 64 KiB of it
// are kept in memory.
func ResponseError(resp *http.Response) error {
	if kindOfStatus(resp.StatusCode) == nil {
		return nil
	}
	p := problem.Read(resp)
	if kindOfType(p.Type) == nil && !(standard(resp.StatusCode) && p.AboutKeys()) {
		return nil
	}
	wait, _ := httpreq.RetryAfter(resp.Header.Get("Retry-After"), resp.Header.Get("Date"), time.Now())
	return &Error{Status: resp.StatusCode, Type: p.Type, Title: p.Title, Detail: p.Detail, RetryAfter: wait}
}

// standard reports whether the IETF draft gives the status a meaning.
func standard(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
