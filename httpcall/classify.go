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
	"strings"
	"syscall"

	"github.com/backstay-go/backstay"
)

// explain returns err, the end of an attempt that got no response, with what it
// means for policy.
func explain(ctx context.Context, p *progress, err error) error {
	e := classify(err)
	e.NotSent = e.NotSent || p.notSent()
	if ctx.Err() != nil {
		e = &backstay.Error{Err: withContext(ctx, err), NotSent: e.NotSent}
	} else {
		e.Err = redact(err)
	}
	return e
}

// classify tells errors of net/http apart. Some of them have no type, only a
// text.
func classify(err error) *backstay.Error {
	var (
		dns  *net.DNSError
		op   *net.OpError
		text = err.Error()
	)
	switch {
	case errors.As(err, &dns):
		return classifyDNS(dns)
	case isTLS(err, text):
		return &backstay.Error{Class: backstay.Broken, Type: "tls"}
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")):
		return &backstay.Error{Class: backstay.Transient, NotSent: true, Type: kind(err)}
	case strings.Contains(text, "REFUSED_STREAM"), strings.Contains(text, "graceful shutdown GOAWAY"):
		return &backstay.Error{Class: backstay.Transient, NotSent: true, Type: "connection_reset"}
	case isMalformedRequest(text):
		return &backstay.Error{Class: backstay.Permanent, NotSent: true}
	case strings.Contains(text, "malformed"):
		return &backstay.Error{Class: backstay.Broken}
	}
	return &backstay.Error{Class: backstay.Transient, Type: kind(err)}
}

func classifyDNS(err *net.DNSError) *backstay.Error {
	if err.IsNotFound {
		return &backstay.Error{Class: backstay.Broken, NotSent: true, Type: "dns_not_found"}
	}
	return &backstay.Error{Class: backstay.Transient, NotSent: true, Type: kind(err)}
}

// isTLS reports whether the two ends cannot agree on TLS, which another attempt
// will not mend. A handshake that took too long or was cut is not meant.
func isTLS(err error, text string) bool {
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
		strings.Contains(text, "server gave HTTP response to HTTPS client") || strings.Contains(text, "remote error: tls:")
}

// isMalformedRequest reports whether net/http refused to send the request.
func isMalformedRequest(text string) bool {
	for _, s := range []string{
		"unsupported protocol scheme", "no Host in request URL", "nil Request.URL", "nil Request.Header",
		"net/http: invalid method", "net/http: invalid header field", "invalid Host header", "invalid port",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// kind returns the error type, for spans, of an error of the network.
func kind(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.As(err, &timeout) && timeout.Timeout():
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
		err = fmt.Errorf("%w: %w", cause, redact(err))
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

func (a *also) Unwrap() []error { return []error{a.error, a.other} }

// withTimeout returns err so that a url.Error around it, which asks only its
// own Err, knows it for a timeout if it is one.
func withTimeout(err error) error {
	if _, ok := err.(net.Error); ok {
		return err
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return &timeoutError{err}
	}
	return err
}

type timeoutError struct{ error }

func (e *timeoutError) Unwrap() error   { return e.error }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

// redact returns err so that its text shows no credentials and no query of a
// URL, such as a base transport that fetches tokens puts into its errors.
func redact(err error) error {
	u, ok := errors.AsType[*url.Error](err)
	if !ok {
		return err
	}
	shown := "(URL)"
	if parsed, perr := url.Parse(u.URL); perr == nil {
		parsed.User, parsed.RawQuery, parsed.Fragment = nil, "", ""
		shown = parsed.String()
	}
	return &redacted{err, strings.ReplaceAll(strings.ReplaceAll(err.Error(), fmt.Sprintf("%q", u.URL), shown), u.URL, shown)}
}

type redacted struct {
	error
	text string
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.error }
