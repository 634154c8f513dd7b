package httpcall

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/body"
)

// ClassifyStatus returns what a status means by default:
//
//   - 500, 502, 503, 504 are Transient,
//   - 408, 421, 425, 429 are Throttled: worth another try, and no failure of
//     the server's,
//   - 501 and 505, and all below 500 else, are Success: an answer,
//   - the other 5xx are Broken.
func ClassifyStatus(status int) backstay.Class {
	switch status {
	case 500, 502, 503, 504:
		return backstay.Transient
	case 408, 421, 425, 429:
		return backstay.Throttled
	case 501, 505:
		return backstay.Success
	}
	if status >= 500 {
		return backstay.Broken
	}
	return backstay.Success
}

// A StatusError is a response that is a failure, as the policy sees it. The
// caller of the transport gets the response.
type StatusError struct {
	// Status is the response's.
	Status int
	// Class is what it means for policy.
	Class backstay.Class
	// RetryAfter is how long the server asked to be left alone; 0 if it did
	// not.
	RetryAfter time.Duration
	// Vetoed reports that the server has said not to try again.
	Vetoed bool
}

// Error returns the status in words.
func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("httpcall: %d %s", e.Status, http.StatusText(e.Status)))
}

// Details tells policies the class, the delay, and the status as error type.
func (e *StatusError) Details() backstay.Error {
	return backstay.Error{Class: e.Class, RetryAfter: e.RetryAfter, Type: fmt.Sprint(e.Status)}
}

// Suppressed returns "server_veto" if the server has said not to try again.
func (e *StatusError) Suppressed() string {
	if e.Vetoed {
		return "server_veto"
	}
	return ""
}

// check returns the failure that resp is, or nil.
func (t *Transport) check(resp *http.Response) error {
	key := conflictOf(resp)
	if key == final {
		return nil // an answer, whatever else would have it tried again
	}
	class := t.classify(resp, key)
	asked, delayed := t.retryAfter(resp, key)
	if delayed && class == backstay.Success && resp.StatusCode >= 400 && t.cfg.Classify == nil {
		class = backstay.Throttled // an option says that this status is delayed, not refused
	}
	vetoed := false
	switch said, retry := t.verdict(resp.Header); {
	case !said || resp.StatusCode < 400:
	case retry:
		if class != backstay.Transient {
			class = backstay.Throttled
		}
	case class != backstay.Success:
		vetoed = true
		class = backstay.Permanent
		if resp.StatusCode >= 500 {
			class = backstay.Broken
		}
	}
	if class == backstay.Success {
		return nil
	}
	return &StatusError{resp.StatusCode, class, asked, vetoed}
}

func (t *Transport) classify(resp *http.Response, key conflict) backstay.Class {
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		return backstay.Success
	case t.cfg.Classify != nil:
		return t.cfg.Classify(resp)
	case key == inProgress, key == unexplained && t.cfg.RetryConflict:
		return backstay.Pending
	case resp.StatusCode == http.StatusMisdirectedRequest && resp.ProtoMajor >= 2 && !t.balanced:
		return backstay.Success // another try would take the same connection
	}
	return ClassifyStatus(resp.StatusCode)
}

// retryAfter returns the delay that resp asks for, where its status is one that
// may.
func (t *Transport) retryAfter(resp *http.Response, key conflict) (time.Duration, bool) {
	value := resp.Header.Get("Retry-After")
	if value == "" || key != inProgress && !slices.Contains(t.delayed, resp.StatusCode) {
		return 0, false
	}
	return ParseRetryAfter(value, resp.Header.Get("Date"), time.Now())
}

// verdict returns whether the server has said, in a header that the Config
// names, whether to try again, and what it said.
func (t *Transport) verdict(h http.Header) (said, retry bool) {
	if t.cfg.NoRetryHeader != "" && len(h.Values(t.cfg.NoRetryHeader)) > 0 {
		return true, false
	}
	if t.cfg.RetryHeader == "" {
		return false, false
	}
	switch strings.ToLower(h.Get(t.cfg.RetryHeader)) {
	case "true":
		return true, true
	case "false":
		return true, false
	}
	return false, false
}

// discard releases a response that nobody will read: so that its connection can
// be used again where that takes a little reading, as it does in HTTP/1.
func discard(resp *http.Response) {
	switch {
	case resp == nil || resp.Body == nil: // a middleware's
	case resp.ProtoMajor >= 2 || resp.Body == http.NoBody || resp.StatusCode == http.StatusMisdirectedRequest:
		resp.Body.Close()
	default:
		body.Drain(resp.Body)
	}
}

// hold has done called when resp's body is closed or at its end.
func hold(resp *http.Response, done func(error)) *http.Response {
	if resp == nil || resp.Body == nil || resp.Body == http.NoBody {
		done(nil)
		return resp
	}
	resp.Body = body.Hold(resp.Body, done)
	return resp
}
