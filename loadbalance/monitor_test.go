package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/loadbalance"
)

// A ward is endpoints that checks find ill or well, and which checks there
// were.
type ward struct {
	mu     sync.Mutex
	ill    map[string]error
	checks map[string][]time.Time
}

func (w *ward) set(address string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ill == nil {
		w.ill = map[string]error{}
	}
	w.ill[address] = err
}

func (w *ward) check(_ context.Context, address string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.checks == nil {
		w.checks = map[string][]time.Time{}
	}
	w.checks[address] = append(w.checks[address], time.Now())
	return w.ill[address]
}

func (w *ward) checked(address string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.checks[address])
}

var errIll = errors.New("503")

// monitor has b monitored until the test of the bubble ends.
func monitor(t *testing.T, b *loadbalance.Balancer, cfg loadbalance.MonitorConfig) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Monitor(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Monitor() = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// A diary keeps the changes of state.
type diary struct {
	mu      sync.Mutex
	changes []string
}

func (d *diary) note(c loadbalance.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, fmt.Sprintf("%s %v %v", c.Endpoint.Address, c.To, c.Err))
}

func (d *diary) read() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.changes, "; ")
	d.changes = nil
	return s
}

// L-21
func TestMonitorTakesOutWhatIsIllWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		var d diary
		b := loadbalance.NewBalancer(loadbalance.Config{Endpoints: loadbalance.Endpoints("a", "b", "c"), OnChange: d.note})
		w.set("a", errIll)
		monitor(t, b, loadbalance.MonitorConfig{Check: w.check})
		pass(9 * time.Second)
		if got := d.read(); got != "" {
			t.Errorf("changes after one check = %s, want none", got)
		}
		pass(6 * time.Second)
		if got := d.read(); got != "a unhealthy 503" {
			t.Errorf("changes after two checks = %s, want a unhealthy 503", got)
		}
		call := caller(b)
		for range 50 {
			if endpoint, _ := call(t.Context()); endpoint == "a" {
				t.Fatal("a call went to a, want none")
			}
		}
		w.set("a", nil)
		pass(40 * time.Second)
		if got := d.read(); got != "a warming <nil>; a available <nil>" {
			t.Errorf("changes after a is well = %s, want warming and available", got)
		}
	})
}

// L-21
func TestChecksAreSpreadOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		began := time.Now()
		b := loadbalance.New(loadbalance.PeakEWMA(), "a", "b", "c", "d")
		monitor(t, b, loadbalance.MonitorConfig{Check: w.check})
		pass(time.Minute)
		first, pauses := map[time.Time]bool{}, map[time.Duration]bool{}
		for _, n := range b.Nodes() {
			at := w.checked(n.Address())
			if at[0].Sub(began) > time.Second {
				t.Errorf("first check of %s after %v, want 1s at most", n.Address(), at[0].Sub(began))
			}
			first[at[0]] = true
			for i := 1; i < len(at); i++ {
				pause := at[i].Sub(at[i-1])
				pauses[pause] = true
				if pause < 10*time.Second || pause > 12500*time.Millisecond {
					t.Errorf("check of %s after %v, want 10s to 12.5s", n.Address(), pause)
				}
			}
			if len(at) < 5 {
				t.Errorf("%d checks of %s in a minute, want 5 or 6", len(at), n.Address())
			}
		}
		if len(first) < 4 || len(pauses) < 10 {
			t.Errorf("%d different first checks and %d different pauses, want 4 and 16 or more", len(first), len(pauses))
		}
	})
}

// brisk is a Monitor that looks every second; changes take two checks, so at
// most 2.5 seconds.
func brisk(w *ward) loadbalance.MonitorConfig {
	return loadbalance.MonitorConfig{Check: w.check, Interval: time.Second}
}

const notices = 2600 * time.Millisecond

// eject has the endpoint at address ejected.
func eject(t *testing.T, b *loadbalance.Balancer, address string) {
	t.Helper()
	call := caller(b, address)
	for range 1000 {
		_, _ = call(t.Context())
		if state(b, address) == loadbalance.Ejected {
			return
		}
	}
	t.Fatalf("%s is %v after 1000 calls, want ejected", address, state(b, address))
}

func state(b *loadbalance.Balancer, address string) loadbalance.State {
	for _, n := range b.Nodes() {
		if n.Address() == address {
			return n.State()
		}
	}
	return loadbalance.Gone
}

// L-18, L-21
func TestChecksDoNotCutAnEjectionShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		var d diary
		health := loadbalance.HealthConfig{BaseEjection: time.Minute}
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c"), Health: health, OnChange: d.note})
		monitor(t, b, brisk(&w))
		eject(t, b, "a")
		pass(50 * time.Second)
		if got := state(b, "a"); got != loadbalance.Ejected {
			t.Errorf("State() before the ejection is over = %v, want ejected", got)
		}
		pass(11500 * time.Millisecond)
		if got := d.read(); !strings.HasPrefix(got, "a ejected connection refused; a probing <nil>; a warming <nil>") {
			t.Errorf("changes = %s, want that a check ends probing", got)
		}
	})
}

// L-21
func TestEjectedEndpointThatIsIllIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		var d diary
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c"), OnChange: d.note})
		monitor(t, b, brisk(&w))
		eject(t, b, "a")
		w.set("a", errIll)
		pass(time.Minute)
		if got := d.read(); got != "a ejected connection refused; a unhealthy <nil>" {
			t.Errorf("changes while a is ill = %s, want ejected and unhealthy", got)
		}
		w.set("a", nil)
		pass(notices)
		if got := d.read(); got != "a warming <nil>" {
			t.Errorf("changes when a is well = %s, want warming", got)
		}
	})
}

func TestEjectedEndpointThatWasIllAndIsWellIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		var d diary
		health := loadbalance.HealthConfig{BaseEjection: time.Minute}
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c"), Health: health, OnChange: d.note})
		monitor(t, b, brisk(&w))
		eject(t, b, "a")
		w.set("a", errIll)
		pass(notices)
		w.set("a", nil)
		pass(time.Minute)
		if got := d.read(); !strings.HasPrefix(got, "a ejected connection refused; a probing <nil>; a warming <nil>") {
			t.Errorf("changes = %s, want ejected, probing and warming", got)
		}
	})
}

func TestOnlyChecksInARowCount(t *testing.T) {
	for _, row := range []struct{ checks, want string }{
		{"-+", ""},
		{"--+", "a unhealthy 503"},
		{"-++--+-+-+-+-+-+", "a unhealthy 503"}, // from the fifth check on
		{"--++++++++++++++", "a unhealthy 503; a warming <nil>; a available <nil>"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var d diary
			n := 0
			b := loadbalance.NewBalancer(loadbalance.Config{Endpoints: loadbalance.Endpoints("a"), OnChange: d.note})
			monitor(t, b, loadbalance.MonitorConfig{Interval: time.Second, Check: func(context.Context, string) error {
				n++
				if row.checks[(n-1)%len(row.checks)] == '-' {
					return errIll
				}
				return nil
			}})
			pass(12 * time.Second)
			if got := d.read(); got != row.want {
				t.Errorf("checks %s and so on: changes = %s, want %s", row.checks, got, row.want)
			}
		})
	}
}

func TestCheckThatFailsEndsProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c")})
		eject(t, b, "a")
		pass(6 * time.Second)
		if got := state(b, "a"); got != loadbalance.Probing {
			t.Fatalf("State() = %v, want probing", got)
		}
		w.set("a", errIll)
		monitor(t, b, brisk(&w))
		pass(notices)
		if got := state(b, "a"); got != loadbalance.Unhealthy {
			t.Errorf("State() = %v, want unhealthy", got)
		}
	})
}

// L-19
func TestAllAreUsedWhenTooManyAreIll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		var d diary
		b := loadbalance.NewBalancer(loadbalance.Config{Strategy: loadbalance.RoundRobin(), Endpoints: loadbalance.Endpoints("a", "b", "c"), OnChange: d.note})
		w.set("a", errIll)
		w.set("b", errIll)
		monitor(t, b, brisk(&w))
		pass(notices)
		d.read()
		call, used := caller(b, "a"), map[string]bool{}
		for range 60 {
			endpoint, _ := call(t.Context())
			used[endpoint] = true // "" if a failed
		}
		if len(used) != 3 {
			t.Errorf("calls went to %v, want to each of three", used)
		}
		if got := d.read(); got != "" {
			t.Errorf("changes = %s, want none: who is unhealthy is not ejected too", got)
		}
	})
}

func TestCheckThatHangsDelaysNoOther(t *testing.T) {
	for name, hang := range map[string]func(ctx context.Context, ever chan struct{}){
		"heeding its context":  func(ctx context.Context, _ chan struct{}) { <-ctx.Done() },
		"ignoring its context": func(_ context.Context, ever chan struct{}) { <-ever },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w ward
				ever := make(chan struct{})
				b := loadbalance.New(loadbalance.PeakEWMA(), "a", "b", "c")
				cfg := brisk(&w)
				cfg.Check = func(ctx context.Context, address string) error {
					_ = w.check(ctx, address)
					if address == "a" {
						hang(ctx, ever)
						return ctx.Err()
					}
					return nil
				}
				stop := monitor(t, b, cfg)
				pass(time.Minute)
				if n := len(w.checked("b")); n < 47 {
					t.Errorf("%d checks of b in a minute, want one every 1s to 1.25s", n)
				}
				if got := state(b, "a"); got != loadbalance.Unhealthy {
					t.Errorf("State() = %v, want unhealthy", got)
				}
				began := time.Now()
				stop()
				if took := time.Since(began); took > time.Second {
					t.Errorf("Monitor() returned %v after its context had ended, want 1s at most", took)
				}
				close(ever)
			})
		})
	}
}

func TestChecksUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addresses []string
		for i := range 40 {
			addresses = append(addresses, fmt.Sprint(i))
		}
		b := loadbalance.New(loadbalance.PeakEWMA(), addresses...)
		var mu sync.Mutex
		now, most := 0, 0
		monitor(t, b, loadbalance.MonitorConfig{Interval: time.Second, Parallel: 5, Check: func(ctx context.Context, _ string) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-time.After(900 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}})
		pass(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 5 {
			t.Errorf("%d checks under way at a time, want 5", most)
		}
	})
}

func TestMonitorFollowsTheEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		b := loadbalance.NewBalancer(loadbalance.Config{}) // has none yet
		monitor(t, b, brisk(&w))
		pass(time.Second)
		for _, addresses := range [][]string{{"a"}, {"a", "b"}, {"b"}, {}, {"a"}} {
			_ = b.Update(loadbalance.Endpoints(addresses...)...)
			synctest.Wait()
			updated := time.Now()
			pass(1300 * time.Millisecond)
			for _, address := range []string{"a", "b"} {
				at := w.checked(address)
				checked := len(at) > 0 && at[len(at)-1].After(updated)
				if want := slices.Contains(addresses, address); checked != want {
					t.Errorf("endpoints %q: %s checked = %t, want %t", addresses, address, checked, want)
				}
			}
		}
	})
}

// An endpoint that left while it was ill, with a call there, comes back as new.
func TestEndpointThatLeftAndComesBackIsCheckedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		b := loadbalance.New(loadbalance.RoundRobin(), "a", "b", "c")
		monitor(t, b, brisk(&w))
		w.set("a", errIll)
		pass(notices)
		if got := state(b, "a"); got != loadbalance.Unhealthy {
			t.Fatalf("State() = %v, want unhealthy", got)
		}
		_ = b.Update(loadbalance.Endpoints("b", "c")...)
		pass(time.Second)
		_ = b.Update(loadbalance.Endpoints("a", "b", "c")...)
		if got := state(b, "a"); got != loadbalance.Warming {
			t.Errorf("State() of an endpoint that came back = %v, want warming", got)
		}
		pass(notices)
		if got := state(b, "a"); got != loadbalance.Unhealthy {
			t.Errorf("State() after two checks = %v, want unhealthy", got)
		}
	})
}

// L-21, L-28
func TestNoEndpointStaysUnhealthyAfterMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		b := loadbalance.New(loadbalance.PeakEWMA(), "a", "b", "c")
		w.set("a", errIll)
		stop := monitor(t, b, brisk(&w))
		pass(notices)
		stop()
		if got := state(b, "a"); got != loadbalance.Warming {
			t.Errorf("State() = %v, want warming", got)
		}
	})
}

func TestUnhealthyEndpointHasTheEndpointsLookedUp(t *testing.T) {
	var w ward
	w.set("a", errIll)
	r := &resolver{script: []answer{finds("a", "b"), finds("b", "c")}}
	bubble(t, loadbalance.Config{}, r, func(t *testing.T, b *loadbalance.Balancer) {
		monitor(t, b, brisk(&w))
		pass(6 * time.Second)
		if got := fmt.Sprint(b.Addresses()); got != "[b c]" {
			t.Errorf("Endpoints() = %s, want [b c]", got)
		}
	})
}

func TestCheckThatPanicsHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		b := loadbalance.NewBalancer(loadbalance.Config{Endpoints: loadbalance.Endpoints("a"), OnChange: d.note})
		monitor(t, b, loadbalance.MonitorConfig{Failures: 1, Check: func(context.Context, string) error {
			panic("in the check")
		}})
		pass(2 * time.Second)
		want := "a unhealthy loadbalance: Check panicked: in the check, at monitor_test.go:"
		if got := d.read(); !strings.HasPrefix(got, want) {
			t.Errorf("changes = %s, want %s", got, want)
		}
	})
}

// L-28
func TestMonitorEndsWithTheBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w ward
		b := loadbalance.New(loadbalance.PeakEWMA(), "a")
		ended := make(chan error, 1)
		go func() { ended <- b.Monitor(t.Context(), brisk(&w)) }()
		pass(5 * time.Second)
		want := "loadbalance: a Monitor of this balancer is under way; end its context first, or use another balancer"
		if err := b.Monitor(t.Context(), brisk(&w)); err == nil || err.Error() != want {
			t.Errorf("Monitor() = %v, want %s", err, want)
		}
		_ = b.Close(t.Context())
		if err := <-ended; err != nil {
			t.Errorf("Monitor() = %v, want nil", err)
		}
		if err := b.Monitor(t.Context(), brisk(&w)); err != nil {
			t.Errorf("Monitor() after Close = %v, want nil", err)
		}
	})
}

func TestMonitorRefusesWhatCannotWork(t *testing.T) {
	check := new(ward).check
	for _, row := range []struct {
		cfg  loadbalance.MonitorConfig
		want string
	}{
		{loadbalance.MonitorConfig{}, "loadbalance: Monitor needs a Check, which reports what is wrong with the endpoint at an address"},
		{loadbalance.MonitorConfig{Check: check, Interval: -1}, "loadbalance: Interval is -1ns; give a positive duration, or 0 for 10s"},
		{loadbalance.MonitorConfig{Check: check, Timeout: -1}, "loadbalance: Timeout is -1ns; give a positive duration, or 0 for 1s"},
		{loadbalance.MonitorConfig{Check: check, Failures: -1}, "loadbalance: Failures is -1; give a count, or 0 for 2"},
		{loadbalance.MonitorConfig{Check: check, Successes: -1}, "loadbalance: Successes is -1; give a count, or 0 for 2"},
		{loadbalance.MonitorConfig{Check: check, Parallel: -1}, "loadbalance: Parallel is -1; give a count, or 0 for 64"},
	} {
		b := loadbalance.New(loadbalance.PeakEWMA(), "a")
		if err := b.Monitor(t.Context(), row.cfg); err == nil || err.Error() != row.want {
			t.Errorf("Monitor(%+v) = %v, want %s", row.cfg, err, row.want)
		}
	}
}
