package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A bank is five replicas of one service on loopback, each sick in its own way,
// and the ledger they share.
type bank struct {
	replicas []*replica
	turn     atomic.Uint64
	arrived  atomic.Int64

	mu     sync.Mutex
	keys   map[string]bool // idempotency keys whose transfer was made
	ledger map[string]int  // how often each transfer was made
}

type replica struct {
	name, illness string
	address       string
	server        *http.Server
}

func startBank() *bank {
	b := &bank{}
	b.reset()
	b.start("ann", "refuses connections", nil)
	b.start("bob", "answers after 60 ms", b.slow)
	b.start("cleo", "answers 503 now and then", b.flaky)
	b.start("dan", "accepts, and never answers", b.hang)
	b.start("eve", "does the work and loses the answer, now and then", b.forgetful)
	return b
}

func (b *bank) slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(60 * time.Millisecond)
	b.transfer(r)
}

func (b *bank) flaky(w http.ResponseWriter, r *http.Request) {
	if rand.IntN(10) == 0 {
		http.Error(w, "try later", http.StatusServiceUnavailable)
		return
	}
	b.transfer(r)
}

func (b *bank) hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
}

func (b *bank) forgetful(_ http.ResponseWriter, r *http.Request) {
	b.transfer(r)
	if rand.IntN(10) == 0 {
		panic(http.ErrAbortHandler) // cuts the connection
	}
}

// transfer moves the money, once for each idempotency key where there is one.
func (b *bank) transfer(r *http.Request) {
	id, _ := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	b.mu.Lock()
	defer b.mu.Unlock()
	if key != "" && b.keys[key] {
		return
	}
	b.keys[key] = true
	b.ledger[string(id)]++
}

// twice returns how many transfers were made more than once.
func (b *bank) twice() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, times := range b.ledger {
		if times > 1 {
			n++
		}
	}
	return n
}

func (b *bank) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys, b.ledger = map[string]bool{}, map[string]int{}
	b.arrived.Store(0)
}

// start adds a replica, which refuses connections if it has no handler.
func (b *bank) start(name, illness string, handler http.HandlerFunc) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("quickstart needs a port on 127.0.0.1: %v", err))
	}
	r := &replica{name: name, illness: illness, address: l.Addr().String()}
	b.replicas = append(b.replicas, r)
	if handler == nil {
		l.Close()
		return
	}
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b.arrived.Add(1)
		handler(w, req)
	})}
	go r.server.Serve(l)
}

func (b *bank) stop() {
	for _, r := range b.replicas {
		if r.server != nil {
			r.server.Close()
		}
	}
}

func (b *bank) addresses() (all []string) {
	for _, r := range b.replicas {
		all = append(all, r.address)
	}
	return all
}

// next returns the address of the replica whose turn it is.
func (b *bank) next() string {
	return b.replicas[b.turn.Add(1)%uint64(len(b.replicas))].address
}

func (b *bank) introduce() {
	fmt.Print("\nFive replicas of a bank, all of them sick:\n\n")
	for _, r := range b.replicas {
		fmt.Printf("  %-5s %s\n", r.name, r.illness)
	}
	fmt.Println()
}
