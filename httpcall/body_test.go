package httpcall_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/retry"
)

// H-15
func TestRequestsThatCanBeSentAgain(t *testing.T) {
	plain := func(s string) io.ReadCloser { return io.NopCloser(struct{ io.Reader }{strings.NewReader(s)}) }
	for _, row := range []struct {
		name    string
		body    io.ReadCloser
		getBody func() (io.ReadCloser, error)
		want    []string
	}{
		{"nil", nil, nil, []string{"", "", ""}},
		{"NoBody", http.NoBody, nil, []string{"", "", ""}},
		{"GetBody", plain("body"), func() (io.ReadCloser, error) { return plain("body"), nil }, []string{"body", "body", "body"}},
		{"plain", plain("body"), nil, []string{"body"}}, // H-16: one attempt by default
	} {
		s := serve(t, status(503), reset, status(200))
		req := request(t, http.MethodPut, s.url(), "")
		req.Body, req.GetBody = row.body, row.getBody
		if row.body != nil && row.body != http.NoBody {
			req.ContentLength = 4
		}
		resp, err := over(t, attempts(3)).RoundTrip(req)
		got := answer(t, resp, err)
		if bodies := sent(s); !slices.Equal(bodies, row.want) {
			t.Errorf("%s: the bodies were %q, want %q", row.name, bodies, row.want)
		}
		if want := map[int]string{1: "503 Service Unavailable", 3: "200 OK"}[len(row.want)]; got != want {
			t.Errorf("%s: RoundTrip() = %s, want %s", row.name, got, want)
		}
	}
}

// sent returns the bodies that have arrived.
func sent(s *script) (bodies []string) {
	for _, a := range s.arrived() {
		bodies = append(bodies, a.body)
	}
	return bodies
}

// H-15: the caller's body is the first attempt's, and GetBody is asked for the
// others only.
func TestGetBodyIsAskedOnlyForRetries(t *testing.T) {
	s := serve(t, status(503), status(503), status(200))
	b := bodies{text: "body"}
	req := request(t, http.MethodPut, s.url(), "")
	req.Body, req.ContentLength, req.GetBody = track(strings.NewReader("body")), 4, b.getBody
	resp, err := over(t, attempts(5)).RoundTrip(req)
	answer(t, resp, err)
	if len(b.given) != 2 {
		t.Errorf("GetBody was called %d times for 3 attempts, want 2", len(b.given))
	}
}

// A meter knows how much of it was read at most.
type meter struct {
	mu   sync.Mutex
	left int
	read int
}

func (m *meter) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), m.left)
	for i := range n {
		p[i] = 'a' + byte((m.read+i)%26)
	}
	m.left -= n
	m.read += n
	return n, nil
}

func (m *meter) Close() error { return nil }

// H-16
func TestBufferBodyCopiesUpToItsLimit(t *testing.T) {
	const limit = 10 << 10
	for _, row := range []struct {
		size  int
		known bool // the length
		want  int  // requests
	}{
		{0, false, 3},
		{1, true, 3},
		{limit - 1, true, 3},
		{limit, true, 3},
		{limit, false, 3},
		{limit + 1, true, 1},
		{limit + 1, false, 1},
		{100 * limit, false, 1},
	} {
		var body bytes.Buffer
		io.Copy(&body, &meter{left: row.size})
		s := serve(t, status(503), reset, status(200))
		rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: base(t), BufferBody: limit})
		req := request(t, http.MethodPut, s.url(), "")
		req.Body, req.ContentLength = &meter{left: row.size}, -1
		if row.known {
			req.ContentLength = int64(row.size)
		}
		resp, err := rt.RoundTrip(req)
		answer(t, resp, err)
		got := sent(s)
		if len(got) != row.want {
			t.Errorf("%d bytes with BufferBody %d were sent %d times, want %d", row.size, limit, len(got), row.want)
		}
		for i, b := range got {
			if b != body.String() {
				t.Errorf("%d bytes with BufferBody %d: attempt %d sent %d bytes, want all of them", row.size, limit, i+1, len(b))
			}
		}
	}
}

// H-16: the copy is made of what net/http reads, when it reads it.
func TestBodyIsNeverReadAhead(t *testing.T) {
	body := &meter{left: 1 << 30}
	look := roundTripper(func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		io.ReadFull(r.Body, make([]byte, 1000))
		return nil, errors.New("lost")
	})
	rt := httpcall.NewTransport(backstay.New(), httpcall.Config{Base: look, BufferBody: 1 << 20})
	req := request(t, http.MethodPut, "http://orders.example", "")
	req.Body, req.ContentLength = body, -1
	rt.RoundTrip(req)
	if body.read != 1000 {
		t.Errorf("when 1000 bytes had been asked for, %d were read, want 1000", body.read)
	}
}

// H-16: what there is of a body is sent at once, whether more comes or not.
func TestCopiedBodyIsSentAsItComes(t *testing.T) {
	first := make(chan string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := make([]byte, 100)
		n, _ := r.Body.Read(p)
		first <- string(p[:n])
		io.Copy(io.Discard, r.Body)
	}))
	defer srv.Close()
	out, in := io.Pipe()
	go func() {
		io.WriteString(in, "first")
		if got := <-first; got != "first" {
			t.Errorf("the server read %q while the body goes on, want first", got)
		}
		in.Close()
	}()
	req := request(t, http.MethodPut, srv.URL, "")
	req.Body, req.ContentLength = out, -1
	resp, err := httpcall.NewTransport(nil, httpcall.Config{Base: base(t), BufferBody: 1 << 20}).RoundTrip(req)
	if got := answer(t, resp, err); got != "200 " {
		t.Errorf("RoundTrip() = %s, want 200", got)
	}
}

// H-16: an attempt that was cut in the middle of the body is followed by one
// that has the whole.
func TestCopyAndTheRestAreSentTogether(t *testing.T) {
	var got []string
	half := 0
	cut := roundTripper(func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		half += 3
		if half < 9 {
			p := make([]byte, half)
			io.ReadFull(r.Body, p)
			got = append(got, string(p))
			return nil, io.ErrUnexpectedEOF
		}
		b, err := io.ReadAll(r.Body)
		got = append(got, string(b))
		return &http.Response{StatusCode: 200}, err
	})
	rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: cut, BufferBody: 100})
	req := request(t, http.MethodPut, "http://orders.example", "")
	req.Body, req.ContentLength = &meter{left: 26}, 26
	resp, err := rt.RoundTrip(req)
	answer(t, resp, err)
	if want := []string{"abc", "abcdef", "abcdefghijklmnopqrstuvwxyz"}; !slices.Equal(got, want) {
		t.Errorf("the attempts read %q, want %q", got, want)
	}
}

// H-17
func TestNextBodyComesBeforeTheResponseIsDiscarded(t *testing.T) {
	no := errors.New("no")
	for _, row := range []struct {
		err   error
		sends int
		want  string
	}{
		{nil, 2, "200 ok"},
		{no, 1, "503 unavailable"},
	} {
		response := track(strings.NewReader("unavailable"))
		sends := 0
		b := roundTripper(func(r *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if sends++; sends == 1 {
				return &http.Response{StatusCode: 503, Body: response}, nil
			}
			if response.closes.Load() != 1 {
				t.Errorf("the second attempt was sent with the first response closed %d times, want once", response.closes.Load())
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("ok"))}, nil
		})
		req := request(t, http.MethodPut, "http://orders.example", "body")
		req.GetBody = func() (io.ReadCloser, error) {
			if response.closes.Load() != 0 {
				t.Errorf("GetBody was called after the response at hand was closed, want before")
			}
			return io.NopCloser(strings.NewReader("body")), row.err
		}
		rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: b})
		resp, err := rt.RoundTrip(req)
		if got := answer(t, resp, err); got != row.want || sends != row.sends {
			t.Errorf("with GetBody error %v RoundTrip() = %s after %d attempts, want %s after %d", row.err, got, sends, row.want, row.sends)
		}
		response.check(t, "the first response")
	}
}

// H-17: what failed is the result where there is no response.
func TestGetBodyErrorLeavesTheFailure(t *testing.T) {
	s := serve(t, hangUp)
	req := request(t, http.MethodPut, s.url(), "body")
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("GetBody: no") }
	_, err := over(t, attempts(3)).RoundTrip(req)
	if !errors.Is(err, io.EOF) || len(s.arrived()) != 1 {
		t.Errorf("RoundTrip() = %v after %d requests, want EOF after 1", err, len(s.arrived()))
	}
}

// H-17
func TestGetBodyThatReturnsNilIsAnEmptyBody(t *testing.T) {
	var got []string
	b := roundTripper(func(r *http.Request) (*http.Response, error) {
		p := make([]byte, 2)
		n, _ := r.Body.Read(p)
		got = append(got, string(p[:n]))
		r.Body.Close()
		return nil, io.EOF
	})
	req := request(t, http.MethodPut, "http://orders.example", "body")
	req.GetBody = func() (io.ReadCloser, error) { return nil, nil }
	httpcall.NewTransport(backstay.New(attempts(2)), httpcall.Config{Base: b}).RoundTrip(req)
	if want := []string{"bo", ""}; !slices.Equal(got, want) {
		t.Errorf("the bodies are %q, want %q", got, want)
	}
}

// H-18
func TestAttemptsHaveTheSameLength(t *testing.T) {
	for _, row := range []struct {
		length int64
		buffer int64
		get    bool
		want   string // Content-Length or Transfer-Encoding
	}{
		{4, 0, true, "4 []"},
		{-1, 0, true, " [chunked]"},
		{0, 0, true, " [chunked]"}, // net/http: 0 with a body means unknown
		{4, 100, false, "4 []"},
		{-1, 100, false, " [chunked]"},
	} {
		s := serve(t, status(503), reset, status(200))
		req := request(t, http.MethodPut, s.url(), "body")
		req.ContentLength = row.length
		if !row.get {
			req.GetBody = nil
		}
		rt := httpcall.NewTransport(backstay.New(attempts(3)), httpcall.Config{Base: base(t), BufferBody: row.buffer})
		resp, err := rt.RoundTrip(req)
		answer(t, resp, err)
		if len(s.arrived()) != 3 {
			t.Errorf("ContentLength %d: %d requests arrived, want 3", row.length, len(s.arrived()))
		}
		for i, a := range s.arrived() {
			got := a.Header.Get("Content-Length") + " [" + strings.Join(a.TransferEncoding, " ") + "]"
			if got != row.want || a.body != "body" {
				t.Errorf("ContentLength %d: attempt %d had the length %s and the body %q, want %s and body", row.length, i+1, got, a.body, row.want)
			}
		}
	}
}

// H-18: GetBody of the copies is what net/http sends again by itself with, so
// there must be none where the caller has given none.
func TestGetBodyIsSetOnCopiesOnly(t *testing.T) {
	for _, get := range []bool{true, false} {
		var seen *http.Request
		b := roundTripper(func(r *http.Request) (*http.Response, error) {
			seen = r
			r.Body.Close()
			return &http.Response{StatusCode: 200}, nil
		})
		req := request(t, http.MethodPut, "http://orders.example", "body")
		if !get {
			req.GetBody = nil
		}
		httpcall.NewTransport(nil, httpcall.Config{Base: b, BufferBody: 100}).RoundTrip(req)
		if seen == req || (seen.GetBody != nil) != get || (req.GetBody != nil) != get {
			t.Errorf("GetBody given: %v, on the copy: %v, on the caller's after: %v", get, seen.GetBody != nil, req.GetBody != nil)
		}
	}
}

// A slow body is being read when it is closed.
type slow struct {
	reading chan struct{} // closed when a Read has begun
	finish  chan struct{} // closed to end it
	once    sync.Once
	mu      sync.Mutex
	readers int
	text    string
}

func newSlow(text string) *slow {
	return &slow{reading: make(chan struct{}), finish: make(chan struct{}), text: text}
}

func (s *slow) Read(p []byte) (int, error) {
	s.mu.Lock()
	s.readers++
	if s.readers > 1 {
		panic("the body is read by two at a time")
	}
	s.mu.Unlock()
	s.once.Do(func() { close(s.reading) })
	<-s.finish
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers--
	n := copy(p, s.text)
	if s.text = s.text[n:]; s.text == "" {
		return n, io.EOF
	}
	return n, nil
}

func (s *slow) Close() error { return nil }

// H-19: net/http may go on reading the body after it has given up.
func TestBodyIsNotReusedWhileItIsRead(t *testing.T) {
	leak.Check(t)
	for _, row := range []struct {
		name  string
		late  bool // the Read ends only after the call
		sends int
	}{
		{"the Read ends", false, 2},
		{"the Read hangs", true, 1},
	} {
		body := newSlow("body")
		readers := make(chan string, 3)
		sends := 0
		b := roundTripper(func(r *http.Request) (*http.Response, error) {
			sends++
			if sends == 1 {
				go func() { // as the write loop of net/http
					p := make([]byte, 10)
					n, _ := r.Body.Read(p)
					readers <- string(p[:n])
				}()
				<-body.reading
				r.Body.Close()
				if !row.late {
					go close(body.finish)
				}
				return nil, io.ErrUnexpectedEOF
			}
			all, err := io.ReadAll(r.Body)
			readers <- string(all)
			r.Body.Close()
			return &http.Response{StatusCode: 200}, err
		})
		req := request(t, http.MethodPut, "http://orders.example", "")
		req.Body, req.ContentLength = body, 4
		rt := httpcall.NewTransport(backstay.New(attempts(2)), httpcall.Config{Base: b, BufferBody: 100})
		resp, err := rt.RoundTrip(req)
		answer(t, resp, err)
		if sends != row.sends {
			t.Errorf("%s: %d attempts, want %d: %v", row.name, sends, row.sends, err)
		}
		if row.late {
			close(body.finish)
		}
		for range sends {
			if got := <-readers; got != "body" {
				t.Errorf("%s: an attempt read %q, want body", row.name, got)
			}
		}
	}
}

// seeker is a body that must not be rewound.
type seeker struct {
	*strings.Reader
	t *testing.T
}

func (s seeker) Seek(int64, int) (int64, error) {
	s.t.Errorf("the body was rewound")
	return 0, nil
}
func (s seeker) Close() error { return nil }

// H-19
func TestBodyIsNeverRewound(t *testing.T) {
	s := serve(t, status(503))
	req := request(t, http.MethodPut, s.url(), "")
	req.Body, req.ContentLength = seeker{strings.NewReader("body"), t}, 4
	resp, err := over(t, attempts(3)).RoundTrip(req)
	if got := answer(t, resp, err); got != "503 Service Unavailable" || len(s.arrived()) != 1 {
		t.Errorf("a body that could be rewound = %s after %d requests, want 503 after 1", got, len(s.arrived()))
	}
}

// H-2, H-15: attempts that overlap, as hedged ones do, have bodies of their
// own, and one that comes after the end of the call is not sent.
func TestOverlappingAttemptsHaveBodiesOfTheirOwn(t *testing.T) {
	s := serve(t, status(200))
	overlap := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			a, err := call.Fork()
			if err != nil {
				return err
			}
			b, err := call.Fork()
			if err != nil {
				a.Discard(err)
				return err
			}
			var both sync.WaitGroup
			var errs [2]error
			both.Go(func() { errs[0] = next(ctx, a) })
			both.Go(func() { errs[1] = next(ctx, b) })
			both.Wait()
			call.Adopt(a)
			b.Discard(context.Canceled)
			return errors.Join(errs[:]...)
		}
	})
	for range 20 {
		fresh := bodies{text: "body"}
		original := track(strings.NewReader("body"))
		req := request(t, http.MethodPut, s.url(), "")
		req.Body, req.ContentLength, req.GetBody = original, 4, fresh.getBody
		resp, err := over(t, overlap).RoundTrip(req)
		if got := answer(t, resp, err); got != "200 OK" {
			t.Errorf("overlapping attempts = %s, want 200 OK", got)
		}
		original.check(t, "the caller's body")
		for _, b := range fresh.given {
			b.check(t, "a body of GetBody")
		}
	}
	for _, b := range sent(s) {
		if b != "body" {
			t.Errorf("an attempt sent %q, want body", b)
		}
	}
	if got := len(s.arrived()); got != 40 {
		t.Errorf("20 calls of 2 attempts sent %d requests, want 40", got)
	}
}

// H-8: a CONNECT is not even prepared to be sent again.
func TestConnectIsNotSentAgain(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody, io.NopCloser(strings.NewReader("tunnel"))} {
		s := serve(t, status(503))
		req := request(t, http.MethodConnect, s.url(), "")
		req.Body = body
		req = req.WithContext(httpcall.Idempotent(req.Context()))
		rt := httpcall.NewTransport(backstay.New(retry.New(retry.Config{NoBudget: true, If: func(error) bool { return true }})), httpcall.Config{Base: base(t), BufferBody: 100})
		resp, err := rt.RoundTrip(req)
		if got := answer(t, resp, err); got != "503 Service Unavailable" || len(s.arrived()) != 1 {
			t.Errorf("a CONNECT = %s after %d requests, want 503 after 1", got, len(s.arrived()))
		}
	}
}

// H-15: GetBody may be of a thing that only one can have open, and wait
// until the attempt before has closed it.
func TestGetBodyMayWaitForTheBodyBefore(t *testing.T) {
	original, asked := track(strings.NewReader("body")), make(chan struct{})
	sends := 0
	b := roundTripper(func(r *http.Request) (*http.Response, error) {
		if sends++; sends > 1 {
			defer r.Body.Close()
			text, err := io.ReadAll(r.Body)
			if string(text) != "body" {
				t.Errorf("the second attempt read %q, want body", text)
			}
			return respond(200), err
		}
		r.Body.Read(make([]byte, 1))
		go func() { // as the write loop of net/http
			<-asked
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}()
		return respond(503), nil
	})
	req := request(t, http.MethodPut, "http://orders.example", "")
	req.Body, req.ContentLength = original, 4
	req.GetBody = func() (io.ReadCloser, error) {
		close(asked)
		<-original.closed
		return io.NopCloser(strings.NewReader("body")), nil
	}
	rt := httpcall.NewTransport(backstay.New(attempts(2)), httpcall.Config{Base: b})
	done := make(chan string, 1)
	go func() {
		resp, err := rt.RoundTrip(req)
		done <- answer(t, resp, err)
	}()
	select {
	case got := <-done:
		if got != "200 " {
			t.Errorf("RoundTrip() = %s, want 200", got)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the call hangs in GetBody, and with it the body that GetBody waits for")
	}
}

// A body from GetBody that comes when the call is over is closed.
func TestBodyThatComesTooLateIsClosed(t *testing.T) {
	leak.Check(t)
	asked, release, late := make(chan struct{}), make(chan struct{}), track(strings.NewReader("body"))
	forked := make(chan error)
	again := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			first, err := call.Fork()
			if err != nil {
				return err
			}
			err = next(ctx, first)
			go func() {
				_, err := call.Fork()
				forked <- err
			}()
			<-asked
			call.Adopt(first)
			return err
		}
	})
	b := roundTripper(func(r *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return respond(200), nil
	})
	req := request(t, http.MethodPut, "http://orders.example", "")
	req.Body, req.ContentLength = track(strings.NewReader("body")), 4
	req.GetBody = func() (io.ReadCloser, error) {
		close(asked)
		<-release
		return late, nil
	}
	resp, err := httpcall.NewTransport(backstay.New(again), httpcall.Config{Base: b}).RoundTrip(req)
	answer(t, resp, err)
	close(release)
	if err := <-forked; err == nil {
		t.Errorf("Fork() after the call = nil, want an error")
	}
	late.check(t, "the late body")
}
