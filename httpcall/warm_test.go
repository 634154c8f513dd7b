package httpcall_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

func TestWarmOpensAConnectionToEachEndpoint(t *testing.T) {
	for _, n := range networks(t) {
		t.Run(n.name, func(t *testing.T) {
			leak.Check(t)
			seen := make(chan string, 100)
			h := func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Method + " " + r.Host + r.URL.String()
				w.WriteHeader(http.StatusMethodNotAllowed)
			}
			replicas := []*replica{n.replica(t, h), n.replica(t, h), n.replica(t, h)}
			b := loadbalance.New(loadbalance.RoundRobin(), "none")
			update(t, b, replicas...)
			inPolicy := 0
			rt := httpcall.NewTransport(backstay.New(attempts(3), countAttempts(&inPolicy), b), httpcall.Config{Base: n.base(t)})
			if err := rt.Warm(t.Context(), n.url+"warm"); err != nil {
				t.Fatalf("Warm() = %v, want nil whatever the server answers", err)
			}
			for range replicas {
				if got, want := <-seen, "HEAD api.example.com/warm"; got != want {
					t.Errorf("an endpoint saw %s, want %s", got, want)
				}
			}
			if len(seen) != 0 || inPolicy != 0 || inFlight(b) != 0 {
				t.Errorf("Warm sent %d requests more, %d in the policy, want none", len(seen), inPolicy)
			}
			for range replicas {
				resp, err := rt.RoundTrip(request(t, http.MethodGet, n.url, ""))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			for _, r := range replicas {
				if open, opened := r.conns(); open != 1 || opened != 1 {
					t.Errorf("%d connections of %d are open to an endpoint after Warm and a call, want 1 of 1", open, opened)
				}
			}
			rt.CloseIdleConnections()
		})
	}
}

func TestWarmWithoutABalancerOpensOne(t *testing.T) {
	s := serve(t, status(200))
	rt := over(t)
	if err := rt.Warm(t.Context(), s.url()); err != nil {
		t.Fatal(err)
	}
	answer(t, must(t)(rt.RoundTrip(request(t, http.MethodGet, s.url(), ""))), nil)
	if got := s.connections(); got != 1 {
		t.Errorf("Warm and a call used %d connections, want 1", got)
	}
}

func TestWarmNamesTheEndpointsThatFailed(t *testing.T) {
	leak.Check(t)
	a := newAuthority(t)
	well, wrong, down := newReplica(t, ok, a.certifies(t, "api.example.com")), newReplica(t, ok, a.certifies(t, "old.example.com")), vacant(t)
	rt := httpcall.NewTransport(balanced(down, well.address(), wrong.address()), httpcall.Config{Base: a.trusted(t, true)})
	defer rt.CloseIdleConnections()
	err := rt.Warm(t.Context(), "https://api.example.com/?secret")
	if err == nil {
		t.Fatal("Warm() = nil, want an error for two of three endpoints")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "httpcall: warm: ") || !strings.Contains(lines[0], down) || !strings.HasPrefix(lines[1], "httpcall: warm: "+wrong.address()+": tls: ") {
		t.Errorf("Warm() = %v, want a line for %s and one for %s", err, down, wrong.address())
	}
	if open, _ := well.conns(); open != 1 {
		t.Errorf("%d connections are open to the endpoint that is well, want 1", open)
	}
	if err := rt.Warm(t.Context(), "https://user:secret@api.example.com:x/"); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Warm(bad URL) = %v, want one error, without the credentials", err)
	}
}

func TestWarmIsBoundedAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := strings.Split(strings.Repeat("e,", 39)+"e", ",")
		for i := range names {
			names[i] += string(rune('A' + i))
		}
		var now atomic.Int32
		rt := httpcall.NewTransport(balanced(names...), httpcall.Config{PerEndpoint: func(string) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				now.Add(1)
				defer now.Add(-1)
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- rt.Warm(ctx, "http://orders.example/") }()
		synctest.Wait()
		if got := now.Load(); got != 16 {
			t.Errorf("Warm of 40 endpoints has %d requests under way, want 16", got)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || strings.Count(err.Error(), "\n") != 39 {
			t.Errorf("Warm() = %v, want context.Canceled for each of 40 endpoints", err)
		}
	})
}

func TestWarmSaysWhereThereIsNoEndpoint(t *testing.T) {
	silent := struct{ backstay.Part }{newRoster("a:80")}
	for _, row := range []struct {
		balancer backstay.Middleware
		want     string
	}{
		{silent, "httpcall: cannot warm the endpoints, for the balancer has no Addresses method"},
		{loadbalance.NewBalancer(loadbalance.Config{}), "httpcall: there is no endpoint to warm; wait until the balancer has some"},
	} {
		err := over(t, row.balancer).Warm(t.Context(), "http://orders.example/")
		if err == nil || err.Error() != row.want {
			t.Errorf("Warm() = %v, want %s", err, row.want)
		}
	}
}

// must returns a response, and ends the test where there is none.
func must(t testing.TB) func(*http.Response, error) *http.Response {
	return func(resp *http.Response, err error) *http.Response {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
}
