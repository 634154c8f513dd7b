package httpcall

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/backstay-go/backstay"
)

// explain returns err, the end of an attempt that got no response, with what it
// means for policy.
func explain(ctx context.Context, p *progress, err error) error {
	e := classify(err, p.connected.Load())
	e.NotSent = e.NotSent || p.notSent()
	e.Err = redact(err)
	if ctx.Err() != nil {
		e = &backstay.Error{Err: withContext(ctx, e.Err), NotSent: e.NotSent}
	}
	return e
}

// classify tells errors of net/http apart. Some of them have no type, only a
// text. A failure to connect says that nothing was sent only where there was no
// connection before it, on which net/http has tried by itself.
func classify(err error, connected bool) *backstay.Error {
	var (
		dns  *net.DNSError
		op   *net.OpError
		text = textOf(err)
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return &backstay.Error{Class: backstay.Broken, NotSent: !connected, Type: "dns_not_found"}
	case errors.As(err, &dns):
		return &backstay.Error{Class: backstay.Transient, NotSent: !connected, Type: kind(err)}
	case isTLS(err, text, connected):
		return &backstay.Error{Class: backstay.Broken, Type: "tls"}
	case containsAny(text, malformedRequest):
		return &backstay.Error{Class: backstay.Permanent, NotSent: true}
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")):
		return &backstay.Error{Class: backstay.Transient, NotSent: !connected, Type: kind(err)}
	case containsAny(text, unprocessed):
		return &backstay.Error{Class: backstay.Transient, NotSent: true, Type: "connection_reset"}
	case isCutHeader(text):
		return &backstay.Error{Class: backstay.Transient, Type: "connection_reset"}
	case containsAny(text, malformedResponse):
		return &backstay.Error{Class: backstay.Broken}
	}
	return &backstay.Error{Class: backstay.Transient, Type: kind(err)}
}

// What the errors without a type say: of requests that net/http refuses to
// send, of HTTP/2 streams that the server has not looked at, and of responses
// that it cannot make sense of.
var (
	malformedRequest = []string{
		"unsupported protocol scheme", "no Host in request URL", "nil Request.URL", "invalid Host header", "invalid port",
		"net/http: invalid method", "net/http: invalid header field", "net/http: invalid trailer field",
	}
	unprocessed       = []string{"REFUSED_STREAM", "graceful shutdown GOAWAY", "Transport received GOAWAY"}
	malformedResponse = []string{"malformed", "bad Content-Length", "unsupported transfer encoding", "response headers exceeded"}
)

func containsAny(text string, parts []string) bool {
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
}

// isCutHeader reports whether the text tells of a header line without a colon.
// net/http parses what there is of a line before it looks why there is no more,
// so this is how it tells of a connection that broke within a header.
func isCutHeader(text string) bool {
	_, line, found := strings.Cut(text, "malformed MIME header line: ")
	return found && !strings.Contains(line, ":") || strings.Contains(text, "malformed MIME header: missing colon")
}

// textOf returns the text of err without a URL, which may say anything.
func textOf(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok && u.Err != nil {
		return textOf(u.Err)
	}
	return err.Error()
}

// isTLS reports whether the two ends cannot agree on TLS, which another attempt
// will not mend. A handshake that took too long or was cut is not meant.
func isTLS(err error, text string, connected bool) bool {
	var (
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		strings.Contains(text, "remote error: tls:") || strings.HasPrefix(text, "tls: ") && !connected
}

// kind returns the error type, for spans, of an error of the network.
func kind(err error) string {
	t, _ := errors.AsType[timeout](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case t != nil && t.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "server closed idle connection"):
		return "connection_reset"
	}
	return ""
}

// withContext returns err, which came when ctx had ended, as an error that is
// ctx.Err() and its cause too. On HTTP/1 and HTTP/2, and in different moments,
// net/http says it in different ways.
func withContext(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !errors.Is(err, ctx.Err()) {
		err = &also{err, ctx.Err()}
	}
	return err
}

// also is an error that is another one too.
type also struct {
	error
	other error
}

func (a *also) Unwrap() []error { return []error{a.other, a.error} }

// withTimeout returns err so that a url.Error around it, which asks only its
// own Err, knows it for a timeout if it is one.
func withTimeout(err error) error {
	if _, ok := err.(net.Error); ok {
		return err
	}
	if t, ok := errors.AsType[timeout](err); ok && t.Timeout() {
		return &timeoutError{err}
	}
	return err
}

type timeout interface {
	error
	Timeout() bool
}

type timeoutError struct{ error }

func (e *timeoutError) Unwrap() error   { return e.error }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

// redact returns err so that its text shows no credentials and no query of a
// URL, such as a base transport that fetches tokens puts into its errors.
func redact(err error) error {
	text, found := err.Error(), false
	for u, ok := errors.AsType[*url.Error](err); ok; u, ok = errors.AsType[*url.Error](u.Err) {
		shown := redactURL(u.URL)
		text = strings.ReplaceAll(text, fmt.Sprintf("%q", u.URL), shown)
		text = strings.ReplaceAll(text, u.URL, shown)
		found = true
	}
	if !found {
		return err
	}
	return &redacted{err, text}
}

func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(URL)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

type redacted struct {
	error
	text string
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.error }
