package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// HandlerConfig describes a Handler. All but Tenant have a default.
type HandlerConfig struct {
	// Tenant returns whose request it is: an account, as it was authenticated by
	// a handler above this one. A key is known to its tenant alone, so no tenant
	// gets what another was answered. It must be the same for all attempts of a
	// request: an account, and not a token that is renewed between them.
	//
	// A request whose tenant is "" is refused with 403. OneTenant is for
	// handlers all of whose callers may see each other's answers.
	Tenant func(*http.Request) string

	// Format is how callers send their keys. The zero value is Standard, which
	// has them in quotes.
	Format Format

	// Methods are those of the requests that need a key. Others are passed on as
	// they are. nil means POST and PATCH.
	Methods []string

	// Optional passes on requests without a key, without protection. Otherwise
	// they are refused with 400.
	Optional bool

	// MaxBody is how many bytes the body of a request may have, which is held in
	// memory. Longer ones are refused with 413. 0 means 1 MiB.
	MaxBody int64

	// MaxAnswer is how many bytes the body of an answer may have to be kept. A
	// longer one is sent as it is written; who asks again gets 409 and is told
	// that it was done. 0 means 1 MiB.
	MaxAnswer int

	// Headers names headers of answers to keep beside those that describe the
	// body. Set-Cookie, Date and others that belong to one answer cannot be
	// kept. What every answer has, such as the headers of CORS, is for a handler
	// above this one to add.
	Headers []string

	// Release reports whether an answer with the status says that nothing was
	// done and that another attempt may succeed: it is not kept, and the key is
	// free again. nil means Released; with a Transactor, which has undone what
	// was done, also each status from 500 on.
	//
	// A status with which the handler gives up on work that may go on, or may
	// have been done, must not be one of these: 502 of an httputil.ReverseProxy,
	// or 503 of an http.TimeoutHandler below this one.
	Release func(status int) bool
}

// OneTenant is the Tenant of all requests.
func OneTenant(*http.Request) string { return "all" }

// Released reports whether the status is one of 307, 308, 401, 403, 408, 409,
// 421, 425, 429, 502, 503 and 504: answers of a handler that has not begun the
// work, or is sure that it had no effect, and those that send the same request
// somewhere else.
func Released(status int) bool {
	switch status {
	case 307, 308, 401, 403, 408, 409, 421, 425, 429, 502, 503, 504:
		return true
	}
	return false
}

// Validate reports what is wrong with the config.
func (c HandlerConfig) Validate() error {
	if err := c.Format.Validate(); err != nil {
		return err
	}
	switch {
	case c.Tenant == nil:
		return errors.New("idempotency: without a Tenant one caller could get what another was answered; give a function that returns whose request it is, or OneTenant")
	case c.MaxBody < 0:
		return fmt.Errorf("idempotency: MaxBody is %d; give a number of bytes, or 0 for 1 MiB", c.MaxBody)
	case c.MaxAnswer < 0:
		return fmt.Errorf("idempotency: MaxAnswer is %d; give a number of bytes, or 0 for 1 MiB", c.MaxAnswer)
	}
	if c.Methods != nil && len(c.Methods) == 0 {
		return errors.New("idempotency: no Methods would leave all requests without protection; name some, or leave it out for POST and PATCH")
	}
	for _, m := range c.Methods {
		if m == "" || !isToken(m) || m != strings.ToUpper(m) {
			return fmt.Errorf("idempotency: %q cannot be a method; give names such as POST, whose case counts", m)
		}
	}
	for _, h := range c.Headers {
		if h == "" || !isToken(h) {
			return fmt.Errorf("idempotency: %q cannot be a header; give names such as X-Request-Id", h)
		}
		if isNeverKept(h) {
			return fmt.Errorf("idempotency: the header %s belongs to one answer and is not for another; take it out of Headers", http.CanonicalHeaderKey(h))
		}
	}
	return nil
}

func (c HandlerConfig) defaults() HandlerConfig {
	c.Format = c.Format.defaults()
	if c.Methods == nil {
		c.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = 1 << 20
	}
	c.Headers = slices.Concat(kept, c.Headers)
	for i, h := range c.Headers {
		c.Headers[i] = http.CanonicalHeaderKey(h)
	}
	return c
}

// Handler returns next as a handler that does the work of each key once. It
// belongs below what authenticates callers and above what has effects.
//
// A request with a new key is passed to next, and the answer is kept before it
// is sent; the same request again gets the same status and body, a header
// Idempotent-Replayed, and of the other headers those that describe the body.
// Kept are answers with any status but those of Release. What cannot be served
// is answered with a problem (RFC 9457): see Error.
//
// The same request has the same method, path, query, Content-Type and body, in
// whatever order the parameters of the query are. The host may differ: handlers
// of several hosts that do different work have Guards of different Names.
//
// The context of the request that next gets does not end when the caller goes:
// see Guard.Do. An answer waits until next has returned, even where next flushes
// it. Those that are longer than MaxAnswer, that take the connection over, or
// that are flushed and are streams by their Content-Type (text/event-stream,
// application/x-ndjson, application/json-seq, multipart/x-mixed-replace) go out
// as they are written and are not kept; who asks again gets 409 and is told that
// it was done. One whose transaction then does not commit is broken off. Trailers
// are sent, and not repeated; informational answers, such as 103, are left out.
//
// It panics if cfg is not valid.
func (g *Guard) Handler(next http.Handler, cfg HandlerConfig) http.Handler {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	switch {
	case next == nil:
		panic("idempotency: the handler is nil; give the one that does the work")
	case fmt.Sprintf("%T", next) == "*http.timeoutHandler":
		panic("idempotency: http.TimeoutHandler answers 503 while its handler goes on, which would free the key in the middle of the work; put it above this one, and see GuardConfig.Timeout")
	}
	cfg = cfg.defaults()
	if cfg.Release == nil {
		cfg.Release = Released
		if g.tx != nil && g.cfg.OnLeaseExpiry == Reexecute {
			cfg.Release = func(status int) bool { return status >= 500 || Released(status) }
		}
	}
	return &handler{g, next, cfg}
}

type handler struct {
	g    *Guard
	next http.Handler
	cfg  HandlerConfig
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(h.cfg.Methods, r.Method) {
		h.next.ServeHTTP(w, r)
		return
	}
	key, sent, fault := h.cfg.Format.read(r.Header)
	switch {
	case !sent && h.cfg.Optional:
		h.next.ServeHTTP(w, r)
		return
	case fault != "":
		h.refuse(w, r, ErrMissing, fault)
		return
	}
	tenant := h.cfg.Tenant(r)
	if tenant == "" {
		h.refuse(w, r, ErrNoTenant, "the request does not say whose it is; send it with the credentials of an account")
		return
	}
	body, err := h.body(w, r)
	if err != nil {
		h.unreadable(w, r, err)
		return
	}
	h.once(w, r, Request{tenant, key, fingerprint(r, body)}, body)
}

// once serves the request if it is the first with its key, or else repeats what
// the first was answered.
func (h *handler) once(w http.ResponseWriter, r *http.Request, req Request, body []byte) {
	rec := newRecorder(w, h.cfg.MaxAnswer)
	rec.open = h.g.tx != nil
	record, replayed, err := h.g.Do(r.Context(), req, func(ctx context.Context) Result {
		h.work(ctx, rec, r, body)
		return h.result(rec)
	})
	switch {
	case err != nil && rec.direct:
		panic(http.ErrAbortHandler) // what has gone out is not what counts
	case err != nil:
		h.fail(w, r, err)
	case replayed:
		h.replay(w, r, record)
	default:
		rec.send()
	}
}

// work passes the request on, with a body that can be read again.
func (h *handler) work(ctx context.Context, rec *recorder, r *http.Request, body []byte) {
	own := r.WithContext(ctx)
	own.Body = http.NoBody
	if len(body) > 0 {
		own.Body = io.NopCloser(bytes.NewReader(body))
	}
	defer func() {
		// The server and the handlers above look for these in the request they
		// know: it removes the files of a form, they log the pattern.
		r.MultipartForm, r.Pattern = own.MultipartForm, own.Pattern
	}()
	h.next.ServeHTTP(rec, own)
	rec.begin()
}

// result is what the answer means for the key.
func (h *handler) result(rec *recorder) Result {
	var res Result
	switch {
	case h.cfg.Release(rec.status):
		res.Verdict = Release
	case rec.status >= 400:
		res.Verdict = Reject
	}
	if rec.direct || rec.short() {
		res.Record = []byte(notKept)
		return res
	}
	keep := http.Header{}
	for _, name := range h.cfg.Headers {
		// A header without values says that net/http is not to add it.
		if values, ok := rec.frozen[name]; ok {
			keep[name] = values
		}
	}
	res.Record = reply{rec.status, keep, rec.body}.encode()
	return res
}

func (h *handler) replay(w http.ResponseWriter, r *http.Request, record []byte) {
	re, err := decodeReply(record)
	if err != nil {
		h.g.tell(r.Context(), StoreFailed, err)
		newError(ErrNotKept, "the work was done, and its answer cannot be read", 0).answer(w, r)
		return
	}
	re.replay(w, h.cfg.Headers)
}

// errConsumed is a programmer's mistake that would have all requests with a key
// look alike.
var errConsumed = errors.New("idempotency: the body has been read before Handler got it; put Handler above what reads it, such as ParseForm")

// body reads the body, all of which is needed to compare the request.
func (h *handler) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, &http.MaxBytesError{Limit: h.cfg.MaxBody}
	}
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	all, err := io.ReadAll(http.MaxBytesReader(w, body, h.cfg.MaxBody))
	if err == nil && (r.ContentLength > int64(len(all)) || len(all) == 0 && (len(r.PostForm) > 0 || r.MultipartForm != nil)) {
		return nil, errConsumed
	}
	return all, err
}

func (h *handler) unreadable(w http.ResponseWriter, r *http.Request, err error) {
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		h.refuse(w, r, ErrTooLarge, fmt.Sprintf("the body has more than %d bytes; send at most that many", tooLong.Limit))
		return
	}
	e := &Error{Status: http.StatusBadRequest, Type: "about:blank", Detail: "the body could not be read to its end; send it again with the same key"}
	if err == errConsumed {
		e.Status, e.Detail = http.StatusInternalServerError, "the server has a fault, for which it cannot tell the request from others; nothing was done"
	}
	e.Title = http.StatusText(e.Status)
	h.g.tell(r.Context(), Refused, err)
	e.answer(w, r)
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, is error, detail string) {
	h.fail(w, r, h.g.refuse(r.Context(), is, detail, 0))
}

// fail answers with the error.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	err.(*Error).answer(w, r) // as all errors of Do are
}
