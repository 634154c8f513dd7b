package httpcall_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
)

var errDisk = errors.New("disk error")

// A faulty body fails once and then says that it is at its end, as some readers
// do.
type faulty struct {
	parts []string
	err   error
}

func (f *faulty) Read(p []byte) (n int, err error) {
	switch {
	case len(f.parts) > 0:
		n = copy(p, f.parts[0])
		f.parts = f.parts[1:]
	case f.err != nil:
		err, f.err = f.err, nil
	default:
		err = io.EOF
	}
	return n, err
}

func (f *faulty) Close() error { return nil }

// reading serves requests whose bodies it reads to the end, and counts those
// that came whole.
func reading(t *testing.T) (url string, whole *atomic.Int32) {
	whole = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
	}))
	srv.Config.ErrorLog = quiet
	t.Cleanup(srv.Close)
	return srv.URL, whole
}

// H-15, H-16: a body that cannot be read is the caller's failure. What it would
// give after that is not sent, for it may lack a piece.
func TestBodyThatFailsIsTheCallersFailure(t *testing.T) {
	refused := errors.New("stream error: stream ID 3; REFUSED_STREAM; received from peer")
	wrap := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			r, _ := backstay.Request[*http.Request](call)
			r.Body = struct{ io.ReadCloser }{r.Body}
			return next(ctx, call)
		}
	})
	for _, row := range []struct {
		name    string
		err     error
		getBody bool
		stack   []backstay.Middleware
	}{
		{"plain", errDisk, false, nil},
		{"with GetBody", errDisk, true, nil},
		{"wrapped by a middleware", errDisk, false, []backstay.Middleware{wrap}},
		{"with a text of HTTP/2", refused, false, nil},
		{"with a text of HTTP/2, wrapped", refused, false, []backstay.Middleware{wrap}},
		{"cut short", io.ErrUnexpectedEOF, false, nil},
	} {
		for _, method := range []string{http.MethodPut, http.MethodPost} {
			address, whole := reading(t)
			b := breaker.New(breaker.Config{FailureRate: breaker.Never, ConsecutiveFailures: 1})
			var last spy
			stack := append([]backstay.Middleware{attempts(3), &last, b}, row.stack...)
			rt := httpcall.NewTransport(backstay.New(stack...), httpcall.Config{Base: base(t), BufferBody: 1 << 20})
			req := request(t, method, address, "")
			open := func() (io.ReadCloser, error) {
				return &faulty{[]string{"half", strings.Repeat("x", 10000)}, row.err}, nil
			}
			req.Body, _ = open()
			req.ContentLength = -1
			if row.getBody {
				req.GetBody = open
			}
			_, err := rt.RoundTrip(req)
			if !errors.Is(err, row.err) || last.sent != 1 || whole.Load() != 0 {
				t.Errorf("%s of a body %s = %v after %d attempts, %d of them whole, want its error after 1 and 0", method, row.name, err, last.sent, whole.Load())
			}
			if got := backstay.Classify(last.err); got != backstay.Permanent || backstay.NotSent(last.err) || b.State() != breaker.Closed {
				t.Errorf("%s of a body %s is %v, NotSent %v, and leaves the breaker %v, want permanent, false, closed", method, row.name, got, backstay.NotSent(last.err), b.State())
			}
		}
	}
}

// H-16: whoever retries all the same has no body to send.
func TestBodyThatFailedIsNotSentAgain(t *testing.T) {
	var got []string
	read := roundTripper(func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		got = append(got, string(b))
		if err != nil {
			return nil, errors.New("upload failed") // whatever the reason
		}
		return respond(200), nil
	})
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: read, BufferBody: 100})
	req := request(t, http.MethodPut, "http://orders.example", "")
	req.Body, req.ContentLength = &faulty{[]string{"half"}, errDisk}, -1
	resp, err := rt.RoundTrip(req)
	if err == nil || len(got) != 1 {
		t.Errorf("a body that fails = %v, %v, and was sent as %q, want an error after one", resp, err, got)
	}
}

func TestBodyOfAnotherLengthIsTheCallersFailure(t *testing.T) {
	for _, length := range []int64{2, 10} {
		address, whole := reading(t)
		b := breaker.New(breaker.Config{FailureRate: breaker.Never, ConsecutiveFailures: 1})
		var last spy
		rt := over(t, attempts(3), &last, b)
		req := request(t, http.MethodPut, address, "text")
		req.ContentLength = length
		resp, err := rt.RoundTrip(req)
		if length == 2 && err == nil { // the server may be content with two bytes
			resp.Body.Close()
			continue
		}
		if err == nil || last.sent != 1 || whole.Load() > 0 && length > 4 || b.State() != breaker.Closed || backstay.NotSent(last.err) {
			t.Errorf("4 bytes with Content-Length %d = %v after %d attempts, breaker %v, NotSent %v, want an error after 1, closed, false", length, err, last.sent, b.State(), backstay.NotSent(last.err))
		}
	}
}
