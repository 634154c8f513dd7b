package httpcall

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	errUsedUp = errors.New("httpcall: the request body has been read and has no GetBody; set Config.BufferBody to keep a copy")
	errInUse  = errors.New("httpcall: the request body is still being read by an earlier attempt")
	errOver   = errors.New("httpcall: the call is over")
)

// A source gives each attempt of a call its request body. The caller's own
// goes to the first that is sent; once it has been read from, the others get
// what GetBody returns, or what was copied while it was read.
type source struct {
	original io.ReadCloser
	getBody  func() (io.ReadCloser, error)
	limit    int64 // of what is copied
	connect  bool

	mu     sync.Mutex
	holder *requestBody   // the last that was sent with the original
	opened []*requestBody // those from getBody
	copied []byte
	spent  bool // read from, and not all of it was copied
	closed bool // the original was
	over   bool // the call is
}

// maxWait bounds the wait for net/http to close the body of an attempt that
// has failed, which it may do a little later.
const maxWait = 100 * time.Millisecond

// newSource returns the source of req's body, or nil if there is nothing to
// read and the request may be sent any number of times.
func (t *Transport) newSource(req *http.Request) *source {
	original, connect := req.Body, req.Method == http.MethodConnect
	if original == nil {
		original = http.NoBody
	}
	if original == http.NoBody && !connect {
		return nil
	}
	s := &source{original: original, getBody: req.GetBody, connect: connect}
	if s.getBody == nil {
		s.limit = t.cfg.BufferBody
	}
	return s
}

// next returns the body of another attempt. If that cannot be the original any
// more, GetBody is asked now, while a failure of it can still be avoided.
func (s *source) next(ctx context.Context) (*requestBody, error) {
	s.mu.Lock()
	h := s.holder
	s.mu.Unlock()
	if h != nil && s.connect {
		return nil, errConnect
	}
	if h != nil && s.getBody == nil && !h.wait(ctx, maxWait) {
		return nil, errInUse
	}
	s.mu.Lock()
	over, free := s.over, s.free()
	s.mu.Unlock()
	b := &requestBody{src: s, gone: make(chan struct{})}
	switch {
	case over:
		return nil, errOver
	case free:
		return b, nil
	case s.getBody == nil:
		return nil, errUsedUp
	}
	return b, s.open(b)
}

// open has b read what GetBody returns. It holds no lock meanwhile: GetBody may
// wait for an earlier attempt to close its body.
func (s *source) open(b *requestBody) error {
	own, err := s.getBody()
	if err != nil {
		return err
	}
	if own == nil {
		own = http.NoBody
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		own.Close()
		return errOver
	}
	b.own = own
	s.opened = append(s.opened, b)
	return nil
}

// free reports whether the original can be sent: it has not been read from, or
// a copy was kept, and nobody is reading it.
func (s *source) free() bool {
	return !s.spent && !s.closed && (s.holder == nil || s.holder.idle())
}

// finish ends the call: a body is closed by the attempt that it was sent with,
// or at once if there is none. After a panic nobody else will.
func (s *source) finish(panicked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if panicked || s.holder == nil || s.holder.isClosed() {
		s.close()
	}
	for _, b := range s.opened {
		if panicked || !b.sent {
			b.Close()
		}
	}
}

func (s *source) close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.original.Close()
}

// A requestBody is the request body of one attempt.
type requestBody struct {
	src  *source
	own  io.ReadCloser // from GetBody; else the original is read
	pos  int           // in the copy
	sent bool

	mu      sync.Mutex
	closed  bool
	reading bool
	failed  error         // what a Read has returned while it was not closed
	gone    chan struct{} // closed when closed and not reading
}

// send is called when the attempt is sent. Of two attempts that overlap and
// were both to have the original the second has to do with GetBody.
func (b *requestBody) send() error {
	if taken, err := b.take(); taken || err != nil {
		return err
	}
	return b.src.open(b)
}

// take reports whether b has something to read, which may be the original now.
func (b *requestBody) take() (bool, error) {
	s := b.src
	s.mu.Lock()
	defer s.mu.Unlock()
	b.sent = true
	switch {
	case s.over:
		return false, errOver
	case b.own != nil:
		return true, nil
	case s.free():
		s.holder = b
		return true, nil
	case s.getBody == nil:
		return false, errInUse
	}
	return false, nil
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.own != nil {
		n, err := b.own.Read(p)
		b.note(err)
		return n, err
	}
	if !b.enter() {
		return 0, http.ErrBodyReadAfterClose
	}
	defer b.leave()
	if n := b.replay(p); n > 0 {
		return n, nil
	}
	n, err := b.src.original.Read(p)
	b.keep(p[:n], err)
	b.note(err)
	return n, err
}

// note remembers an error of a Read that is the body's own doing: not the end,
// and not what comes of closing it meanwhile.
func (b *requestBody) note(err error) {
	if err == nil || err == io.EOF {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && b.failed == nil {
		b.failed = err
	}
}

func (b *requestBody) fault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// replay reads what an earlier attempt has read.
func (b *requestBody) replay(p []byte) int {
	b.src.mu.Lock()
	defer b.src.mu.Unlock()
	n := copy(p, b.src.copied[min(b.pos, len(b.src.copied)):])
	b.pos += n
	return n
}

// keep copies what was read for later attempts, as long as it is not too much.
// After an error nobody knows whether what comes next is the rest: some readers
// then say that they are at the end.
func (b *requestBody) keep(p []byte, err error) {
	s := b.src
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.spent:
	case err != nil && err != io.EOF:
		s.spent, s.copied = true, nil
	case len(p) == 0:
	case int64(len(s.copied)+len(p)) > s.limit:
		s.spent, s.copied = true, nil
	default:
		s.copied = append(s.copied, p...)
		b.pos += len(p)
	}
}

// Close closes what was read, or leaves that to the source while another
// attempt may need it.
func (b *requestBody) Close() error {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	if !again && !b.reading {
		close(b.gone)
	}
	b.mu.Unlock()
	if again {
		return nil
	}
	if b.own != nil {
		return b.own.Close()
	}
	s := b.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder == b && (s.over || s.spent) {
		return s.close()
	}
	return nil
}

func (b *requestBody) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = !b.closed
	return b.reading
}

func (b *requestBody) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if b.closed {
		close(b.gone)
	}
}

func (b *requestBody) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *requestBody) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed && !b.reading
}

// wait reports whether the body fell idle before d had passed or ctx ended.
func (b *requestBody) wait(ctx context.Context, d time.Duration) bool {
	if b.idle() {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.gone:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
