package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// L-8, L-9, H-46
func TestInFlightCountsOpenBodiesAfterAStormOverHTTP(t *testing.T) {
	leak.Check(t)
	balancer := loadbalance.NewBalancer(loadbalance.Config{
		Endpoints: loadbalance.Endpoints(serve(t, whatever), serve(t, whatever), serve(t, whatever)),
	})
	client := &http.Client{Transport: httpcall.NewTransport(backstay.New(
		timeout.Call(time.Minute),
		retry.New(retry.Config{Backoff: retry.NoPause(), NoBudget: true}),
		backstay.MiddlewareFunc(hedged),
		balancer,
		backstay.MiddlewareFunc(panicking),
		timeout.Attempt(100*time.Millisecond),
	), httpcall.Config{})}
	defer client.CloseIdleConnections()

	bodies := make(chan io.ReadCloser, 960)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 60 {
				if body := careless(t.Context(), client); body != nil {
					bodies <- body
				}
			}
		})
	}
	all.Wait()
	close(bodies)
	if len(bodies) < 30 {
		t.Fatalf("%d bodies are open after 960 calls, want enough of them to see something", len(bodies))
	}
	wantInFlight(t, balancer, len(bodies))
	for body := range bodies {
		if rand.IntN(2) == 0 {
			_, _ = io.Copy(io.Discard, body) // to an end which is not always that of the body
		}
		body.Close()
		body.Close()
	}
	wantInFlight(t, balancer, 0)
	if err := balancer.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
}

// L-10
func TestCloseDoesNotWaitForABodyThatNobodyCloses(t *testing.T) {
	leak.Check(t)
	balancer := loadbalance.New(loadbalance.PeakEWMA(), serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	client := &http.Client{Transport: httpcall.NewTransport(backstay.New(balancer), httpcall.Config{})}
	resp, err := client.Get("http://orders.example/")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	want := "loadbalance: closed while calls are in flight (1): context deadline exceeded; a response body that is not closed keeps its call in flight"
	if err := balancer.Close(ctx); err == nil || err.Error() != want {
		t.Errorf("Close() with an open body = %v, want %s", err, want)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close() with 50ms to wait took %v", took)
	}
	resp.Body.Close()
	if err := balancer.Close(t.Context()); err != nil {
		t.Errorf("Close() with the body closed = %v, want nil", err)
	}
}

// serve returns the address of a server.
func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// whatever answers, fails, breaks off or hangs.
func whatever(w http.ResponseWriter, r *http.Request) {
	switch rand.IntN(8) {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, strings.Repeat("later ", 2000))
	case 1:
		panic(http.ErrAbortHandler)
	case 2:
		_, _ = io.WriteString(w, strings.Repeat("half ", 2000))
		panic(http.ErrAbortHandler)
	case 3:
		<-r.Context().Done()
	default:
		_, _ = io.WriteString(w, strings.Repeat("whole ", 2000))
	}
}

// careless makes a call that may be given up or panic, and returns the body of
// the response where it does not close it.
func careless(ctx context.Context, client *http.Client) io.ReadCloser {
	defer func() { _ = recover() }()
	if rand.IntN(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel() // that of an open body too
		time.AfterFunc(rand.N(20*time.Millisecond), cancel)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders.example/", nil)
	if err != nil {
		panic(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil
	}
	switch rand.IntN(4) {
	case 0:
		return resp.Body
	case 1:
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
	return nil
}

// panicking panics in some attempts, before or after they are made.
func panicking(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		when := rand.IntN(20)
		if when == 0 {
			panic("before the attempt")
		}
		err := next(ctx, call)
		if when == 1 {
			panic("after the attempt")
		}
		return err
	}
}

// hedged makes every other attempt twice at once. The first to end is adopted,
// and the other may outlive the call.
func hedged(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if rand.IntN(2) == 0 {
			return next(ctx, call)
		}
		ends := make(chan *hedge, 2)
		hedges := [2]*hedge{newHedge(ctx, call), newHedge(ctx, call)}
		for _, h := range hedges {
			go func() {
				h.run(next)
				ends <- h
			}()
		}
		winner := <-ends
		for _, h := range hedges {
			if h != winner {
				h.cancel()
			}
		}
		go func() {
			loser := <-ends
			loser.fork.Discard(loser.err)
		}()
		winner.fork.OnDone(func(error) { winner.cancel() })
		call.Adopt(winner.fork)
		return winner.err
	}
}

// A hedge is one of two attempts at the same time.
type hedge struct {
	ctx    context.Context
	cancel context.CancelFunc
	fork   *backstay.Call
	err    error
}

func newHedge(ctx context.Context, call *backstay.Call) *hedge {
	fork, err := call.Fork()
	if err != nil {
		panic(err)
	}
	h := &hedge{fork: fork}
	h.ctx, h.cancel = context.WithCancel(ctx)
	return h
}

func (h *hedge) run(next backstay.Func) {
	h.err = errors.New("panicked")
	defer func() { _ = recover() }()
	h.err = next(h.ctx, h.fork)
}

// wantInFlight waits for the attempts that outlive their calls, and then for
// want in flight at all endpoints together.
func wantInFlight(t *testing.T, balancer *loadbalance.Balancer, want int) {
	t.Helper()
	count := func() (sum int, each string) {
		for _, n := range balancer.Nodes() {
			sum += n.InFlight()
			each += fmt.Sprintf(" %d", n.InFlight())
		}
		return sum, each
	}
	sum, each := count()
	for end := time.Now().Add(5 * time.Second); sum != want && time.Now().Before(end); sum, each = count() {
		<-time.After(5 * time.Millisecond)
	}
	if sum != want {
		t.Errorf("InFlight is%s, together %d, want %d", each, sum, want)
	}
}
