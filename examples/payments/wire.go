package main

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
)

// A fate is what happens to the first request of a payment.
type fate string

const (
	fine        fate = "fine"
	loseAnswer  fate = "the answer is lost"
	killBefore  fate = "killed before the payment"
	killBetween fate = "killed between the payment and the record of its key"
	killAfter   fate = "killed after both"
)

// fateHeader is how the server learns at which point it is to die.
const fateHeader = "X-Fate"

func (f fate) sign() string {
	switch f {
	case fine:
		return "."
	case loseAnswer:
		return "l"
	}
	return "K"
}

// draw returns the fates of the payments, the same ones each time: a third of
// the answers lost, and six kills.
func draw() []fate {
	fates := make([]fate, number)
	for i := range fates {
		switch {
		case i < number/3:
			fates[i] = loseAnswer
		case i < number/3+6:
			fates[i] = []fate{killBefore, killBetween, killAfter}[i%3]
		default:
			fates[i] = fine
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(number, func(i, j int) { fates[i], fates[j] = fates[j], fates[i] })
	return fates
}

// A wire is what is between the clients and the server, and where answers are
// lost. It has the address that clients know; while the server is down, their
// connections are cut.
type wire struct {
	url    string
	server server
	http   *http.Server
	proxy  *httputil.ReverseProxy

	mu   sync.Mutex
	fate fate // of the next payment

	requests, lost atomic.Int64
}

func newWire(s server) *wire {
	l := listen()
	w := &wire{url: "http://" + l.Addr().String(), server: s}
	w.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", s.address()
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
		Transport:    &http.Transport{},
	}
	w.http = &http.Server{Handler: w}
	// A request with a key is sent again by net/http itself where it breaks a
	// connection that was open before. Here it is the clients' turn.
	w.http.SetKeepAlivesEnabled(false)
	go w.http.Serve(l)
	return w
}

// next sets the fate of the next payment.
func (w *wire) next(f fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fate = f
}

// take returns the fate of a request. The second one of a payment is fine.
func (w *wire) take() fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.fate
	w.fate = fine
	return f
}

// ServeHTTP passes a request on to the server.
func (w *wire) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.proxy.ServeHTTP(answer, r)
		return
	}
	w.requests.Add(1)
	f := w.take()
	r.Header.Set(fateHeader, string(f))
	if f == loseAnswer {
		w.proxy.ServeHTTP(nowhere{}, r)
		w.lost.Add(1)
		panic(http.ErrAbortHandler) // cuts the connection
	}
	w.proxy.ServeHTTP(answer, r)
}

// nowhere is where lost answers go.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) WriteHeader(int)             {}
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func (w *wire) reset() {
	w.requests.Store(0)
	w.lost.Store(0)
}

func (w *wire) stop() {
	w.http.Close()
	w.proxy.Transport.(*http.Transport).CloseIdleConnections()
}

func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("the example needs a port on 127.0.0.1: %v", err))
	}
	return l
}
