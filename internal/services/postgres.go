package services

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var sharedPostgres = shared{name: "PostgreSQL", env: "BACKSTAY_TEST_POSTGRES", scheme: "postgres", port: "5432", launch: launchPostgres}

// OwnPostgres starts a PostgreSQL for this test, with the durability it has by
// default and a database of its own. That takes a second or two.
func OwnPostgres(t testing.TB) *Server {
	t.Helper()
	return own(t, launchPostgres)
}

// database is the name of the database and of its owner, who is the superuser.
const database = "backstay"

func launchPostgres(...string) (*Server, error) {
	bin, err := postgresBinaries()
	if err != nil {
		return nil, err
	}
	as, err := postgresAccount()
	if err != nil {
		return nil, err
	}
	data := func(p *process) string { return filepath.Join(p.dir, "data") }
	p, err := launch(program{
		as:    as,
		setup: func(p *process) error { return initdb(p, bin, data(p)) },
		args: func(p *process) []string {
			return []string{filepath.Join(bin, "postgres"), "-D", data(p), "-p", strconv.Itoa(p.port),
				"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"}
		},
		ready: postgresAnswers,
		quit:  syscall.SIGINT, // "fast": ends sessions, SIGTERM would wait for them
		abort: syscall.SIGQUIT,
	})
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	u := url.URL{Scheme: "postgres", User: url.User(database), Host: p.addr(), Path: "/" + database, RawQuery: "sslmode=disable"}
	return &Server{url: u, proc: p}, nil
}

// initdb makes the folder of data with the database in it.
func initdb(p *process, bin, data string) error {
	err := p.run(nil, filepath.Join(bin, "initdb"), "-D", data, "-U", database,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if err != nil {
		return err
	}
	input, err := os.CreateTemp(p.dir, "sql")
	if err != nil {
		return err
	}
	defer input.Close()
	if _, err := fmt.Fprintf(input, "CREATE DATABASE %s\n", database); err != nil {
		return err
	}
	if _, err := input.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.run(input, filepath.Join(bin, "postgres"), "--single", "-D", data, "postgres")
}

// postgresBinaries returns the folder with initdb and postgres. Debian has one
// for each version, which is not on the PATH.
func postgresBinaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if onPath, err := exec.LookPath("initdb"); err == nil {
		// A link leads to the folder that has the rest.
		if target, err := filepath.EvalSymlinks(onPath); err == nil {
			found = append(found, target)
		}
	}
	for _, initdb := range found {
		dir := filepath.Dir(initdb)
		if _, err := exec.LookPath(filepath.Join(dir, "postgres")); err == nil && canLaunch {
			return dir, nil
		}
	}
	return "", missing{"PostgreSQL", "postgresql"}
}

// version returns the 15 of /usr/lib/postgresql/15/bin/initdb.
func version(initdb string) int {
	v, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return v
}

// postgresAccount returns who runs the server. PostgreSQL refuses to run as
// root; Debian's package comes with a user postgres.
func postgresAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &account{uid: uint32(uid), gid: uint32(gid)}, errors.Join(err1, err2)
}

// postgresAnswers begins a session, which a server that is starting or
// recovering refuses.
func postgresAnswers(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	params := "user\x00" + database + "\x00database\x00" + database + "\x00\x00"
	hello := binary.BigEndian.AppendUint32(nil, uint32(8+len(params)))
	hello = binary.BigEndian.AppendUint32(hello, 3<<16) // protocol 3.0
	if _, err := conn.Write(append(hello, params...)); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != 'R' { // Authentication
		return fmt.Errorf("answered %q", answer)
	}
	return nil
}
