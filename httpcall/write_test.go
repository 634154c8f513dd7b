package httpcall_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

func TestWritesAreKnownByTheirMethod(t *testing.T) {
	for method, want := range map[string]bool{
		"": false, "GET": false, "HEAD": false, "OPTIONS": false, "TRACE": false, "QUERY": false,
		"POST": true, "PUT": true, "PATCH": true, "DELETE": true, "CONNECT": true, "PURGE": true, "get": true,
	} {
		req := keyRequest(t, func(r *http.Request) { r.Method = method })
		inCall(t, req, func(ctx context.Context, call *backstay.Call) {
			if got := httpcall.IsWrite(ctx, call); got != want {
				t.Errorf("IsWrite(%q) = %v, want %v", method, got, want)
			}
			if race.Enabled {
				return
			}
			if got := testing.AllocsPerRun(100, func() { httpcall.IsWrite(ctx, call) }); got != 0 {
				t.Errorf("IsWrite(%q) allocates %v times, want 0", method, got)
			}
		})
	}
}

func TestReplicasServeWhatIsNoWrite(t *testing.T) {
	var at string
	b := loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  loadbalance.PrimaryReplica(httpcall.IsWrite, loadbalance.RoundRobin()),
		Endpoints: []loadbalance.Endpoint{{Address: "primary", Role: loadbalance.Primary}, {Address: "replica"}},
	})
	rt := httpcall.NewTransport(backstay.New(b), httpcall.Config{PerEndpoint: func(endpoint string) http.RoundTripper {
		return roundTripper(func(*http.Request) (*http.Response, error) {
			at = endpoint
			return respond(200), nil
		})
	}})
	for method, want := range map[string]string{"GET": "replica", "HEAD": "replica", "PUT": "primary", "POST": "primary"} {
		answer(t, must(t)(rt.RoundTrip(request(t, method, "http://orders.example/", ""))), nil)
		if at != want {
			t.Errorf("%s went to the %s, want the %s", method, at, want)
		}
	}
}
