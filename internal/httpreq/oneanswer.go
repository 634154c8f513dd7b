package httpreq

import (
	"net/http"
	"slices"
	"strings"
)

// ofOneAnswer are headers that belong to one answer alone: a session, a
// connection, a moment, a trace.
var ofOneAnswer = []string{
	"B3", "Baggage", "Connection", "Content-Length", "Date", "Idempotent-Replayed", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authentication-Info", "Proxy-Connection", "Server-Timing", "Set-Cookie", "Set-Cookie2", "Te", "Traceparent",
	"Traceresponse", "Tracestate", "Trailer", "Transfer-Encoding", "Upgrade", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context",
}

// OfOneAnswer reports whether a header belongs to the answer that has it, and is
// not for another that says the same. Case does not matter.
func OfOneAnswer(name string) bool {
	name = http.CanonicalHeaderKey(name)
	return slices.Contains(ofOneAnswer, name) || strings.HasPrefix(name, "X-B3-") || strings.HasPrefix(name, http.TrailerPrefix)
}
