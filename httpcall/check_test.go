package httpcall_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
)

// L-21
func TestCheckAsksTheEndpoint(t *testing.T) {
	for _, n := range networks(t) {
		t.Run(n.name, func(t *testing.T) {
			leak.Check(t)
			code := http.StatusOK
			var asked []string
			srv := n.replica(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method+" "+r.Host+r.URL.String())
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(code)
				if code != http.StatusNoContent {
					io.WriteString(w, strings.Repeat("well ", 1000))
				}
			})
			unused := reject(errors.New("the policy was used"))
			rt := httpcall.NewTransport(backstay.New(unused, newRoster(srv.address())), httpcall.Config{Base: n.base(t)})
			defer rt.CloseIdleConnections()
			check := rt.Check(n.url + "healthz?deep")
			for _, row := range []struct {
				code int
				want string
			}{
				{200, ""}, {204, ""}, {299, ""},
				{302, "302 Found"}, {304, "304 Not Modified"}, {404, "404 Not Found"}, {500, "500 Internal Server Error"}, {503, "503 Service Unavailable"},
			} {
				code = row.code
				err := check(t.Context(), srv.address())
				want := ""
				if row.want != "" {
					want = "httpcall: check: " + srv.address() + ": httpcall: " + row.want
				}
				if s, _ := errors.AsType[*httpcall.StatusError](err); text(err) != want || row.want != "" && (s == nil || s.Status != row.code) {
					t.Errorf("Check() of an endpoint that answers %d = %v, want %s", row.code, err, want)
				}
			}
			for _, got := range asked {
				if want := "GET api.example.com/healthz?deep"; got != want {
					t.Errorf("the endpoint was asked %s, want %s", got, want)
				}
			}
			if open, opened := srv.conns(); len(asked) != 8 || open != 1 || opened != 1 {
				t.Errorf("%d checks used %d connections, of which %d are open, want 8 that use 1", len(asked), opened, open)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// L-21
func TestCheckTellsOfAnEndpointThatCannotBeReached(t *testing.T) {
	leak.Check(t)
	a := newAuthority(t)
	wrong, down := newReplica(t, ok, a.certifies(t, "old.example.com")), vacant(t)
	rt := httpcall.NewTransport(balanced(down, wrong.address()), httpcall.Config{Base: a.trusted(t, false)})
	check := rt.Check("https://api.example.com/")
	for _, address := range []string{down, wrong.address()} {
		if err := check(t.Context(), address); err == nil || !strings.Contains(err.Error(), address) {
			t.Errorf("Check(%s) = %v, want an error that names it", address, err)
		}
	}
}

func TestCheckReadsSoMuchOfTheBodyAndNoMore(t *testing.T) {
	leak.Check(t)
	for name, h := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		},
		"silent": halves(nil),
		"compressed and silent": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		srv := newReplica(t, h)
		rt := httpcall.NewTransport(balanced(srv.address()), httpcall.Config{Base: &http.Transport{}})
		if err := rt.Check("http://api.example.com/")(t.Context(), srv.address()); err != nil {
			t.Errorf("Check() with a body that is %s = %v, want nil", name, err)
		}
		srv.await(t, 0, "after a check with a body that is "+name)
	}
}

func TestCheckRefusesWhatIsNoURL(t *testing.T) {
	for _, url := range []string{"", "/healthz", "api.example.com/healthz", "ftp://api.example.com/", "http://", "http://a:b:c/"} {
		func() {
			defer func() {
				if got, _ := recover().(string); !strings.HasPrefix(got, "httpcall: Check needs an absolute URL") {
					t.Errorf("Check(%q) panicked with %q, want a sentence about the URL", url, got)
				}
			}()
			over(t).Check(url)
		}()
	}
}

// L-21
func TestMonitorChecksThroughTheTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ill atomic.Bool
		m := newMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if servedAt(r) == "b:80" && ill.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}), "a:80", "b:80")
		b := loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80")
		rt := m.transport(t, httpcall.Config{}, b)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- b.Monitor(ctx, loadbalance.MonitorConfig{Check: rt.Check("http://orders.example/healthz"), Interval: time.Second})
		}()
		for _, row := range []struct {
			ill  bool
			want loadbalance.State
		}{{false, loadbalance.Available}, {true, loadbalance.Unhealthy}, {false, loadbalance.Available}} {
			ill.Store(row.ill)
			<-time.After(time.Minute)
			if got := b.Nodes()[1].State(); got != row.want {
				t.Errorf("after a minute of checks, ill: %v, the endpoint is %v, want %v", row.ill, got, row.want)
			}
		}
		if got := len(m.dialed); got != 2 {
			t.Errorf("three minutes of checks made %d connections, want one to each of two endpoints", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
