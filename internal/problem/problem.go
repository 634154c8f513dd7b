// Package problem reads the problems of RFC 9457 that responses carry.
package problem

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// MediaType is what the Content-Type of a problem begins with.
const MediaType = "application/problem+json"

// Keys is what the types of this module's own problems about idempotency keys
// begin with. The name of an error of package idempotency follows.
const Keys = "https://pkg.go.dev/github.com/backstay-go/backstay/idempotency#"

// The types of conflicts over a key that waiting does not end.
const (
	OutcomeUnknown = Keys + "ErrOutcomeUnknown"
	NotKept        = Keys + "ErrNotKept"
)

// Most is how much of a body is read, in bytes.
const Most = 64 << 10

// A Problem is the part of a problem that is of use to a program: RFC 9457,
// section 3.1. The zero Problem says nothing.
type Problem struct{ Type, Title, Detail string }

// Read returns the problem that resp carries, or the zero Problem if it carries
// none. It waits for the body, until its end or until reading it fails.
//
// The body can be read afterwards as if it had not been: with the error, if
// there was one.
func Read(resp *http.Response) Problem {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != MediaType || resp.Body == nil {
		return Problem{}
	}
	return decode(peek(resp))
}

// AboutKeys reports whether the problem is about an idempotency key, as its type
// or its title says. The type is the server's own, so there is no list to
// compare it with.
func (p Problem) AboutKeys() bool { return speaksOfKeys(p.Type) || speaksOfKeys(p.Title) }

func speaksOfKeys(s string) bool { return strings.Contains(strings.ToLower(s), "idempotency") }

// decode returns the problem that text is. Members that have the wrong type are
// left out: RFC 9457, section 3.1.
func decode(text []byte) Problem {
	var p Problem
	err := json.Unmarshal(text, &p)
	if _, mistyped := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !mistyped {
		return Problem{}
	}
	return p
}

// peek returns the beginning of the body and puts it back, together with the
// error that reading it has met.
func peek(resp *http.Response) []byte {
	head, err := io.ReadAll(io.LimitReader(resp.Body, Most))
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
