package loadbalance_test

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// A fault is what is wrong with a backend.
type fault int32

const (
	noFault  fault = iota
	slowness       // 20 times the usual latency
	silence        // the request is read and never answered
	error500       // at once
)

// A backend answers on a port of 127.0.0.1.
type backend struct {
	address string
	fault   atomic.Int32
	server  *http.Server
	served  chan struct{} // closed when the server has ended
}

// startBackends starts n backends, which end with the test.
func startBackends(t testing.TB, n int) []*backend {
	backends := make([]*backend, n)
	for i := range backends {
		b := &backend{address: "127.0.0.1:0"}
		if err := b.open(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.close)
		backends[i] = b
	}
	return backends
}

func backendAddresses(backends []*backend) []string {
	addresses := make([]string, len(backends))
	for i, b := range backends {
		addresses[i] = b.address
	}
	return addresses
}

// open listens, on the port that the backend had before if it had one. Another
// process may use that for a moment, as the port of a client.
func (b *backend) open() error {
	l, err := net.Listen("tcp", b.address)
	for try := 0; err != nil && try < 100; try++ {
		<-time.After(20 * time.Millisecond)
		l, err = net.Listen("tcp", b.address)
	}
	if err != nil {
		return err
	}
	b.address = l.Addr().String()
	b.server = &http.Server{Handler: b}
	served := make(chan struct{})
	b.served = served
	go func(server *http.Server) {
		defer close(served)
		_ = server.Serve(l)
	}(b.server)
	return nil
}

func (b *backend) mustOpen() {
	if err := b.open(); err != nil {
		panic(err)
	}
}

// close cuts all connections.
func (b *backend) close() {
	b.server.Close()
	<-b.served
}

// drain lets the requests under way end, as a deploy does.
func (b *backend) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = b.server.Shutdown(ctx)
	b.close()
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	factor := time.Duration(1)
	switch fault(b.fault.Load()) {
	case silence:
		<-r.Context().Done()
		return
	case error500:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case slowness:
		factor = 20
	}
	select {
	case <-time.After(factor * work()):
		_, _ = io.WriteString(w, "ok")
	case <-r.Context().Done():
	}
}

// work draws how long an answer takes: 40 ms in the median, work99 for one in a
// hundred.
func work() time.Duration {
	return time.Duration(40e6 * math.Exp(0.4*rand.NormFloat64()))
}

const work99 = 100 * time.Millisecond
