package telemetry

import (
	"net/url"
	"strings"
)

// redacted stands for a secret in url.full.
const redacted = "REDACTED"

// isSecret reports whether the values of a query parameter sign requests. The
// names are those of the semantic conventions, which say that case matters.
func isSecret(name string) bool {
	switch name {
	case "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", // AWS, version 4
		"AWSAccessKeyId", "Signature", // AWS, version 2
		"sig",              // Azure
		"X-Goog-Signature": // Google Cloud
		return true
	}
	return false
}

// redact returns the text of u without its secrets: the user and password, and
// the values of query parameters that sign requests.
func redact(u *url.URL) string {
	safe := *u
	if safe.User != nil {
		safe.User = url.UserPassword(redacted, redacted)
	}
	safe.Opaque = redactOpaque(safe.Opaque)
	safe.RawQuery = redactQuery(safe.RawQuery)
	return safe.String()
}

// redactOpaque redacts what package url has not taken apart.
func redactOpaque(opaque string) string {
	rest, query, ok := strings.Cut(opaque, "?")
	if !ok {
		return redactUser(rest)
	}
	return redactUser(rest) + "?" + redactQuery(query)
}

// redactUser redacts the user and password of an authority with or without
// slashes before it.
func redactUser(opaque string) string {
	rest, hadSlashes := strings.CutPrefix(opaque, "//")
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if at < 0 {
		return opaque
	}
	rest = redacted + ":" + redacted + rest[at:]
	if hadSlashes {
		return "//" + rest
	}
	return rest
}

// redactQuery redacts values and leaves the rest as it is, with its order and
// its escapes.
func redactQuery(query string) string {
	if query == "" {
		return ""
	}
	params := strings.Split(query, "&")
	for i, p := range params {
		params[i] = redactParam(p)
	}
	return strings.Join(params, "&")
}

// redactParam redacts a parameter. Some servers take a semicolon for a
// separator too, but it may as well be part of a value: from the first secret
// name on, all goes.
func redactParam(param string) string {
	for from := 0; from < len(param); {
		name, _, hasValue := strings.Cut(param[from:], "=")
		if semicolon := strings.IndexByte(name, ';'); semicolon >= 0 {
			from += semicolon + 1
			continue
		}
		if !hasValue {
			return param
		}
		if isSecret(unescape(name)) {
			return param[:from+len(name)+1] + redacted
		}
		semicolon := strings.IndexByte(param[from:], ';')
		if semicolon < 0 {
			return param
		}
		from += semicolon + 1
	}
	return param
}

func unescape(name string) string {
	if plain, err := url.QueryUnescape(name); err == nil {
		return plain
	}
	return name
}
