package httpcall

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/backstay-go/backstay"
)

// explain returns err, the end of an attempt that got no response, with what it
// means for policy, and with the endpoint where that is to blame. fault is what
// reading the request body failed with.
func explain(ctx context.Context, endpoint string, p *progress, fault, err error) error {
	e := meaning(ctx, p, fault, err)
	if e.Class != backstay.Permanent && e.Class != backstay.Canceled {
		e.Err = locate(endpoint, e.Err)
	}
	return e
}

// locate returns err with the endpoint in its text.
func locate(endpoint string, err error) error {
	if endpoint == "" || strings.Contains(err.Error(), endpoint) {
		return err
	}
	return fmt.Errorf("%s: %w", endpoint, err)
}

func meaning(ctx context.Context, p *progress, fault, err error) *backstay.Error {
	switch {
	case ctx.Err() != nil:
		return ended(ctx, err, p.notSent())
	case fault != nil && errors.Is(err, fault), begins(err, wrongLength):
		return &backstay.Error{Err: redact(err), Class: backstay.Permanent, Type: "request_body"}
	}
	e := classify(err, p.connected.Load())
	e.NotSent = e.NotSent && fault == nil || p.notSent()
	e.Err = redact(err)
	return e
}

// ended returns err, which came when ctx had ended, with what that means: a
// cancellation says nothing about the callee, whatever its cause is.
func ended(ctx context.Context, err error, notSent bool) *backstay.Error {
	e := &backstay.Error{Err: withContext(ctx, redact(err)), NotSent: notSent}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		e.Class = backstay.Canceled
	}
	return e
}

// classify tells errors of net/http apart. Some of them have no type, only a
// text. A failure to connect says that nothing was sent only where there was no
// connection before it, on which net/http has tried by itself.
func classify(err error, connected bool) *backstay.Error {
	var (
		dns  *net.DNSError
		addr *net.AddrError
		op   *net.OpError
	)
	switch {
	case isCutHeader(err):
		return &backstay.Error{Class: backstay.Transient, Type: "connection_reset"}
	case begins(err, malformedResponse):
		return &backstay.Error{Class: backstay.Broken}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &backstay.Error{Class: backstay.Broken, NotSent: !connected, Type: "dns_not_found"}
	case errors.As(err, &dns):
		return &backstay.Error{Class: backstay.Transient, NotSent: !connected, Type: kind(err)}
	case isTLS(err, connected):
		return &backstay.Error{Class: backstay.Broken, Type: "tls"}
	case !connected && (malformedRequest.MatchString(err.Error()) || errors.As(err, &addr) && addr.Err == "invalid port"):
		return &backstay.Error{Class: backstay.Permanent, NotSent: true}
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")):
		return &backstay.Error{Class: backstay.Transient, NotSent: !connected, Type: kind(err)}
	case unprocessed.MatchString(err.Error()):
		return &backstay.Error{Class: backstay.Transient, NotSent: true, Type: "connection_reset"}
	}
	return &backstay.Error{Class: backstay.Transient, Type: kind(err)}
}

// What the errors without a type say that prove that nothing was done: of
// requests that net/http refuses to send, and of HTTP/2 streams that the server
// has not looked at. These must be the whole of the error, from its beginning:
// further on, and in errors that wrap others, there may be what the server has
// written.
var (
	malformedRequest = regexp.MustCompile(`^(unsupported protocol scheme "|http: no Host in request URL$|http: nil Request\.URL$|http: invalid Host header$` +
		`|net/http: invalid (method "|header field |trailer field ))`)
	unprocessed = regexp.MustCompile(`^(http2: Transport: cannot retry err \[)?` +
		`(stream error: stream ID \d+; REFUSED_STREAM|http2: Transport received (Server's graceful shutdown GOAWAY|GOAWAY from server ErrCode:))`)
)

// How the errors without a type begin that tell of responses that net/http
// cannot make sense of, and of request bodies that are not as long as the
// request says.
var (
	malformedResponse = []string{
		"malformed HTTP ", "malformed MIME header", "malformed response from server",
		"bad Content-Length ", "invalid empty Content-Length ", "http: message cannot contain multiple Content-Length headers",
		"unsupported transfer encoding: ", "too many transfer encodings: ",
		"net/http: server response headers exceeded ", "http2: response header list larger than advertised limit",
	}
	wrongLength = []string{"http: ContentLength=", "http: Request.ContentLength=", "http2: request body larger than specified content length"}
)

// begins reports whether err, or one that it wraps, begins with one of the
// texts.
func begins(err error, texts []string) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(text, t) }) {
			return true
		}
	}
	return false
}

// isCutHeader reports whether err tells of a header line without a colon.
// net/http parses what there is of a line before it looks why there is no more,
// so this is how it tells of a connection that broke within a header.
func isCutHeader(err error) bool {
	e, _ := errors.AsType[textproto.ProtocolError](err)
	line, found := strings.CutPrefix(string(e), "malformed MIME header line: ")
	return found && !strings.Contains(line, ":") || strings.HasPrefix(string(e), "malformed MIME header: missing colon")
}

// isTLS reports whether the two ends cannot agree on TLS, which another attempt
// will not mend. A handshake that took too long or was cut is not meant.
func isTLS(err error, connected bool) bool {
	var (
		op        *net.OpError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &op) && op.Op == "remote error" || begins(err, []string{"remote error: tls: "}) || begins(err, []string{"tls: "}) && !connected
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
	return &also{err, ctx.Err()}
}

// also is an error that is another one too. That one says nothing of whether
// the call was sent, so neither does the pair, whatever the cause says.
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
	text := hide(err.Error(), err)
	if text == err.Error() {
		return err
	}
	return &redacted{err, text}
}

// hide returns the text with the URLs of all the url.Errors in err's tree
// redacted.
func hide(text string, err error) string {
	if u, ok := err.(*url.Error); ok {
		shown := redactURL(u.URL)
		text = strings.ReplaceAll(text, fmt.Sprintf("%q", u.URL), shown)
		text = strings.ReplaceAll(text, u.URL, shown)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			text = hide(text, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			text = hide(text, inner)
		}
	}
	return text
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
