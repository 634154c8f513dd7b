// Package services gives tests a real Redis and a real PostgreSQL.
//
// Redis and Postgres return a server that all tests of the process share: the
// one at the address in BACKSTAY_TEST_REDIS or BACKSTAY_TEST_POSTGRES, else one
// that the package starts from the binaries on this machine. OwnRedis and
// OwnPostgres start a server for one test, which may stop, kill and restart it.
// Where there is neither an address nor a binary the test is skipped, and with
// CI=true it fails.
//
//	db, err := sql.Open("pgx", services.Postgres(t).URL())
//
// A Proxy in front of a server breaks its connections.
//
// A server listens on a port of 127.0.0.1 and keeps its data in a temporary
// folder. A process beside it, the keeper, ends it and removes the folder when
// the tests are over, in whichever way they end.
package services

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Server is a Redis or PostgreSQL that answers. All methods are safe for
// concurrent use. Start, Stop, Kill and Restart are for servers of OwnRedis,
// OwnPostgres and the like and panic on others; when they fail they fail the
// test and return.
type Server struct {
	t    testing.TB // nil when the server is shared
	url  url.URL
	proc *process // nil when the server is not ours
}

// Redis returns the Redis that the tests of this process share. Keep apart from
// the other tests by a prefix, such as Name returns.
func Redis(t testing.TB) *Server {
	t.Helper()
	return sharedRedis.server(t)
}

// Postgres returns the PostgreSQL that the tests of this process share. Keep
// apart from the other tests by a schema, named as Name returns.
func Postgres(t testing.TB) *Server {
	t.Helper()
	return sharedPostgres.server(t)
}

// Name returns a name that no other test has, fit for a schema and for a prefix
// of keys: "backstay_" and lower-case letters and digits.
func Name() string { return "backstay_" + strings.ToLower(rand.Text()) }

// Addr returns the server's host and port.
func (s *Server) Addr() string { return s.url.Host }

// URL returns the server's address as redis.ParseURL and the PostgreSQL drivers
// read it.
func (s *Server) URL() string { return s.url.String() }

// URLAt returns URL with another host and port, such as those of a Proxy.
func (s *Server) URLAt(addr string) string {
	u := s.url
	u.Host = addr
	return u.String()
}

// Stop asks the server to end, as an administrator would, and waits for that.
// Stop of a server that is not running does nothing.
func (s *Server) Stop() { s.do("Stop", (*process).stop) }

// Kill ends the server by SIGKILL and waits until it is gone. The sessions of
// PostgreSQL are processes of their own: they quit when they notice, in the
// middle of whatever they wait for.
func (s *Server) Kill() { s.do("Kill", (*process).kill) }

// Start starts the server on the same port with the same data, and returns when
// it answers. Start of a server that is running does nothing.
func (s *Server) Start() { s.do("Start", (*process).start) }

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.Stop()
	s.Start()
}

func (s *Server) do(name string, f func(*process) error) {
	if s.t == nil {
		panic("services: " + name + " of a server that other tests use; take OwnRedis or OwnPostgres")
	}
	s.t.Helper()
	if err := f(s.proc); err != nil {
		// Not Fatal: tests restart a server from another goroutine.
		s.t.Errorf("services: %s: %v", name, err)
	}
}

// own returns a server of one test, which ends with it.
func own(t testing.TB, launch launcher, args ...string) *Server {
	t.Helper()
	s, err := launch(args...)
	if err != nil {
		fail(t, err)
	}
	s.t = t
	t.Cleanup(s.proc.close)
	return s
}

// A shared server is started by the first test that asks for it. Nothing stops
// it: that the process has ended is what its keeper waits for.
type shared struct {
	name   string
	env    string // the variable with the address of one
	scheme string
	port   string // of an address that has none
	launch launcher
	once   sync.Once
	s      *Server
	err    error
}

func (s *shared) server(t testing.TB) *Server {
	t.Helper()
	s.once.Do(func() { s.s, s.err = s.findOrLaunch() })
	if s.err != nil {
		fail(t, s.err)
	}
	return s.s
}

func (s *shared) findOrLaunch() (*Server, error) {
	addr := os.Getenv(s.env)
	if addr == "" {
		found, err := s.launch()
		if errors.As(err, &missing{}) {
			err = fmt.Errorf("%w, or set %s to the address of one", err, s.env)
		}
		return found, err
	}
	if !strings.Contains(addr, "://") {
		addr = s.scheme + "://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil {
		return nil, fmt.Errorf("%s is not an address", s.env) // the error has the password
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), s.port)
	}
	conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
	if err != nil {
		return nil, fmt.Errorf("no %s answers at %s: %w", s.name, s.env, err)
	}
	return &Server{url: *u}, conn.Close()
}

// A launcher starts a server.
type launcher func(args ...string) (*Server, error)

// missing is the error of a launcher without its binaries.
type missing struct{ name, install string }

func (m missing) Error() string {
	return fmt.Sprintf("no %s on this machine: apt-get install %s", m.name, m.install)
}

// fail ends the test: skipped if the machine has no such server, but not in CI,
// where that would go unnoticed.
func fail(t testing.TB, err error) {
	t.Helper()
	if errors.As(err, &missing{}) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	t.Fatal(err)
}
