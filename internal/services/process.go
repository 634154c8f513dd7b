package services

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// patience is how long a server may take to answer or to end. A loaded machine
// recovers a PostgreSQL in a few seconds.
const patience = 30 * time.Second

// A process is a server's binary in a folder of its own, with a keeper that
// outlives the tests. It runs no goroutine, which tests that look for leaks
// would find.
type process struct {
	program
	dir    string
	port   int
	keeper *exec.Cmd
	tell   *os.File // the keeper's input

	mu    sync.Mutex
	cmd   *exec.Cmd // nil when it does not run
	alive *os.File  // at its end when the server and its children are gone
}

// A program is what sets the servers apart.
type program struct {
	as    *account                  // nil: who runs the tests
	setup func(p *process) error    // before the first start; may be nil
	args  func(p *process) []string // the command
	ready func(addr string) error   // asks whether it answers
	quit  syscall.Signal            // ends it in order
	abort syscall.Signal            // ends it at once, its children too
}

// An account runs a server that refuses to run as root.
type account struct{ uid, gid uint32 }

// keeper waits for the end of its input, which is the end of the tests, however
// they end. It then sends the signal $2 to the process it was last told of, and
// removes the folder $1.
const keeper = `
pid=
while read -r pid_or_none; do pid=$pid_or_none; done
if [ -n "$pid" ]; then
	kill -"$2" "$pid"
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		kill -0 "$pid" || break
		sleep 0.1
	done
	kill -KILL "$pid"
fi
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
`

// launch makes a folder for the program and starts it on a free port.
func launch(prog program) (*process, error) {
	dir, err := os.MkdirTemp("", "backstay-services-")
	if err != nil {
		return nil, err
	}
	p := &process{program: prog, dir: dir}
	if err := p.begin(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) begin() error {
	if err := p.keep(); err != nil {
		return err
	}
	if p.as != nil {
		if err := os.Chown(p.dir, int(p.as.uid), int(p.as.gid)); err != nil {
			return err
		}
	}
	if p.setup != nil {
		if err := p.setup(p); err != nil {
			return err
		}
	}
	// Another process may take the port before the server does.
	var err error
	for range 5 {
		if p.port, err = freePort(); err != nil {
			return err
		}
		if err = p.start(); !errors.Is(err, errEnded) {
			break
		}
	}
	return err
}

func (p *process) addr() string { return localAddr(p.port) }

// keep starts the keeper. It is in a process group of its own, since what ends
// the tests, such as Ctrl-C, must not end it.
func (p *process) keep() error {
	input, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer input.Close()
	cmd := exec.Command("sh", "-c", keeper, "keeper", p.dir, strconv.Itoa(int(p.abort)))
	cmd.Stdin = input
	detach(cmd, nil)
	if err := cmd.Start(); err != nil {
		tell.Close()
		return err
	}
	p.keeper, p.tell = cmd, tell
	return nil
}

// command returns a command in the folder, which writes to the log there.
func (p *process) command(args ...string) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = p.dir
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = log, log
	detach(cmd, p.as)
	return cmd, log, nil
}

func (p *process) log() string { return filepath.Join(p.dir, "log") }

// run runs a command to its end.
func (p *process) run(input *os.File, args ...string) error {
	cmd, log, err := p.command(args...)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdin = input
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Fprintln(p.tell, cmd.Process.Pid)
	err = cmd.Wait()
	fmt.Fprintln(p.tell)
	if err != nil {
		return p.failed(fmt.Errorf("%s: %w", args[0], err))
	}
	return nil
}

// failed adds to err what the server has to say about it.
func (p *process) failed(err error) error {
	said, _ := os.ReadFile(p.log())
	return fmt.Errorf("%w\n%s", err, said[max(0, len(said)-2000):])
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return nil
	}
	cmd, log, err := p.command(p.args(p)...)
	if err != nil {
		return err
	}
	defer log.Close()
	alive, held, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()
	cmd.ExtraFiles = []*os.File{held}
	if err := cmd.Start(); err != nil {
		alive.Close()
		return err
	}
	held.Close()
	fmt.Fprintln(p.tell, cmd.Process.Pid)
	p.cmd, p.alive = cmd, alive
	if err := p.await(); err != nil {
		err = p.failed(err)
		p.end(syscall.SIGKILL)
		return err
	}
	return nil
}

var errEnded = errors.New("it ended instead of answering")

// await returns when the server answers. It looks first whether there still is
// one, because what answers may be another that has taken the port.
func (p *process) await() error {
	for end := time.Now().Add(patience); ; {
		if p.gone(20 * time.Millisecond) {
			return errEnded
		}
		err := p.ready(p.addr())
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no answer in %v: %w", patience, err)
		}
	}
}

// gone waits at most so long and reports whether the server has ended.
func (p *process) gone(within time.Duration) bool {
	p.alive.SetReadDeadline(time.Now().Add(within))
	_, err := p.alive.Read(make([]byte, 1))
	return err == io.EOF
}

func (p *process) stop() error { return p.endLocked(p.quit) }

func (p *process) kill() error { return p.endLocked(syscall.SIGKILL) }

func (p *process) endLocked(by syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	return p.end(by)
}

// end ends the running server. Its children go before it, or when they notice.
func (p *process) end(by syscall.Signal) error {
	var err error
	p.cmd.Process.Signal(by)
	if !p.gone(patience) {
		err = p.failed(fmt.Errorf("still there %v after %v", patience, by))
		p.cmd.Process.Kill()
	}
	p.cmd.Wait() // how it ended is not of interest
	p.alive.Close()
	fmt.Fprintln(p.tell)
	p.cmd = nil
	return err
}

// close ends the server and has the keeper remove the folder.
func (p *process) close() {
	p.endLocked(p.abort)
	if p.keeper == nil {
		os.RemoveAll(p.dir)
		return
	}
	p.tell.Close()
	p.keeper.Wait()
}
