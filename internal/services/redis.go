package services

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var sharedRedis = shared{name: "Redis", env: "BACKSTAY_TEST_REDIS", scheme: "redis", port: "6379", launch: launchRedis}

var noRedis = missing{"Redis", "redis-server"}

// OwnRedis starts a Redis for this test, which writes what it acknowledges to
// disk and evicts nothing. The args, such as "--requirepass", "secret", come
// last on its command line.
func OwnRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	return own(t, launchRedis, args...)
}

// OwnCluster starts a Redis for this test that is a cluster of one node, which
// has all slots. Unlike a plain Redis it refuses commands whose keys are in
// several slots.
func OwnCluster(t testing.TB) *Server {
	t.Helper()
	return own(t, launchCluster)
}

// OwnSentinel starts a Redis Sentinel for this test that watches the Redis at
// addr under the name "main".
func OwnSentinel(t testing.TB, addr string) *Server {
	t.Helper()
	return own(t, launchSentinel, addr)
}

func launchRedis(args ...string) (*Server, error) {
	return launchServer(program{
		args:  func(p *process) []string { return append(redisArgs(p), args...) },
		ready: redisAnswers,
	})
}

func launchCluster(...string) (*Server, error) {
	return launchServer(program{
		args: func(p *process) []string {
			return append(redisArgs(p), "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
		},
		ready: func(addr string) error {
			// Refused when it has them already.
			_ = redisSays(addr, "CLUSTER ADDSLOTSRANGE 0 16383", "OK")
			return redisSays(addr, "CLUSTER INFO", "cluster_state:ok")
		},
	})
}

func launchSentinel(args ...string) (*Server, error) {
	host, port, err := net.SplitHostPort(args[0])
	if err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("sentinel monitor main %s %s 1\nsentinel down-after-milliseconds main 1000\n", host, port)
	return launchServer(program{
		// Sentinel keeps its state in its configuration.
		setup: func(p *process) error { return os.WriteFile(filepath.Join(p.dir, "conf"), []byte(conf), 0o600) },
		args: func(p *process) []string {
			return []string{filepath.Join(p.dir, "conf"), "--sentinel", "--bind", "127.0.0.1", "--port", strconv.Itoa(p.port), "--dir", p.dir}
		},
		ready: redisAnswers,
	})
}

// redisArgs make a Redis keep what it acknowledges.
func redisArgs(p *process) []string {
	return []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(p.port), "--dir", p.dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "",
		"--maxmemory-policy", "noeviction",
	}
}

// launchServer starts what is a redis-server with the arguments of prog.
func launchServer(prog program) (*Server, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil || !canLaunch {
		return nil, noRedis
	}
	args := prog.args
	prog.args = func(p *process) []string { return append([]string{binary}, args(p)...) }
	prog.quit, prog.abort = syscall.SIGTERM, syscall.SIGKILL
	p, err := launch(prog)
	if err != nil {
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	return &Server{url: url.URL{Scheme: "redis", Host: p.addr()}, proc: p}, nil
}

func redisAnswers(addr string) error { return redisSays(addr, "PING", "PONG") }

// redisSays sends a command and returns nil if one of the first lines of the
// answer contains want. A server that wants a password answers too.
func redisSays(addr, command, want string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return err
	}
	answer := bufio.NewScanner(conn)
	for range 2 {
		if !answer.Scan() {
			return fmt.Errorf("%s: no answer: %v", command, answer.Err())
		}
		line := answer.Text()
		if strings.Contains(line, want) || strings.HasPrefix(line, "-NOAUTH") {
			return nil
		}
		if !strings.HasPrefix(line, "$") {
			return fmt.Errorf("%s: %s", command, line)
		}
	}
	return fmt.Errorf("%s: not %s", command, want)
}
