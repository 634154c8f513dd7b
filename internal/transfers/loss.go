package transfers

import (
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
)

// A loser loses a share of the answers that tell of a transfer: the handler has
// run to its end, and the connection is reset. Which ones depends on the seed,
// the request and how often it was answered, and not on who comes first.
type loser struct {
	next  http.Handler
	share float64
	seed  uint64

	mu       sync.Mutex
	answered map[string]uint64 // by transfer
	lost     int
	requests int
}

func (l *loser) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	l.next.ServeHTTP(rec, r)
	if l.loses(rec.Code, r) {
		reset(w)
		return
	}
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

func (l *loser) loses(status int, r *http.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if status != http.StatusCreated {
		return false
	}
	if l.answered == nil {
		l.answered = map[string]uint64{}
	}
	id := r.Header.Get(idHeader)
	l.answered[id]++
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + " " + strconv.FormatUint(l.answered[id], 10)))
	if rand.New(rand.NewPCG(l.seed, h.Sum64())).Float64() >= l.share {
		return false
	}
	l.lost++
	return true
}

// reset cuts the connection of the answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}
