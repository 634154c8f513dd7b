package main

import (
	"context"
	"net/http"
	"sync"

	"github.com/backstay-go/backstay/idempotency"
)

// A server serves the API, and comes back when it was killed.
type server interface {
	address() string // changes when it comes back
	deaths() int
	about() string
	stop()
}

// start starts one. fail is called if it does not come back.
func start(ctx context.Context, fail func(error), database string) (server, error) {
	if database == "" {
		return startHere(), nil
	}
	return startProcess(ctx, fail, database)
}

// A here is a server in this process. It cannot be killed, since the ledger and
// the keys would be gone with it: it is cut off instead, from one moment to the
// other, and what it was doing goes on unheard.
type here struct {
	handler http.Handler

	mu   sync.Mutex
	addr string
	http *http.Server
	cuts int
}

func startHere() *here {
	h := &here{}
	a := &api{ledger: &inMemory{}, die: h.cut}
	h.handler = a.handler(idempotency.NewMemory(idempotency.MemoryConfig{}))
	h.open()
	return h
}

// open starts to listen, on a new port.
func (h *here) open() {
	l := listen()
	h.addr, h.http = l.Addr().String(), &http.Server{Handler: h.handler}
	go h.http.Serve(l)
}

// cut closes the listener and all connections, and opens anew.
func (h *here) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.http.Close()
	h.cuts++
	h.open()
}

func (h *here) address() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

func (h *here) deaths() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cuts
}

func (h *here) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.http.Close()
}

func (h *here) about() string {
	return `A payment API in memory, for want of a PostgreSQL in ` + databaseVariable + `. Its server
is not killed, since ledger and keys would be gone with it: where "killed" is
written, its listener and all its connections are cut, and it is opened anew.`
}
