package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

func TestRestartKeepsTheClaim(t *testing.T) {
	leak.Check(t)
	for _, row := range []struct {
		name string
		end  func(*services.Server)
	}{
		{"stopped", (*services.Server).Stop},
		{"killed", (*services.Server).Kill},
	} {
		server := services.OwnRedis(t)
		s, c := newStore(connect(t, server, func(o *redis.Options) { o.DialerRetries = 1 })), newClaim()
		claim(t, s, c, idempotency.Claimed)
		row.end(server)
		for _, c := range []idempotency.Claim{c, rival(c), newClaim()} {
			if a, err := s.Claim(t.Context(), c); err == nil || a.State != 0 {
				t.Errorf("%s: Claim while the server is down = %v, %v, want an error", row.name, a.State, err)
			}
		}
		server.Start()
		claim(t, s, rival(c), idempotency.InProgress)
		claim(t, s, c, idempotency.Claimed)
		if err := s.Complete(t.Context(), c, []byte("a result")); err != nil {
			t.Errorf("%s: Complete after the restart = %v, want nil", row.name, err)
		}
		row.end(server)
		server.Start()
		if a := claim(t, s, rival(c), idempotency.Done); string(a.Record) != "a result" {
			t.Errorf("%s: Claim after the restart returns the record %q, want that of Complete", row.name, a.Record)
		}
	}
}

// The connection is cut before the server has done the operation, or after.
// Whether the client repeats it by itself or its user does: it is done, and the
// work is still the owner's.
func TestCutConnection(t *testing.T) {
	leak.Check(t)
	proxy := services.NewProxy(t, services.Redis(t).Addr())
	for name, cut := range map[string]func(string) <-chan struct{}{"request": proxy.LoseRequest, "answer": proxy.LoseAnswer} {
		for _, retries := range []int{0, -1} { // go-redis: 3, none
			s := newStore(connect(t, services.Redis(t), through(proxy), func(o *redis.Options) { o.MaxRetries = retries }))
			c := newClaim()
			claim(t, s, newClaim(), idempotency.Claimed) // connects
			for _, op := range []operation{
				{"Claim", func() error {
					a, err := s.Claim(t.Context(), c)
					if err == nil && a.State != idempotency.Claimed {
						t.Errorf("%s lost: Claim = %v, want claimed", name, a.State)
					}
					return err
				}},
				{"Renew", func() error { return s.Renew(t.Context(), c) }},
				{"Complete", func() error { return s.Complete(t.Context(), c, []byte("a result")) }},
			} {
				lost := cut("evalsha")
				err := op.do()
				<-lost
				if retries == 0 && err != nil {
					t.Errorf("%s lost: %s = %v, want nil of a client that repeats", name, op.name, err)
				}
				if retries < 0 && err == nil {
					t.Errorf("%s lost: %s = nil, want an error of a client that does not repeat", name, op.name)
				}
				if retries < 0 {
					err = op.do()
				}
				if err != nil {
					t.Errorf("%s lost: %s once more = %v, want nil", name, op.name, err)
				}
			}
			if a := claim(t, s, rival(c), idempotency.Done); string(a.Record) != "a result" {
				t.Errorf("%s lost: Claim returns the record %q, want that of Complete", name, a.Record)
			}
		}
	}
}

func TestHungServer(t *testing.T) {
	leak.Check(t)
	for _, row := range []struct {
		name   string
		change func(*redis.Options)
	}{
		{"default", func(*redis.Options) {}},
		{"ContextTimeoutEnabled", func(o *redis.Options) { o.ContextTimeoutEnabled = true }},
		{"no ReadTimeout", func(o *redis.Options) { o.ReadTimeout = -1 }},
		{"one connection", func(o *redis.Options) { o.PoolSize = 1 }},
	} {
		proxy := services.NewProxy(t, services.Redis(t).Addr())
		s := newStore(connect(t, services.Redis(t), through(proxy), row.change))
		claim(t, s, newClaim(), idempotency.Claimed) // connects
		proxy.Hang()
		for i, op := range operations(t.Context(), s) {
			for _, ctx := range ends(t) {
				begun := time.Now()
				err := operations(ctx, s)[i].do()
				if took := time.Since(begun); ctx.Err() == nil || !errors.Is(err, ctx.Err()) || took > 2*time.Second {
					t.Errorf("%s: %s = %v after %v, want the error of the context at once", row.name, op.name, err, took)
				}
			}
		}
		proxy.Resume()
		claim(t, s, newClaim(), idempotency.Claimed)
	}
}

// ends returns two contexts that end soon: by a deadline, and by cancellation.
func ends(t *testing.T) []context.Context {
	deadline, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	t.Cleanup(stop)
	canceled, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	time.AfterFunc(20*time.Millisecond, cancel)
	return []context.Context{deadline, canceled}
}

// Calls that end before they are answered leave a goroutine behind on each of
// the client's connections and no more, and these go when the client gives up,
// though the server never answers.
func TestHungServerKeepsNoGoroutines(t *testing.T) {
	proxy := services.NewProxy(t, services.Redis(t).Addr())
	s := newStore(connect(t, services.Redis(t), through(proxy), func(o *redis.Options) {
		o.PoolSize, o.ReadTimeout = 2, 500*time.Millisecond
	}))
	var all sync.WaitGroup
	for range 2 { // connects
		all.Go(func() { claim(t, s, newClaim(), idempotency.Claimed) })
	}
	all.Wait()
	proxy.Hang()
	t.Run("while the server hangs", func(t *testing.T) {
		leak.Check(t)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			if _, err := s.Claim(ctx, newClaim()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Claim = %v, want context.DeadlineExceeded", err)
			}
			cancel()
		}
		services.Eventually(t, func() error {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			if n := bytes.Count(stacks, []byte("redisstore.await[...].func1(")); n > 2 {
				return fmt.Errorf("%d goroutines wait on 2 connections", n)
			}
			return nil
		})
	})
}

// The client may still be writing when Complete returns, and its user is free
// to use the record for something else.
func TestRecordIsTheCallersAgainWhenCompleteReturns(t *testing.T) {
	leak.Check(t)
	w := &writes{begun: make(chan struct{}), goOn: make(chan struct{})}
	client := connect(t, services.Redis(t), func(o *redis.Options) { o.PoolSize, o.Dialer = 1, w.dial })
	s, c := newStore(client), newClaim()
	for _, op := range operations(t.Context(), s) { // after which the server knows the scripts
		if err := op.do(); err != nil {
			t.Fatalf("%s = %v", op.name, err)
		}
	}
	claim(t, s, c, idempotency.Claimed)
	w.held.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-w.begun
		cancel()
	}()
	record := []byte(strings.Repeat("a result", 1<<20)) // more than the buffer of a connection
	if err := s.Complete(ctx, c, record); !errors.Is(err, context.Canceled) {
		t.Fatalf("Complete = %v, want context.Canceled", err)
	}
	want := string(record)
	clear(record)
	close(w.goOn)
	if a := claim(t, s, c, idempotency.Done); string(a.Record) != want {
		t.Error("Claim returns another record than Complete was given")
	}
}

// writes are those of a client's connections. When they are held the next one
// says that it has begun, and waits.
type writes struct {
	held        atomic.Bool
	begun, goOn chan struct{}
}

func (w *writes) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	return holdable{conn, w}, err
}

type holdable struct {
	net.Conn
	w *writes
}

func (h holdable) Write(p []byte) (int, error) {
	if h.w.held.CompareAndSwap(true, false) {
		close(h.w.begun)
		<-h.w.goOn
	}
	return h.Conn.Write(p)
}

// A server that cannot keep a claim does not give the work away.
func TestServerThatRefuses(t *testing.T) {
	leak.Check(t)
	host, port, _ := net.SplitHostPort(services.OwnRedis(t).Addr())
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"memory is full", []string{"--maxmemory", "1"}, "OOM "},
		{"replicas are missing", []string{"--min-replicas-to-write", "1"}, "NOREPLICAS "},
		{"a replica", []string{"--replicaof", host, port}, "READONLY "},
		{"scripts are forbidden", []string{"--user", "default", "on", "nopass", "~*", "+@all", "-@scripting"}, "NOPERM "},
	} {
		client := connect(t, services.OwnRedis(t, row.args...), func(o *redis.Options) { o.MaxRetries = -1 })
		a, err := newStore(client).Claim(t.Context(), newClaim())
		if a.State != 0 || !redis.HasErrorPrefix(err, row.want) {
			t.Errorf("%s: Claim = %v, %v, want an error %s", row.name, a.State, err, row.want)
		}
	}
}

// When there is no more memory the record cannot be kept, and the claim stays.
func TestMemoryIsFullAtComplete(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.OwnRedis(t))
	s, c := newStore(client), newClaim()
	claim(t, s, c, idempotency.Claimed)
	client.ConfigSet(t.Context(), "maxmemory", "1")
	if err := s.Complete(t.Context(), c, []byte("a result")); !redis.HasErrorPrefix(err, "OOM ") {
		t.Errorf("Complete = %v, want an error OOM", err)
	}
	client.ConfigSet(t.Context(), "maxmemory", "0")
	claim(t, s, rival(c), idempotency.InProgress)
	if err := s.Complete(t.Context(), c, []byte("a result")); err != nil {
		t.Errorf("Complete once there is memory = %v, want nil", err)
	}
}
