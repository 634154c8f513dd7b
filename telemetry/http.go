package telemetry

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/backstay-go/backstay"
)

// requestOf returns the HTTP request of a call, or nil if it has none.
func requestOf(call *backstay.Call) *http.Request {
	req, ok := backstay.Request[*http.Request](call)
	if !ok || req == nil || req.URL == nil {
		return nil
	}
	return req
}

// responseOf returns the HTTP response of a call, or nil if it has none.
func responseOf(call *backstay.Call) *http.Response {
	resp, _ := backstay.Result[*http.Response](call)
	return resp
}

// httpName returns the name of an attempt's span: the method and the template
// of the path where there is one. A path itself has too many values.
func httpName(req *http.Request) string {
	method := knownMethod(req.Method)
	if method == other {
		method = "HTTP"
	}
	if t := template(req); t != "" {
		return method + " " + t
	}
	return method
}

// appendHTTPStart appends what a sampler may want to see.
func appendHTTPStart(to []attribute.KeyValue, req *http.Request) []attribute.KeyValue {
	to = append(to, httpMethod.String(knownMethod(req.Method)), urlFull.String(redact(req.URL)))
	authority := req.Host
	if authority == "" {
		authority = req.URL.Host
	}
	return appendAddress(to, serverAddress, serverPort, authority, defaultPort(req.URL.Scheme))
}

// appendHTTPRequest appends the rest of what is known of a request. resends
// counts the attempts before this one.
func appendHTTPRequest(to []attribute.KeyValue, req *http.Request, resends int) []attribute.KeyValue {
	if knownMethod(req.Method) == other {
		to = append(to, httpMethodOriginal.String(req.Method))
	}
	if t := template(req); t != "" {
		to = append(to, urlTemplate.String(t))
	}
	if resends > 0 {
		to = append(to, httpResendCount.Int(resends))
	}
	return to
}

func appendHTTPResponse(to []attribute.KeyValue, resp *http.Response) []attribute.KeyValue {
	to = append(to, httpStatusCode.Int(resp.StatusCode))
	name, version, ok := strings.Cut(resp.Proto, "/")
	if !ok {
		return to
	}
	return append(to, protocolName.String(strings.ToLower(name)), protocolVersion.String(strings.TrimSuffix(version, ".0")))
}

// knownMethod returns the method for http.request.method, which has a fixed set
// of values.
func knownMethod(method string) string {
	switch method {
	case "":
		return http.MethodGet
	case "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY":
		return method
	}
	return other
}

// template returns the template of the request's path. A request that a server
// passes on may have the pattern of an http.ServeMux, which may have a method.
func template(req *http.Request) string {
	if _, path, ok := strings.Cut(req.Pattern, " "); ok {
		return strings.TrimLeft(path, " \t")
	}
	return req.Pattern
}

func defaultPort(scheme string) int {
	switch scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}
