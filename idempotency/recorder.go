package idempotency

import (
	"bufio"
	"fmt"
	"maps"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// A recorder is the http.ResponseWriter of work that is done once. The answer
// waits in it until it has been kept, so that whoever has seen it will see the
// same again. An answer that is too long for that, or a stream, goes out as it
// is written and is not kept.
type recorder struct {
	w     http.ResponseWriter
	limit int // of the body, in bytes

	header  http.Header // the handler's
	frozen  http.Header // as it was when the handler wrote the status; nil before
	status  int
	length  int64 // of the body, if the handler has said it; otherwise -1
	body    []byte
	flushed bool // the handler has asked for it
	open    bool // an answer that goes out early has no length, so that it can be broken off at its very end
	direct  bool // what is written goes out
}

func newRecorder(w http.ResponseWriter, limit int) *recorder {
	return &recorder{w: w, limit: limit, header: w.Header().Clone()}
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader keeps the status and what the header is now. Informational
// answers, such as 103, are left out.
func (r *recorder) WriteHeader(status int) {
	if r.frozen != nil {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status, r.frozen, r.length = status, r.Header().Clone(), -1
	if n, err := strconv.ParseInt(r.frozen.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		r.length = n
	}
	if status == http.StatusSwitchingProtocols {
		r.goDirect()
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.begin()
	total := int64(len(r.body)) + int64(len(p))
	switch {
	case len(p) == 0:
		return 0, nil
	case !hasBody(r.status):
		return 0, http.ErrBodyNotAllowed
	case !r.direct && r.length >= 0 && total > r.length:
		return 0, http.ErrContentLength
	case total > int64(r.limit):
		r.goDirect()
	}
	if r.direct {
		return r.w.Write(p)
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// begin writes the status that net/http writes where the handler does not.
func (r *recorder) begin() {
	if r.frozen == nil {
		r.WriteHeader(http.StatusOK)
	}
}

// short reports whether there is less than the handler has said: it has failed
// half-way, which the first caller sees by the length, and others would not.
func (r *recorder) short() bool {
	return hasBody(r.status) && r.length > int64(len(r.body))
}

// FlushError sends what there is of a stream: see http.ResponseController. Other
// answers go on waiting, since httputil.ReverseProxy flushes all whose length it
// is not told, and those would be lost to whoever asks again.
func (r *recorder) FlushError() error {
	r.begin()
	if !r.direct && !isStream(r.frozen) {
		r.flushed = true
		return nil
	}
	r.goDirect()
	return http.NewResponseController(r.w).Flush()
}

// Flush is http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// isStream reports whether an answer is of use before it is complete.
func isStream(h http.Header) bool {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch media {
	case "text/event-stream", "application/x-ndjson", "application/json-seq", "multipart/x-mixed-replace":
		return true
	}
	return false
}

// Hijack gives the connection away: see http.ResponseController. The answer is
// then whatever the handler makes of it.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.frozen != nil {
		r.goDirect() // what was written comes first
	}
	conn, rw, err := http.NewResponseController(r.w).Hijack()
	if err == nil {
		r.direct = true
		if r.frozen == nil {
			r.status, r.frozen = http.StatusOK, http.Header{}
		}
	}
	return conn, rw, err
}

// Unwrap is for the other methods of http.ResponseController, such as deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.w }

// goDirect sends what has been written, and from now on everything at once.
func (r *recorder) goDirect() {
	if r.direct {
		return
	}
	r.direct = true
	h := r.w.Header()
	clear(h)
	maps.Copy(h, r.frozen)
	if r.open {
		h.Del("Content-Length")
	}
	r.w.WriteHeader(r.status)
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body)
	}
	if r.flushed {
		// Without it net/http would find the length out by itself, and have no
		// place for trailers that were not declared.
		_ = http.NewResponseController(r.w).Flush()
	}
	r.body = nil
}

// send sends the answer, unless it has gone out already, and its trailers.
func (r *recorder) send() {
	r.open = false // it is settled
	r.goDirect()
	for _, declared := range r.frozen["Trailer"] {
		for name := range strings.SplitSeq(declared, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if values, ok := r.header[name]; ok {
				r.w.Header()[name] = values
			}
		}
	}
	for name, values := range r.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			r.w.Header()[name] = values
		}
	}
}
