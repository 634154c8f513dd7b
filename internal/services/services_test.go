package services

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay/internal/leak"
)

// query has PostgreSQL run a statement and returns the bytes of its answer.
func query(s *Server, statement string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	params := "user\x00backstay\x00database\x00backstay\x00\x00"
	send := binary.BigEndian.AppendUint32(nil, uint32(8+len(params)))
	send = append(binary.BigEndian.AppendUint32(send, 3<<16), params...)
	send = append(send, 'Q')
	send = binary.BigEndian.AppendUint32(send, uint32(5+len(statement)))
	send = append(send, statement+"\x00"...)
	send = append(send, 'X', 0, 0, 0, 4)
	if _, err := conn.Write(send); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// command has Redis run a command and returns the first line of its answer that
// is not a length.
func command(s *Server, line string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s\r\n", line)
	answer := bufio.NewReader(conn)
	for {
		got, err := answer.ReadString('\n')
		if err != nil || got[0] != '$' && got[0] != '*' {
			return strings.TrimSpace(got), err
		}
	}
}

func TestOwnServerKeepsItsAddressAndData(t *testing.T) {
	rows := []struct {
		name       string
		own        func(testing.TB) *Server
		ask        func(s *Server, what string) (string, error)
		write      string
		read, want string
	}{
		{"Redis", func(t testing.TB) *Server { return OwnRedis(t) }, command, "SET k kept", "GET k", "kept"},
		{"cluster", OwnCluster, command, "SET k kept", "GET k", "kept"},
		{"PostgreSQL", OwnPostgres, query, "CREATE TABLE k AS SELECT 'kept'", "SELECT * FROM k", "kept"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			leak.Check(t)
			s := r.own(t)
			if got, err := r.ask(s, r.write); err != nil {
				t.Fatalf("%s = %q, %v", r.write, got, err)
			}
			for _, end := range []func(){s.Kill, s.Stop, s.Stop} {
				end()
				if got, err := r.ask(s, r.read); err == nil {
					t.Errorf("%s of an ended server = %q, want an error", r.read, got)
				}
			}
			s.Start()
			s.Start()
			s.Restart()
			if got, err := r.ask(s, r.read); !strings.Contains(got, r.want) || err != nil {
				t.Errorf("%s after the restarts = %q, %v, want %s", r.read, got, err, r.want)
			}
		})
	}
}

func TestOwnServersAreConfiguredForKeys(t *testing.T) {
	rs := OwnRedis(t, "--databases", "3")
	for name, want := range map[string]string{
		"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always", "databases": "3",
	} {
		conn := dial(t, rs.Addr())
		fmt.Fprintf(conn, "CONFIG GET %s\r\n", name)
		if got, err := hear(conn, 5*time.Second); !strings.HasSuffix(got, "\r\n"+want+"\r\n") {
			t.Errorf("CONFIG GET %s = %q, %v, want %s", name, got, err, want)
		}
	}
	pg := OwnPostgres(t)
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got, err := query(pg, "SELECT 'is '||current_setting('"+setting+"')"); !strings.Contains(got, "is on") {
			t.Errorf("%s = %q, %v, want on", setting, got, err)
		}
	}
}

func TestOwnClusterKnowsSlots(t *testing.T) {
	s := OwnCluster(t)
	if got, err := command(s, "MSET a 1 b 2"); !strings.HasPrefix(got, "-CROSSSLOT") {
		t.Errorf("MSET of two slots = %q, %v, want CROSSSLOT", got, err)
	}
	if got, err := command(s, "MSET {a}1 1 {a}2 2"); got != "+OK" {
		t.Errorf("MSET of one slot = %q, %v, want +OK", got, err)
	}
}

func TestOwnSentinelKnowsItsRedis(t *testing.T) {
	rs := OwnRedis(t)
	s := OwnSentinel(t, rs.Addr())
	s.Restart()
	_, port, _ := net.SplitHostPort(rs.Addr())
	conn := dial(t, s.Addr())
	fmt.Fprint(conn, "SENTINEL get-master-addr-by-name main\r\n")
	if got, err := hear(conn, 5*time.Second); !strings.Contains(got, "127.0.0.1\r\n") || !strings.Contains(got, port) {
		t.Errorf("Sentinel knows %q, %v, want %s", got, err, rs.Addr())
	}
}

func TestSharedServerIsOne(t *testing.T) {
	leak.Check(t)
	for _, shared := range []func(testing.TB) *Server{Redis, Postgres} {
		a, b := shared(t), shared(t)
		if a != b {
			t.Errorf("a second call returned %s, want %s", b.URL(), a.URL())
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("Kill of a server that others use did not panic")
				}
			}()
			a.Kill()
		}()
	}
}

func TestAddressInTheEnvironment(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	for value, want := range map[string]string{
		addr:                             "redis://" + addr,
		"redis://u:p@" + addr + "/1":     "redis://u:p@" + addr + "/1",
		"rediss://" + addr + "?db=2&c=d": "rediss://" + addr + "?db=2&c=d",
	} {
		t.Setenv(sharedRedis.env, value)
		s, err := sharedRedis.findOrLaunch()
		if err != nil {
			t.Errorf("with %s: %v", value, err)
		} else if s.URL() != want || s.Addr() != addr {
			t.Errorf("with %s: URL = %s, Addr = %s, want %s, %s", value, s.URL(), s.Addr(), want, addr)
		}
	}
	l.Close()
	for value, want := range map[string]string{
		addr:                   "BACKSTAY_TEST_REDIS",
		"redis://:secret%@x:1": "BACKSTAY_TEST_REDIS",
		"redis://127.0.0.2":    "127.0.0.2:6379", // the usual port, on an address of nobody
	} {
		t.Setenv(sharedRedis.env, value)
		_, err := sharedRedis.findOrLaunch()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("with %s, where nobody answers: %v, want an error that names %s and no password", value, err, want)
		}
	}
}

func TestURLAtKeepsTheRest(t *testing.T) {
	u, err := url.Parse("postgres://u:p@a:1/d?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{url: *u}
	if got, want := s.URLAt("b:2"), "postgres://u:p@b:2/d?sslmode=disable"; got != want {
		t.Errorf("URLAt(b:2) = %s, want %s", got, want)
	}
}

// A verdict is a test that notes how it was ended.
type verdict struct {
	testing.TB
	how, why string
}

func (v *verdict) Helper()           {}
func (v *verdict) Skip(args ...any)  { v.end("skipped", args) }
func (v *verdict) Fatal(args ...any) { v.end("failed", args) }

func (v *verdict) end(how string, args []any) {
	v.how, v.why = how, fmt.Sprint(args...)
	panic(v)
}

func TestWithoutTheBinaryTestsAreSkippedButNotInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "false": "skipped", "true": "failed"} {
		t.Setenv("CI", ci)
		t.Setenv("PATH", "")
		t.Setenv(sharedRedis.env, "")
		none := shared{env: sharedRedis.env, launch: launchRedis}
		for name, use := range map[string]func(testing.TB){
			"apt-get install redis-server, or set BACKSTAY_TEST_REDIS": func(t testing.TB) { none.server(t) },
			"apt-get install redis-server":                             func(t testing.TB) { OwnRedis(t) },
		} {
			v := &verdict{TB: t}
			func() {
				defer func() { recover() }()
				use(v)
			}()
			if v.how != want || !strings.Contains(v.why, name) {
				t.Errorf("with CI=%s: %s, %q, want %s, saying %s", ci, v.how, v.why, want, name)
			}
		}
	}
}

func TestAServerThatDoesNotStartTellsWhy(t *testing.T) {
	v := &verdict{TB: t}
	func() {
		defer func() { recover() }()
		if _, err := exec.LookPath("redis-server"); err != nil {
			fail(t, noRedis)
		}
		OwnRedis(v, "--no-such-option", "1")
	}()
	if v.how != "failed" || !strings.Contains(v.why, "no-such-option") {
		t.Errorf("with a wrong option: %s, %q, want failed, naming the option", v.how, v.why)
	}
}

// A process of tests that is killed leaves neither servers nor folders.
func TestServersEndWithTheTests(t *testing.T) {
	if os.Getenv("BACKSTAY_TEST_HELPER") != "" {
		helper(t)
	}
	OwnPostgres(t) // skips where there is none
	for _, how := range []string{"killed", "ended"} {
		t.Run(how, func(t *testing.T) {
			// The parent of t.TempDir is closed to the user that runs PostgreSQL.
			tmp, err := os.MkdirTemp("", "backstay-test-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(tmp)
			if err := os.Chmod(tmp, 0o711); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheTests$")
			cmd.Env = slices.Concat(os.Environ(), []string{"BACKSTAY_TEST_HELPER=" + how, "TMPDIR=" + tmp, sharedRedis.env + "=", sharedPostgres.env + "="})
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var addrs, said []string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if addr, ok := strings.CutPrefix(lines.Text(), "started "); ok {
					addrs = append(addrs, addr)
				}
				said = append(said, lines.Text())
				if len(addrs) == 3 {
					break
				}
			}
			if len(addrs) != 3 {
				t.Fatalf("started %d servers, want 3:\n%s", len(addrs), strings.Join(said, "\n"))
			}
			if how == "killed" {
				cmd.Process.Kill()
			}
			cmd.Wait()
			for end := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
				left, err := os.ReadDir(tmp)
				if err == nil && len(left) == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%d folders left (%v), want none", len(left), err)
				}
			}
			for _, addr := range addrs {
				if conn, err := net.Dial("tcp", addr); err == nil {
					conn.Close()
					t.Errorf("a server answers at %s after its tests are over", addr)
				}
			}
		})
	}
}

// helper is the process that is killed, or ends in a hurry.
func helper(t *testing.T) {
	for _, s := range []*Server{Redis(t), Postgres(t), OwnRedis(t)} {
		fmt.Println("started", s.Addr())
	}
	if os.Getenv("BACKSTAY_TEST_HELPER") == "ended" {
		os.Exit(0)
	}
	select {}
}

func TestFreePortIsNotOneOfOutgoingConnections(t *testing.T) {
	for range 100 {
		port, err := freePort()
		if err != nil || port < 1024 || port+10000 >= 32768 {
			t.Fatalf("freePort() = %d, %v, want one below 22768", port, err)
		}
	}
}
