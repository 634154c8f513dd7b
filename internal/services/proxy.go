package services

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between clients and a server and breaks their connections as a
// network does. It is for protocols in which a client waits for the answer to a
// request before it sends the next, and takes what it reads at once, at most 64
// KiB, for one of them. All methods are safe for concurrent use.
type Proxy struct {
	t      testing.TB
	addr   string
	target string
	wg     sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil while it refuses
	links    map[*link]struct{}
	loss     *loss         // nil when nothing is to be lost
	hang     chan struct{} // closed by Resume; nil when answers pass
	delay    time.Duration
}

// A loss is a request or an answer to lose.
type loss struct {
	answer bool
	match  []byte
	done   chan struct{}
}

// NewProxy returns a Proxy to the server at target, a host and port. It closes
// with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, target: target, links: map[*link]struct{}{}}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p.addr = localAddr(port)
	p.Admit()
	t.Cleanup(p.Close)
	return p
}

// Addr returns the host and port that clients dial.
func (p *Proxy) Addr() string { return p.addr }

// Refuse makes the system refuse new connections. Those that are open stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Admit ends Refuse.
func (p *Proxy) Admit() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Errorf("services: Admit: %v", err)
		return
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
}

// Cut cuts the connections that are open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// LoseRequest cuts the connection that sends the next request with match in it,
// before the server gets that request. The channel is closed when that has
// happened. An empty match is in every request. Only the last LoseRequest or
// LoseAnswer counts.
func (p *Proxy) LoseRequest(match string) <-chan struct{} { return p.lose(match, false) }

// LoseAnswer cuts the connection that sends the next request with match in it
// when the server has answered, so that the request has had its effect, and
// before the client gets the answer. The channel is closed when that has
// happened. An empty match is in every request. Only the last LoseRequest or
// LoseAnswer counts.
func (p *Proxy) LoseAnswer(match string) <-chan struct{} { return p.lose(match, true) }

func (p *Proxy) lose(match string, answer bool) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loss = &loss{answer: answer, match: []byte(match), done: make(chan struct{})}
	return p.loss.done
}

// Hang keeps answers back until Resume. Requests pass.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang == nil {
		p.hang = make(chan struct{})
	}
}

// Resume delivers the answers that Hang keeps back, and those to come.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang != nil {
		close(p.hang)
		p.hang = nil
	}
}

// Delay makes every answer wait so long. 0 ends that.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Close refuses and cuts all connections and waits for the goroutines.
func (p *Proxy) Close() {
	p.Refuse()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.open(l, client)
	}
}

// open connects a client to the server.
func (p *Proxy) open(from net.Listener, client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	l := &link{client: client.(*net.TCPConn), server: server.(*net.TCPConn), gone: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != from { // Close may have cut all others already
		l.cut()
		return
	}
	p.links[l] = struct{}{}
	p.wg.Go(func() { p.serve(l) })
}

// serve forwards until both sides have ended.
func (p *Proxy) serve(l *link) {
	var requests sync.WaitGroup
	requests.Go(func() { l.forward(l.server, l.client, p.request) })
	l.forward(l.client, l.server, p.answer)
	requests.Wait()

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
	l.client.Close()
	l.server.Close()
}

// request reports whether a request goes to the server.
func (p *Proxy) request(l *link, chunk []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loss == nil || !bytes.Contains(chunk, p.loss.match) {
		return true
	}
	lost := p.loss
	p.loss = nil
	if lost.answer {
		l.loses = lost
		return true
	}
	l.cut()
	close(lost.done)
	return false
}

// answer waits for what keeps an answer back and reports whether it goes to the
// client.
func (p *Proxy) answer(l *link, _ []byte) bool {
	p.mu.Lock()
	hang, delay, lost := p.hang, p.delay, l.loses
	p.mu.Unlock()
	if lost != nil {
		l.cut()
		close(lost.done)
		return false
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.gone:
			return false
		}
	}
	if hang != nil {
		select {
		case <-hang:
		case <-l.gone:
			return false
		}
	}
	return true
}

// A link is a client's connection and the one to the server that goes with it.
type link struct {
	client, server *net.TCPConn
	loses          *loss // the answer to come; guarded by Proxy.mu
	once           sync.Once
	gone           chan struct{} // closed by cut
}

// forward copies from one side to the other, what passes, until either ends.
func (l *link) forward(to, from *net.TCPConn, passes func(*link, []byte) bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !passes(l, buf[:n]) {
			return
		}
		if _, failed := to.Write(buf[:n]); failed != nil {
			l.cut()
			return
		}
		if err == io.EOF {
			to.CloseWrite()
			return
		}
		if err != nil {
			l.cut()
			return
		}
	}
}

// cut ends the link at once: what has not arrived is lost.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.gone)
		reset(l.client)
		reset(l.server)
	})
}

// reset closes a connection so that the other side reads an error, not an end.
func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}
