package httpcall_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

// A roster is a balancer that does what the test says.
type roster struct {
	mu      sync.Mutex
	now     []string
	onLeave []func(string)
}

func newRoster(endpoints ...string) *roster { return &roster{now: endpoints} }

func (r *roster) Traits() backstay.Traits { return backstay.Traits{Picks: true} }

func (r *roster) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		call.Try(r.Addresses()[0], nil)
		return next(ctx, call)
	}
}

func (r *roster) Addresses() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.now)
}

func (r *roster) OnLeave(f func(string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onLeave = append(r.onLeave, f)
}

// tell says that the endpoint is gone and its calls have ended, whether that is
// so or not.
func (r *roster) tell(endpoint string) {
	for _, f := range r.onLeave {
		f(endpoint)
	}
}

// update gives b the endpoints of the replicas.
func update(t *testing.T, b *loadbalance.Balancer, replicas ...*replica) {
	t.Helper()
	var addresses []string
	for _, r := range replicas {
		addresses = append(addresses, r.address())
	}
	if err := b.Update(loadbalance.Endpoints(addresses...)...); err != nil {
		t.Fatal(err)
	}
}

// L-26
func TestEndpointThatIsGoneFinishesWhatItHas(t *testing.T) {
	ends := map[string]func(*http.Response, chan<- struct{}) string{
		"read to the end": func(r *http.Response, more chan<- struct{}) string {
			more <- struct{}{}
			b, err := io.ReadAll(r.Body)
			return fmt.Sprint(string(b), " ", err)
		},
		"closed": func(r *http.Response, _ chan<- struct{}) string {
			half := make([]byte, 4)
			_, err := io.ReadFull(r.Body, half)
			r.Body.Close()
			return fmt.Sprint(string(half), " and half ", err)
		},
	}
	for _, n := range networks(t) {
		for how, end := range ends {
			t.Run(n.name+" "+how, func(t *testing.T) {
				leak.Check(t)
				more := make(chan struct{})
				old, other := n.replica(t, halves(more)), n.replica(t, ok)
				b := loadbalance.New(loadbalance.RoundRobin(), old.address())
				rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{Base: n.base(t)})
				defer rt.CloseIdleConnections()
				if err := rt.Warm(t.Context(), n.url); err != nil {
					t.Fatal(err)
				}
				resp, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
				if err != nil {
					t.Fatal(err)
				}
				update(t, b, other)
				again, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
				if got := answer(t, again, err); got != "200 ok" {
					t.Errorf("a call after the update = %s, want 200 ok", got)
				}
				if open, _ := old.conns(); open != 1 {
					t.Errorf("%d connections are open to the endpoint that has a call, want 1", open)
				}
				if got, want := end(resp, more), "half and half <nil>"; got != want {
					t.Errorf("the body of the endpoint that is gone = %s, want %s", got, want)
				}
				old.await(t, 0, "to the endpoint that is gone")
				if open, opened := other.conns(); open != 1 || opened != 1 {
					t.Errorf("%d connections of %d are open to the other endpoint, want 1 of 1", open, opened)
				}
			})
		}
	}
}

// L-26
func TestIdleConnectionsOfAnEndpointThatIsGoneAreClosed(t *testing.T) {
	for _, n := range networks(t) {
		t.Run(n.name, func(t *testing.T) {
			leak.Check(t)
			old, other := n.replica(t, ok), n.replica(t, ok)
			b := loadbalance.New(loadbalance.RoundRobin(), old.address(), other.address())
			var transports []*httpcall.Transport
			for range 2 {
				rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{Base: n.base(t)})
				defer rt.CloseIdleConnections()
				for range 2 {
					resp, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
					answer(t, resp, err)
				}
				transports = append(transports, rt)
			}
			// On a busy machine net/http gives up a connection whose writer it has
			// not heard of for 50 ms, so it may be one only.
			if open, _ := old.conns(); open == 0 {
				t.Fatalf("no connection is open to the endpoint, want one of each of %d transports", len(transports))
			}
			update(t, b, other)
			old.await(t, 0, "to the endpoint that is gone")
			if open, _ := other.conns(); open == 0 {
				t.Errorf("no connection is open to the endpoint that stays, want one of each of %d transports", len(transports))
			}
		})
	}
}

// An endpoint may come back and have a call before the transport is told that
// it was gone.
//
// L-26
func TestEndpointThatComesBackHasConnectionsOfItsOwn(t *testing.T) {
	for _, n := range networks(t) {
		t.Run(n.name, func(t *testing.T) {
			leak.Check(t)
			more := make(chan struct{})
			srv := n.replica(t, halves(more))
			b := newRoster(srv.address())
			rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{Base: n.base(t)})
			if err := rt.Warm(t.Context(), n.url); err != nil {
				t.Fatal(err)
			}
			first, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
			if err != nil {
				t.Fatal(err)
			}
			b.tell(srv.address())
			second, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
			if err != nil {
				t.Fatal(err)
			}
			if open, _ := srv.conns(); open != 2 {
				t.Errorf("%d connections are open with a call from before and one from after, want 2", open)
			}
			more <- struct{}{}
			more <- struct{}{}
			for _, resp := range []*http.Response{first, second} {
				if got := answer(t, resp, nil); got != "200 half and half" {
					t.Errorf("a call around the telling = %s, want 200 half and half", got)
				}
			}
			srv.await(t, 1, "to the endpoint that is back")
			b.tell(srv.address())
			srv.await(t, 0, "to the endpoint that is gone again")
		})
	}
}

func TestPerEndpointIsAskedAgainForOneThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no time passes, so nothing is closed twice
		var asked []string
		var closed atomic.Int32
		b := loadbalance.New(loadbalance.RoundRobin(), "a")
		rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{PerEndpoint: func(endpoint string) http.RoundTripper {
			asked = append(asked, endpoint)
			return closer{roundTripper(func(*http.Request) (*http.Response, error) { return respond(200), nil }), &closed}
		}})
		for i, endpoint := range []string{"a", "b", "a"} {
			if err := b.Update(loadbalance.Endpoints(endpoint)...); err != nil {
				t.Fatal(err)
			}
			if got := int(closed.Load()); got != i {
				t.Errorf("CloseIdleConnections was called %d times after %d endpoints have left, want once for each", got, i)
			}
			for range 2 {
				if _, _, err := fetch(t.Context(), rt); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := []string{"a", "b", "a"}; !slices.Equal(asked, want) {
			t.Errorf("PerEndpoint was asked for %v, want %v", asked, want)
		}
	})
}

// L-26
func TestEndpointsThatComeAndGoWhileCallsRun(t *testing.T) {
	for _, n := range networks(t) {
		t.Run(n.name, func(t *testing.T) {
			leak.Check(t)
			replicas := []*replica{n.replica(t, ok), n.replica(t, ok), n.replica(t, ok)}
			b := loadbalance.New(loadbalance.RoundRobin(), replicas[0].address())
			rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{Base: n.base(t)})
			var callers sync.WaitGroup
			var calls atomic.Int64
			stop := make(chan struct{})
			for range 8 {
				callers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						resp, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
						if got := answer(t, resp, err); got != "200 ok" {
							t.Errorf("a call while endpoints come and go = %s, want 200 ok", got)
							return
						}
						calls.Add(1)
					}
				})
			}
			for i := range 100 {
				update(t, b, replicas[i%3], replicas[(i+1+i%2)%3])
				for before := calls.Load(); calls.Load() < before+4 && !t.Failed(); {
					runtime.Gosched()
				}
			}
			close(stop)
			callers.Wait()
			if err := b.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for _, r := range replicas {
				r.await(t, 0, "after all endpoints have left")
			}
		})
	}
}

// A balancer that lives as long as the program does not keep what the transports
// have that were made for it.
func TestBalancerDoesNotKeepTransports(t *testing.T) {
	b := loadbalance.New(loadbalance.RoundRobin(), "a:80")
	forgotten := func() weak.Pointer[http.Response] {
		resp := respond(200)
		rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{PerEndpoint: func(string) http.RoundTripper {
			return roundTripper(func(*http.Request) (*http.Response, error) { return resp, nil })
		}})
		if _, _, err := fetch(t.Context(), rt); err != nil {
			t.Fatal(err)
		}
		return weak.Make(resp)
	}()
	for range 10 { // the pools of calls last for two
		runtime.GC()
	}
	if forgotten.Value() != nil {
		t.Error("what a forgotten transport has is alive after 10 garbage collections, want it gone while the balancer lives on")
	}
	update(t, b) // which tells of a:80
}

// L-26
func TestEndpointThatLeavesWhileItIsWarmedKeepsNoConnection(t *testing.T) {
	leak.Check(t)
	var b *roster
	srv := newReplica(t, func(http.ResponseWriter, *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now = nil
	})
	b = newRoster(srv.address())
	rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{Base: base(t)})
	if err := rt.Warm(t.Context(), "http://api.example.com/"); err != nil {
		t.Fatal(err)
	}
	srv.await(t, 0, "to an endpoint that left while it was warmed")
	if _, opened := srv.conns(); opened != 1 {
		t.Errorf("Warm opened %d connections, want 1", opened)
	}
}
