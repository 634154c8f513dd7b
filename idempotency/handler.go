package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// Handler returns next as a handler that does the work of each key once. It
// belongs below what authenticates callers and above what has effects, around
// the handlers of routes and not around their mux, whose 404 would be kept, and
// whose redirects would change the request in the middle of its attempts.
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
	if next == nil {
		panic("idempotency: the handler is nil; give the one that does the work")
	}
	cfg = cfg.defaults()
	if cfg.Release == nil {
		cfg.Release = Released
		if g.Undoes() {
			cfg.Release = func(status int) bool { return status >= 500 || Released(status) }
		}
	}
	if fmt.Sprintf("%T", next) == "*http.timeoutHandler" && cfg.Release(http.StatusServiceUnavailable) {
		panic("idempotency: http.TimeoutHandler answers 503 while its handler goes on, which would free the key in the middle of the work; put it above this one, and see GuardConfig.Timeout")
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
		res.NotKept = true
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
		h.fail(w, r, h.g.Unreadable(r.Context(), err))
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
	if err == nil && len(all) == 0 && (r.ContentLength > 0 || len(r.PostForm) > 0 || r.MultipartForm != nil) {
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
	h.fail(w, r, h.g.Refuse(r.Context(), is, detail))
}

// fail answers with the error.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	err.(*Error).answer(w, r) // as all errors of Do are
}
