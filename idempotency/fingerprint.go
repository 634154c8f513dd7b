package idempotency

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// FingerprintOf returns the hash of the parts, in their order: for what is not
// HTTP, such as the name and the payload of a message.
func FingerprintOf(parts ...[]byte) Fingerprint {
	h := sha256.New()
	for _, p := range parts {
		// Each part has its length before it, so that no two lists of parts are
		// written alike.
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	return Fingerprint(h.Sum(nil))
}

// fingerprint is what two requests with the same key must have in common. What
// a proxy or a new attempt changes is not in it: other headers, the host, the
// order of the query's parameters.
func fingerprint(r *http.Request, body []byte) Fingerprint {
	return FingerprintOf(
		[]byte("http"),
		[]byte(r.Method),
		[]byte(requested(r)),
		[]byte(r.URL.EscapedPath()),
		[]byte(sorted(r.URL.RawQuery)),
		[]byte(mediaType(r.Header.Get("Content-Type"))),
		body,
	)
}

// requested returns the path that the caller asked for. That of the URL may be
// what http.StripPrefix has left of it, which two routes can have in common.
func requested(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") {
		return path
	}
	u, err := url.Parse(path) // with scheme and host, as proxies are asked
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// sorted returns the query with its parameters sorted by name. Those of the same
// name stay in their order, which may mean something.
func sorted(query string) string {
	if !strings.Contains(query, "&") {
		return query
	}
	params := strings.Split(query, "&")
	slices.SortStableFunc(params, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Compare(a, b)
	})
	return strings.Join(params, "&")
}

// mediaType returns a content type in the one form that is the same for all that
// mean the same.
func mediaType(contentType string) string {
	if !strings.Contains(contentType, ";") {
		return strings.ToLower(contentType) // most are, and it costs nothing
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return contentType
	}
	return cmp.Or(mime.FormatMediaType(media, params), contentType)
}

// idOf returns where the record of a tenant's key is. Nobody who does not know
// all three can find it or make another that is at the same place.
func idOf(guard, tenant, key string) ID {
	return ID(FingerprintOf([]byte("id"), []byte(guard), []byte(tenant), []byte(key)))
}
