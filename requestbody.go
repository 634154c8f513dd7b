package backstay

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

var errBodySpent error = &Error{
	Err:   errors.New("backstay: the request body has been read and has no GetBody"),
	Class: Permanent,
}

// A bodySource gives the attempts of a call their request body: the caller's
// own to the first that reads, and what GetBody returns to the others.
type bodySource struct {
	original io.ReadCloser
	getBody  func() (io.ReadCloser, error) // nil if there is only the original
	taken    atomic.Bool                   // the original belongs to an attempt
}

// newBodySource returns the source of r's body, or nil if r has none.
func newBodySource(r *http.Request) *bodySource {
	if r == nil || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &bodySource{original: r.Body, getBody: r.GetBody}
}

func (s *bodySource) attempt() *attemptBody { return &attemptBody{src: s} }

// spent reports whether no other attempt can read the body.
func (s *bodySource) spent() bool { return s.getBody == nil && s.taken.Load() }

// open returns a body that nobody has read from.
func (s *bodySource) open() (io.ReadCloser, error) {
	if !s.taken.Swap(true) {
		return s.original, nil
	}
	if s.getBody == nil {
		return nil, errBodySpent
	}
	b, err := s.getBody()
	if b == nil {
		b = http.NoBody
	}
	return b, err
}

// finish ends the call. Nobody else closes a body that was never read.
func (s *bodySource) finish() {
	if !s.taken.Swap(true) {
		s.original.Close()
	}
}

// An attemptBody is the request body of one attempt. It is opened by the first
// Read, so that an attempt that is not sent holds nothing. As of every request
// body, whoever reads it closes it; Close may overlap with Read.
type attemptBody struct {
	src *bodySource

	mu     sync.Mutex
	body   io.ReadCloser // once opened
	err    error         // of opening it
	closed bool
}

func (b *attemptBody) Read(p []byte) (int, error) {
	body, err := b.open()
	if err != nil {
		return 0, err
	}
	return body.Read(p)
}

func (b *attemptBody) open() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, http.ErrBodyReadAfterClose
	}
	if b.body == nil {
		b.body, b.err = b.src.open()
	}
	return b.body, b.err
}

// Close opens nothing: another attempt may still read the caller's body.
func (b *attemptBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	again := b.closed
	b.closed = true
	if again || b.body == nil {
		return nil
	}
	return b.body.Close()
}
