package httpcall_test

import (
	"errors"
	"net/http"
	"syscall"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
)

// B-11. Two failures in a row open the breaker: what comes after one and opens
// it is a failure, what keeps another from opening it is a success, and what
// does neither tells nothing.
func TestWhatAResponseSaysOfTheServersHealth(t *testing.T) {
	const failed, passed, neutral = "failure", "success", "neutral"
	for _, c := range []struct {
		status int
		want   string
	}{
		{200, passed}, {204, passed}, {304, passed}, {400, passed}, {401, passed}, {404, passed}, {409, passed}, {422, passed}, {499, passed},
		{501, passed}, {505, passed},
		{408, neutral}, {421, neutral}, {425, neutral}, {429, neutral},
		{500, failed}, {502, failed}, {503, failed}, {504, failed}, {507, failed}, {529, failed},
	} {
		if got := judged(func() (*http.Response, error) { return respond(c.status), nil }); got != c.want {
			t.Errorf("a %d is a %s, want a %s", c.status, got, c.want)
		}
	}
	for _, err := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, errors.New("malformed HTTP response"), errors.New("remote error: tls: handshake failure")} {
		if got := judged(func() (*http.Response, error) { return nil, err }); got != failed {
			t.Errorf("%v is a %s, want a %s", err, got, failed)
		}
	}
}

func respond(status int) *http.Response {
	return &http.Response{StatusCode: status, ProtoMajor: 1, Header: http.Header{}, Body: http.NoBody}
}

// judged returns what a breaker takes the end of an attempt for.
func judged(end func() (*http.Response, error)) string {
	b := breaker.New(breaker.Config{FailureRate: breaker.Never, ConsecutiveFailures: 2})
	ends := []func() (*http.Response, error){
		func() (*http.Response, error) { return respond(500), nil }, end,
		func() (*http.Response, error) { return respond(500), nil },
	}
	client := &http.Client{Transport: httpcall.NewTransport(backstay.New(b), httpcall.Config{
		Base: roundTripper(func(*http.Request) (*http.Response, error) {
			next := ends[0]
			ends = ends[1:]
			return next()
		}),
	})}
	for i := range 3 {
		resp, err := client.Get("http://example.com/")
		if err == nil {
			resp.Body.Close()
		}
		if i == 1 && b.State() == breaker.Open {
			return "failure"
		}
	}
	if b.State() == breaker.Open {
		return "neutral"
	}
	return "success"
}
