// Package otelhttp stands in for the one of OpenTelemetry, which this module
// does not depend on, where only the name of its type matters.
package otelhttp

import "net/http"

// A Transport is recognised by its name.
type Transport struct{ http.RoundTripper }
