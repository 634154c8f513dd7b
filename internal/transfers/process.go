package transfers

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A process is the server of a bank in a process of its own: this test binary
// once more, with the test that started it. It serves the listener that it is
// given, on which clients wait while there is no process.
type process struct {
	cmd   *exec.Cmd
	alive io.Closer // its input; the process ends when that does
	said  bytes.Buffer
	timer *time.Timer
	late  atomic.Bool
}

// What tells the process that it is one.
const (
	envName  = "BACKSTAY_TEST_BANK"       // of the store and ledger
	envStep  = "BACKSTAY_TEST_BANK_STEP"  // at which it kills itself
	envCount = "BACKSTAY_TEST_BANK_COUNT" // 3: the third time it comes there
)

// patience is how long anything may take.
const patience = 60 * time.Second

// start starts a process that kills itself when it comes to the step for the
// nth time, or lives until it is stopped if n is 0.
func (s Site) start(t *testing.T, l *net.TCPListener, name string, step Step, nth int) *process {
	t.Helper()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	input, alive, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	p := &process{alive: alive}
	p.cmd = exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(s.test, "/", "$/^")+"$", "-test.count=1")
	p.cmd.Env = append(os.Environ(), append(s.Env, envName+"="+name, envStep+"="+string(step), envCount+"="+strconv.Itoa(nth))...)
	p.cmd.ExtraFiles = []*os.File{f}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = input, &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		alive.Close()
		t.Fatal(err)
	}
	p.timer = time.AfterFunc(patience, func() {
		p.late.Store(true)
		_ = p.cmd.Process.Kill()
	})
	t.Cleanup(p.stop)
	return p
}

// killed waits for the process to kill itself.
func (p *process) killed(t *testing.T) {
	t.Helper()
	_ = p.cmd.Wait()
	if p.late.Load() {
		t.Fatalf("the process lives after %v:\n%s", patience, &p.said)
	}
	if how := p.cmd.ProcessState.String(); how != "signal: killed" {
		t.Fatalf("the process ended with %q, want signal: killed\n%s", how, &p.said)
	}
}

// stop ends the process, if it has not ended.
func (p *process) stop() {
	p.timer.Stop()
	p.alive.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // an error if somebody has waited before
}

// inProcess reports whether this is a process of start's.
func inProcess() bool { return os.Getenv(envName) != "" }

// serve is what such a process does. It does not return.
func (s Site) serve(t testing.TB) {
	go func() { // the parent has ended, in whichever way
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	nth, err := strconv.Atoi(os.Getenv(envCount))
	if err != nil {
		t.Fatal(err)
	}
	d := &death{step: Step(os.Getenv(envStep)), in: int64(nth)}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		t.Fatal(err)
	}
	b := s.bank(t, os.Getenv(envName), d.at)
	t.Fatal(http.Serve(l, b.Handler()))
}

// A death comes when a process takes a step for the nth time. Nothing counts
// before the first transfer has begun.
type death struct {
	step  Step
	in    int64
	begun atomic.Bool
	taken atomic.Int64
}

func (d *death) at(s Step) {
	if s == BeforeEffect {
		d.begun.Store(true)
	}
	if s != d.step || !d.begun.Load() || d.taken.Add(1) != d.in {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // it is not long now
}

// listen returns a listener for processes to serve.
func listen(t *testing.T) (l *net.TCPListener, url string) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, "http://" + l.Addr().String()
}

// within returns a context that ends with the test's patience.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
