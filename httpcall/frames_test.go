package httpcall_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

// The parts of RFC 9113 that the tests need.
const (
	frameData      = 0
	frameHeaders   = 1
	frameReset     = 3
	frameSettings  = 4
	frameGoAway    = 7
	flagAck        = 1
	flagEndStream  = 1
	flagEndHeaders = 4

	noError       = 0
	internalError = 2
	refusedStream = 7

	status200 = "\x88" // RFC 7541, appendix A
)

// An h2 is a server that speaks HTTP/2 frames, without TLS, and answers
// requests with its steps in order, the last one over and over.
type h2 struct {
	net.Listener
	steps []func(c *h2conn)

	mu       sync.Mutex
	arrivals int
	open     map[net.Conn]bool
}

// An h2conn is a connection with a request that has come in whole.
type h2conn struct {
	net.Conn
	stream uint32
}

func serveH2(t testing.TB, steps ...func(*h2conn)) *h2 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &h2{Listener: l, steps: steps, open: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[c] = true
			s.mu.Unlock()
			running.Go(func() { s.converse(&h2conn{Conn: c}) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for c := range s.open {
			c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *h2) converse(c *h2conn) {
	defer c.Close()
	io.CopyN(io.Discard, c, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
	c.frame(frameSettings, 0, 0, "")
	for {
		kind, flags, stream, err := c.read()
		switch {
		case err != nil:
			return
		case kind == frameSettings && flags&flagAck == 0:
			c.frame(frameSettings, flagAck, 0, "")
		case (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0:
			c.stream = stream
			s.next()(c)
		}
	}
}

func (s *h2) next() func(*h2conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals++
	return s.steps[min(s.arrivals, len(s.steps))-1]
}

// arrived returns the number of requests so far.
func (s *h2) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrivals
}

func (s *h2) url() string { return "http://" + s.Addr().String() }

func (c *h2conn) read() (kind, flags byte, stream uint32, err error) {
	var head [9]byte
	if _, err = io.ReadFull(c, head[:]); err != nil {
		return
	}
	length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
	_, err = io.CopyN(io.Discard, c, length)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]), err
}

func (c *h2conn) frame(kind, flags byte, stream uint32, payload string) {
	n := len(payload)
	b := binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream)
	c.Write(append(b, payload...))
}

func word(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// h2OK answers 200 without a body.
func h2OK(c *h2conn) { c.frame(frameHeaders, flagEndHeaders|flagEndStream, c.stream, status200) }

// h2Open answers 200 and leaves the body open.
func h2Open(c *h2conn) {
	c.frame(frameHeaders, flagEndHeaders, c.stream, status200)
	c.frame(frameData, 0, c.stream, "half")
}

// h2Reset ends the stream with an error code.
func h2Reset(code uint32) func(*h2conn) {
	return func(c *h2conn) { c.frame(frameReset, 0, c.stream, word(code)) }
}

// h2GoAway says which is the last stream that the server looked at, and closes.
func h2GoAway(processed bool, code uint32) func(*h2conn) {
	return func(c *h2conn) {
		last := c.stream
		if !processed {
			last = 0
		}
		c.frame(frameGoAway, 0, 0, word(last)+word(code))
		c.Close()
	}
}

// h2GoAwayWith says that the stream may have been looked at, with a text for the
// log, and closes.
func h2GoAwayWith(text string) func(*h2conn) {
	return func(c *h2conn) {
		c.frame(frameGoAway, 0, 0, word(c.stream)+word(internalError)+text)
		c.Close()
	}
}

// baseH2 returns a transport that speaks HTTP/2 without TLS.
func baseH2(t testing.TB) *http.Transport {
	rt := base(t)
	rt.Protocols = new(http.Protocols)
	rt.Protocols.SetUnencryptedHTTP2(true)
	return rt
}
