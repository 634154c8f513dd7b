package idempotency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// replayedHeader tells a replay from the answer of the work itself.
const replayedHeader = "Idempotent-Replayed"

// kept are the headers of an answer that a replay has too: those that describe
// what is in the body, or where it is.
var kept = []string{
	"Allow", "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location",
	"Content-Type", "Etag", "Expires", "Last-Modified", "Link", "Location", "Preference-Applied", "Retry-After", "Vary",
	"X-Content-Type-Options",
}

// A reply is an answer as it is kept.
type reply struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	body   []byte
}

// encode returns the reply as a line of JSON, for people who look into the
// store, and the body as it is.
func (r reply) encode() []byte {
	head, err := json.Marshal(r)
	if err != nil {
		panic("idempotency: " + err.Error()) // a number and strings
	}
	return slices.Concat(head, []byte{'\n'}, r.body)
}

// decodeReply reads what encode has written. It never returns a reply that
// net/http would panic at.
func decodeReply(record []byte) (reply, error) {
	head, body, found := bytes.Cut(record, []byte{'\n'})
	if !found {
		return reply{}, fmt.Errorf("idempotency: a record of %d bytes has no head", len(record))
	}
	var r reply
	if err := json.Unmarshal(head, &r); err != nil {
		// The text of err may repeat what is there.
		return reply{}, fmt.Errorf("idempotency: the head of a record of %d bytes is no reply", len(record))
	}
	if r.Status < 200 || r.Status > 999 {
		return reply{}, fmt.Errorf("idempotency: a record has the status %d", r.Status)
	}
	r.body = body
	return r, nil
}

// replay sends the reply once more, with those of its headers that are named.
// Whoever can write to the store cannot have others sent.
func (r reply) replay(w http.ResponseWriter, names []string) {
	h := w.Header()
	for _, name := range names {
		if values, ok := r.Header[name]; ok {
			h[name] = values
		} else {
			delete(h, name)
		}
	}
	h.Set(replayedHeader, "true")
	w.WriteHeader(r.Status)
	if hasBody(r.Status) {
		_, _ = w.Write(r.body) // the caller has gone, and may come back
	}
}

// hasBody reports whether an answer with the status has one: RFC 9110, sections
// 15.3.5 and 15.4.5.
func hasBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
