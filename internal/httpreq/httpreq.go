// Package httpreq knows of HTTP requests what those need to know who send them
// more than once.
package httpreq

import "net/http"

// Method returns the method of r.
func Method(r *http.Request) string {
	if r.Method == "" {
		return http.MethodGet
	}
	return r.Method
}

// Harmless reports whether the method of r makes it harmless to send it twice:
// RFC 9110, section 9.2.2, and QUERY.
func Harmless(r *http.Request) bool {
	switch Method(r) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY":
		return true
	}
	return false
}

// Key returns the idempotency key in the header of r, without the quotes of the
// standard.
func Key(r *http.Request) string {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v := r.Header.Get(name); v != "" {
			return Plain(v)
		}
	}
	return ""
}

// Plain returns the key that a header's value means: what is in the quotes, or
// the value as it is where the provider wants none.
func Plain(value string) string {
	if key, fault := Unquote(value); fault == "" {
		return key
	}
	return value
}

// Copy returns a copy of r with a URL and a header of its own, which is never
// nil, and the same body. The Trailer is the caller's, who fills it in while
// the body is read.
func Copy(r *http.Request) *http.Request {
	c := r.WithContext(r.Context())
	c.Header = r.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	if r.URL != nil {
		u := *r.URL
		c.URL = &u
	}
	return c
}
