package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay/loadbalance"
)

// A fleet is five services, each of another kind.
type fleet struct{ services []*service }

type service struct {
	name    string
	kind    string
	weight  int
	role    loadbalance.Role
	handler http.HandlerFunc

	address string
	server  *http.Server // nil while it is down
	served  atomic.Int64
}

func startFleet() *fleet {
	f := &fleet{services: []*service{
		{name: "ann", kind: "the primary, and twice as large", weight: 2, role: loadbalance.Primary, handler: after(5 * time.Millisecond)},
		{name: "bob", kind: "well", handler: after(5 * time.Millisecond)},
		{name: "cleo", kind: "slow: 100 ms where others take 5", handler: after(100 * time.Millisecond)},
		{name: "dan", kind: "answers 503 at once", handler: fail},
		{name: "eve", kind: "well, but leaves and comes back", handler: after(5 * time.Millisecond)},
	}}
	for _, s := range f.services {
		s.address = "127.0.0.1:0"
		s.start()
	}
	return f
}

func after(d time.Duration) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { time.Sleep(d) }
}

func fail(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// start listens, again on the same port where the service was up before.
func (s *service) start() {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		panic(fmt.Sprintf("the example needs a port on 127.0.0.1: %v", err))
	}
	s.address = l.Addr().String()
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.served.Add(1)
		s.handler(w, r)
	})}
	go s.server.Serve(l)
}

// drain stops a server when it has answered what it was asked.
func drain(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = server.Shutdown(ctx)
}

func (f *fleet) stop() {
	for _, s := range f.services {
		s.server.Close()
	}
}

func (f *fleet) service(name string) *service {
	for _, s := range f.services {
		if s.name == name {
			return s
		}
	}
	panic("no service is called " + name)
}

func (f *fleet) reset() {
	for _, s := range f.services {
		s.served.Store(0)
	}
}
