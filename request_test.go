package backstay_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// sent is what a function was given in one attempt.
type sent struct{ mark, body string }

// H-1, H-8, H-15
func TestWrapCopiesRequestsForEachAttempt(t *testing.T) {
	streamed := func(text string) io.Reader { return io.NopCloser(strings.NewReader(text)) }
	for _, c := range []struct {
		name, method string
		body         io.Reader
		key          string
		want         int
	}{
		{"GET", "GET", nil, "", 3},
		{"PUT that can be read again", "PUT", strings.NewReader("text"), "", 3},
		{"PUT that cannot", "PUT", streamed("text"), "", 1},
		{"POST", "POST", strings.NewReader("text"), "", 1},
		{"POST with a key", "POST", strings.NewReader("text"), `"k"`, 3},
		{"POST with a key that cannot be read again", "POST", streamed("text"), `"k"`, 1},
	} {
		var got []sent
		marking := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			r, ok := backstay.Request[*http.Request](call)
			if !ok {
				t.Fatalf("%s: Request[*http.Request] = _, false, want true", c.name)
			}
			r.Header.Add("Mark", "x")
			r.URL.Path += "/marked"
			return next(ctx, call)
		})
		do := backstay.Wrap(backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), marking), "op",
			func(_ context.Context, r *http.Request) (int, error) {
				s := sent{mark: strings.Join(r.Header["Mark"], "") + r.URL.Path}
				if r.Body != nil {
					b, _ := io.ReadAll(r.Body)
					s.body = string(b)
				}
				got = append(got, s)
				return 0, errBoom
			})
		req, err := http.NewRequest(c.method, "http://example.com/a", c.body)
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			req.Header.Set("Idempotency-Key", c.key)
		}
		want := sent{mark: "x/a/marked"}
		if c.body != nil {
			want.body = "text"
		}
		_, _ = do(context.Background(), req)
		if len(got) != c.want {
			t.Errorf("%s: the function was called %d times, want %d", c.name, len(got), c.want)
		}
		for i, s := range got {
			if s != want {
				t.Errorf("%s: attempt %d was given %q, want %q", c.name, i+1, s, want)
			}
		}
		if len(req.Header["Mark"]) != 0 || req.URL.Path != "/a" {
			t.Errorf("%s: the caller's request was changed to %v %v", c.name, req.Header, req.URL)
		}
	}
}

func TestWrapPassesANilRequestOn(t *testing.T) {
	do := backstay.Wrap(nil, "op", func(_ context.Context, r *http.Request) (bool, error) { return r == nil, nil })
	if isNil, err := do(context.Background(), nil); !isNil || err != nil {
		t.Errorf("do(nil) = %v, %v, want true", isNil, err)
	}
}
