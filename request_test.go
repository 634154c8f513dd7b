package backstay_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
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

// A key does not bring the body back, whoever has made it.
func TestWrapSendsAStreamedBodyOnceUnderKeys(t *testing.T) {
	for _, given := range []string{"", `"k"`} {
		var got []string
		policy := backstay.New(idempotency.Keys(idempotency.KeysConfig{}), retry.New(retry.Config{Backoff: retry.NoPause()}))
		post := backstay.Wrap(policy, "op", func(_ context.Context, r *http.Request) (int, error) {
			b, _ := io.ReadAll(r.Body)
			got = append(got, string(b))
			return 0, errBoom
		})
		if _, err := post(context.Background(), request("POST", &closeCounter{Reader: strings.NewReader("text")}, nil, given)); err != errBoom {
			t.Errorf("POST of a stream with the key %q = %v, want %v", given, err, errBoom)
		}
		if !slices.Equal(got, []string{"text"}) {
			t.Errorf("POST of a stream with the key %q sent the bodies %q, want one of text", given, got)
		}
	}
}

// request returns a request whose body may have a GetBody and a key.
func request(method string, body io.ReadCloser, getBody func() (io.ReadCloser, error), key string) *http.Request {
	r, err := http.NewRequest(method, "http://example.com/a", nil)
	if err != nil {
		panic(err)
	}
	r.Body, r.GetBody = body, getBody
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

// Every body that is opened is closed, and the caller's own once, whether an
// attempt was sent or not, and read its body or not.
func TestWrapLeavesNoBodyOpen(t *testing.T) {
	read := func(r *http.Request) { _, _ = io.ReadAll(r.Body); r.Body.Close(); r.Body.Close() }
	forks := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		unsent, _ := call.Fork()
		unsent.Discard(errBoom)
		second, _ := call.Fork()
		defer second.Discard(errBoom)
		return next(ctx, second)
	})
	rejects := around(func(context.Context, *backstay.Call, backstay.Func) error { return errBoom })
	looks := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		backstay.Request[*http.Request](call)
		return errBoom
	})
	for _, row := range []struct {
		name  string
		stack backstay.Middleware
		use   func(r *http.Request)
		want  int // bodies opened
	}{
		{"sent", backstay.New(), read, 1},
		{"sent three times", forking(3), read, 3},
		{"closed unread", forking(3), func(r *http.Request) { r.Body.Close() }, 1},
		{"ignored", forking(3), func(*http.Request) {}, 1},
		{"forked and not sent", forks, read, 1},
		{"no budget", retry.New(retry.Config{Budget: empty(), Backoff: retry.NoPause()}), read, 1},
		{"rejected", rejects, read, 1},
		{"rejected after a look", looks, read, 1},
	} {
		var opened []*closeCounter
		open := func() (io.ReadCloser, error) {
			b := &closeCounter{Reader: strings.NewReader("text")}
			opened = append(opened, b)
			return b, nil
		}
		own, _ := open()
		put := backstay.Wrap(backstay.New(row.stack), "op", func(_ context.Context, r *http.Request) (int, error) {
			row.use(r)
			return 0, errBoom
		})
		_, _ = put(context.Background(), request("PUT", own, open, ""))
		if len(opened) != row.want {
			t.Errorf("PUT, %s: opened %d bodies, want %d", row.name, len(opened), row.want)
		}
		for i, b := range opened {
			if b.closes != 1 {
				t.Errorf("PUT, %s: body %d was closed %d times, want once", row.name, i+1, b.closes)
			}
		}
	}
}

// empty returns a budget that has nothing left to give.
func empty() *retry.Budget {
	b := retry.NewBudget(retry.BudgetConfig{})
	for b.Withdraw() {
	}
	return b
}

func TestWrapReportsWhatGetBodySays(t *testing.T) {
	for _, row := range []struct {
		getBody func() (io.ReadCloser, error)
		want    error
	}{
		{func() (io.ReadCloser, error) { return nil, errUsedUp }, errUsedUp},
		{func() (io.ReadCloser, error) { return nil, nil }, nil},
	} {
		var got []error
		put := backstay.Wrap(backstay.New(forking(2)), "op", func(_ context.Context, r *http.Request) (int, error) {
			_, err := io.ReadAll(r.Body)
			got = append(got, err)
			return 0, errBoom
		})
		_, _ = put(context.Background(), request("PUT", io.NopCloser(strings.NewReader("text")), row.getBody, ""))
		if !slices.Equal(got, []error{nil, row.want}) {
			t.Errorf("reading the bodies of two attempts = %v, want nil and then %v", got, row.want)
		}
	}
}

// Attempts that overlap do not read from the same body.
func TestWrapGivesAStreamToOneOfTwoAttempts(t *testing.T) {
	var got []string
	overlapping := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		a, _ := call.Fork()
		b, err := call.Fork()
		if err != nil {
			t.Fatalf("Fork before the body was read = %v, want nil", err)
		}
		_ = next(ctx, a)
		a.Discard(errBoom)
		defer call.Adopt(b)
		return next(ctx, b)
	})
	put := backstay.Wrap(backstay.New(overlapping), "op", func(_ context.Context, r *http.Request) (int, error) {
		b, err := io.ReadAll(r.Body)
		got = append(got, string(b))
		r.Body.Close()
		if _, again := r.Body.Read(nil); again != http.ErrBodyReadAfterClose {
			t.Errorf("Read after Close = %v, want %v", again, http.ErrBodyReadAfterClose)
		}
		return 0, err
	})
	body := &closeCounter{Reader: strings.NewReader("text")}
	_, err := put(context.Background(), request("PUT", body, nil, ""))
	if !slices.Equal(got, []string{"text", ""}) || backstay.Classify(err) != backstay.Permanent || body.closes != 1 {
		t.Errorf("two attempts read %q, the second with %v, and closed %d times; want text for the first, a permanent error, and once", got, err, body.closes)
	}
}

// A function that only passes its request on keeps to the timeouts.
func TestWrapGivesRequestsTheContextOfTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), timeout.Attempt(time.Second))
		attempts := 0
		get := backstay.Wrap(policy, "op", func(ctx context.Context, r *http.Request) (int, error) {
			attempts++
			if r.Context() != ctx {
				t.Error("the context of the request is not that of the attempt")
			}
			<-r.Context().Done()
			return 0, r.Context().Err()
		})
		req := request("GET", nil, nil, "")
		began := time.Now()
		_, err := get(context.Background(), req)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || attempts != 3 || took != 3*time.Second {
			t.Errorf("get = %v after %d attempts and %v, want a timeout after 3 and 3s", err, attempts, took)
		}
		if req.Context() != context.Background() {
			t.Error("the context of the caller's request was changed")
		}
	})
}

func TestWrapPassesANilRequestOn(t *testing.T) {
	do := backstay.Wrap(nil, "op", func(_ context.Context, r *http.Request) (bool, error) { return r == nil, nil })
	if isNil, err := do(context.Background(), nil); !isNil || err != nil {
		t.Errorf("do(nil) = %v, %v, want true", isNil, err)
	}
}
