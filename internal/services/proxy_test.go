package services

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// An echo answers every line with the line.
type echo struct {
	net.Listener
	requests atomic.Int64
}

func newEcho(t *testing.T) *echo {
	leak.Check(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { e.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return e
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "end"; {
		e.requests.Add(1)
		fmt.Fprintln(conn, lines.Text())
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a line and reads a line.
func ask(conn net.Conn, line string) (string, error) {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	return hear(conn, 5*time.Second)
}

func hear(conn net.Conn, within time.Duration) (string, error) {
	conn.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func wantAnswer(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if got, err := ask(conn, line); got != line+"\n" || err != nil {
		t.Errorf("ask(%s) = %q, %v, want the line", line, got, err)
	}
}

func wantCut(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	got, err := ask(conn, line)
	if got != "" || err == nil || err == io.EOF || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ask(%s) = %q, %v, want the connection reset", line, got, err)
	}
}

func wantLost(t *testing.T, lost <-chan struct{}) {
	t.Helper()
	select {
	case <-lost:
	case <-time.After(5 * time.Second):
		t.Error("nothing was lost in 5 s")
	}
}

func wantRequests(t *testing.T, e *echo, want int64) {
	t.Helper()
	if got := e.requests.Load(); got != want {
		t.Errorf("the server got %d requests, want %d", got, want)
	}
}

func TestProxyForwards(t *testing.T) {
	e := newEcho(t)
	p := NewProxy(t, e.Addr().String())
	conn := dial(t, p.Addr())
	wantAnswer(t, conn, "a")
	wantAnswer(t, conn, "b")
	if got, err := ask(conn, "end"); err != io.EOF {
		t.Errorf("ask(end) = %q, %v, want the end that the server made", got, err)
	}
}

func TestProxyResetsWhatItCannotConnect(t *testing.T) {
	e := newEcho(t)
	p := NewProxy(t, e.Addr().String())
	e.Close()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return // reset as soon as that
	}
	defer conn.Close()
	wantCut(t, conn, "a")
}

func TestProxyCut(t *testing.T) {
	e := newEcho(t)
	p := NewProxy(t, e.Addr().String())
	conns := []net.Conn{dial(t, p.Addr()), dial(t, p.Addr())}
	for _, conn := range conns {
		wantAnswer(t, conn, "a")
	}
	p.Cut()
	for _, conn := range conns {
		wantCut(t, conn, "b")
	}
	wantAnswer(t, dial(t, p.Addr()), "c")
	wantRequests(t, e, 3)
}

func TestProxyRefuse(t *testing.T) {
	p := NewProxy(t, newEcho(t).Addr().String())
	conn := dial(t, p.Addr())
	wantAnswer(t, conn, "a")
	p.Refuse()
	if other, err := net.Dial("tcp", p.Addr()); err == nil {
		other.Close()
		t.Error("Dial while the proxy refuses = nil, want an error")
	}
	wantAnswer(t, conn, "b")
	p.Admit()
	wantAnswer(t, dial(t, p.Addr()), "c")
}

func TestProxyLoses(t *testing.T) {
	rows := []struct {
		name     string
		lose     func(*Proxy, string) <-chan struct{}
		requests int64 // that the server has got when it is lost
	}{
		{"request", (*Proxy).LoseRequest, 2},
		{"answer", (*Proxy).LoseAnswer, 3},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			e := newEcho(t)
			p := NewProxy(t, e.Addr().String())
			conn, other := dial(t, p.Addr()), dial(t, p.Addr())
			lost := r.lose(p, "claim")
			wantAnswer(t, conn, "a")
			wantAnswer(t, other, "a")
			select {
			case <-lost:
				t.Errorf("a request without the word was lost")
			default:
			}
			wantCut(t, conn, "the claim")
			wantLost(t, lost)
			wantRequests(t, e, r.requests)
			wantAnswer(t, other, "the claim")
		})
	}
}

func TestProxyLosesAnyRequest(t *testing.T) {
	p := NewProxy(t, newEcho(t).Addr().String())
	p.LoseAnswer("never sent")
	lost := p.LoseAnswer("")
	wantCut(t, dial(t, p.Addr()), "a")
	wantLost(t, lost)
	wantAnswer(t, dial(t, p.Addr()), "b")
}

func TestProxyHang(t *testing.T) {
	e := newEcho(t)
	p := NewProxy(t, e.Addr().String())
	conn := dial(t, p.Addr())
	wantAnswer(t, conn, "a")
	p.Hang()
	fmt.Fprintln(conn, "b")
	if got, err := hear(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read of an answer that hangs = %q, %v, want %v", got, err, os.ErrDeadlineExceeded)
	}
	wantRequests(t, e, 2)
	p.Resume()
	if got, err := hear(conn, 5*time.Second); got != "b\n" || err != nil {
		t.Errorf("read after Resume = %q, %v, want the answer", got, err)
	}
	wantAnswer(t, conn, "c")
}

func TestProxyDelay(t *testing.T) {
	p := NewProxy(t, newEcho(t).Addr().String())
	conn := dial(t, p.Addr())
	const delay = 30 * time.Millisecond
	p.Delay(delay)
	begun := time.Now()
	wantAnswer(t, conn, "a")
	if took := time.Since(begun); took < delay {
		t.Errorf("an answer took %v, want %v at least", took, delay)
	}
}

// The leak check of newEcho is the test.
func TestProxyCloseEndsWhatWaits(t *testing.T) {
	rows := []struct {
		name string
		hold func(*Proxy)
	}{
		{"hang", (*Proxy).Hang},
		{"delay", func(p *Proxy) { p.Delay(time.Hour) }},
		{"idle", func(p *Proxy) {}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			e := newEcho(t)
			p := NewProxy(t, e.Addr().String())
			r.hold(p)
			conn := dial(t, p.Addr())
			fmt.Fprintln(conn, "a")
			hear(conn, 20*time.Millisecond)
			p.Close()
			wantCut(t, conn, "b")
			p.Close()
		})
	}
}

func TestProxyIsSafeForConcurrentUse(t *testing.T) {
	p := NewProxy(t, newEcho(t).Addr().String())
	breaks := []func(){
		p.Cut, p.Refuse, p.Admit, p.Hang, p.Resume,
		func() { p.LoseAnswer("") }, func() { p.LoseRequest("") }, func() { p.Delay(time.Microsecond) },
	}
	var wg sync.WaitGroup
	for _, b := range breaks {
		wg.Go(func() {
			for range 100 {
				b()
			}
		})
		wg.Go(func() {
			for range 20 {
				conn, err := net.Dial("tcp", p.Addr())
				if err != nil {
					continue
				}
				fmt.Fprintln(conn, "a")
				hear(conn, time.Millisecond)
				conn.Close()
			}
		})
	}
	wg.Wait()
}
