package idempotency

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
)

// A recorder is the http.ResponseWriter of work that is done once. The answer
// waits in it until it has been kept, so that whoever has seen it will see the
// same again. An answer that is too long for that, or that the handler flushes,
// goes out as it is written and is not kept.
type recorder struct {
	w     http.ResponseWriter
	limit int // of the body, in bytes

	header http.Header // the handler's
	frozen http.Header // as it was when the handler wrote the status; nil before
	status int
	body   []byte
	direct bool // what is written goes out
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
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if r.frozen != nil || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	r.status, r.frozen = status, r.Header().Clone()
	if status == http.StatusSwitchingProtocols {
		r.goDirect()
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.begin()
	if !hasBody(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if !r.direct && len(r.body)+len(p) > r.limit {
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

// FlushError sends what there is: see http.ResponseController.
func (r *recorder) FlushError() error {
	r.begin()
	r.goDirect()
	return http.NewResponseController(r.w).Flush()
}

// Flush is http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// Hijack gives the connection away: see http.ResponseController. The answer is
// then whatever the handler makes of it.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
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
	r.w.WriteHeader(r.status)
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body)
	}
	r.body = nil
}

// send sends the answer, unless it has gone out already, and its trailers.
func (r *recorder) send() {
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
