package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"time"
)

const (
	// databaseVariable has the address of a PostgreSQL.
	databaseVariable = "PAYMENTS_DATABASE"
	// schemaVariable is set for the process that is the server.
	schemaVariable = "PAYMENTS_SCHEMA"
)

// serve is the server's process. Its standard input ends with the process that
// started it, however that ends, and so does the server.
func serve(schema string) {
	signal.Ignore(os.Interrupt) // which a terminal sends to both
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	db, err := open(os.Getenv(databaseVariable), schema)
	if err == nil {
		a := &api{ledger: inDatabase{db}, die: killMyself}
		l := listen()
		fmt.Println(l.Addr())
		err = http.Serve(l, a.handler(keysIn(db)))
	}
	fmt.Fprintln(os.Stderr, "payments, the server:", err)
	os.Exit(1)
}

// killMyself is kill -KILL at exactly this point: nothing is deferred, flushed
// or said.
func killMyself() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

// A process is a server with a PostgreSQL, in a process that is started again
// whenever it ends.
type process struct {
	db       *sql.DB
	database string
	schema   string
	cancel   context.CancelFunc
	ended    chan struct{} // closed when nothing starts it any more

	mu   sync.Mutex
	addr string
	died int
}

func startProcess(ctx context.Context, fail func(error), database string) (*process, error) {
	p := &process{database: database, schema: "payments_" + strings.ToLower(rand.Text()), ended: make(chan struct{})}
	var err error
	if p.db, err = open(database, p.schema); err != nil {
		return nil, err
	}
	if _, err := p.db.ExecContext(ctx, "CREATE SCHEMA "+p.schema); err != nil {
		p.db.Close()
		return nil, err
	}
	if err := migrate(ctx, p.db); err != nil {
		p.drop()
		return nil, err
	}
	ctx, p.cancel = context.WithCancel(ctx)
	first, err := p.launch(ctx)
	if err != nil {
		p.cancel()
		p.drop()
		return nil, err
	}
	go p.keepAlive(ctx, first, fail)
	return p, nil
}

// launch starts the process and waits until it listens.
func (p *process) launch(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), databaseVariable+"="+p.database, schemaVariable+"="+p.schema)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server did not start: %v", cmd.Wait())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr = strings.TrimSpace(line)
	return cmd, nil
}

// keepAlive does what systemd or Kubernetes would do.
func (p *process) keepAlive(ctx context.Context, cmd *exec.Cmd, fail func(error)) {
	defer close(p.ended)
	for {
		_ = cmd.Wait()
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		p.died++
		p.mu.Unlock()
		var err error
		if cmd, err = p.launch(ctx); err != nil {
			fail(err) // of no effect where ctx has ended
			return
		}
	}
}

func (p *process) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

func (p *process) deaths() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.died
}

// stop ends the process and removes what it has left.
func (p *process) stop() {
	p.cancel()
	<-p.ended
	p.drop()
}

// drop removes the schema, in a context of its own: the program's may have been
// ended by Ctrl-C.
func (p *process) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := p.db.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+p.schema+" CASCADE"); err != nil {
		fmt.Fprintf(os.Stderr, "payments: the schema %s is still there: %v\n", p.schema, err)
	}
	p.db.Close()
}

func (p *process) about() string {
	return `A payment API on PostgreSQL, in a process of its own that is killed with SIGKILL
and started again. Each payment and the record of its key are committed together.`
}
