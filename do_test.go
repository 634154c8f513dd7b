package backstay_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
)

func TestDoReturnsWhatTheFunctionReturned(t *testing.T) {
	for _, p := range []*backstay.Policy{nil, {}, backstay.New(), backstay.New(repeating(2))} {
		if v, err := backstay.Do(context.Background(), p, "op", ok); v != 1 || err != nil {
			t.Errorf("Do(ok) under %q = %v, %v, want 1", p, v, err)
		}
		partly := func(context.Context) (int, error) { return 2, errBoom }
		if v, err := backstay.Do(context.Background(), p, "op", partly); v != 2 || err != errBoom {
			t.Errorf("Do(2, boom) under %q = %v, %v, want both", p, v, err)
		}
	}
}

func TestAResultThatIsReadLaterHoldsTheCall(t *testing.T) {
	type made struct {
		body *closeCounter
		over int
	}
	observe := func(m *made) *backstay.Policy {
		return backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			if !call.Held() {
				t.Error("Held() = false, want true")
			}
			call.OnDone(func(error) { m.over++ })
			return next(ctx, call)
		}))
	}
	do := map[string]func(m *made) io.ReadCloser{
		"io.ReadCloser": func(m *made) io.ReadCloser {
			b, _ := backstay.Do(context.Background(), observe(m), "op", func(context.Context) (io.ReadCloser, error) { return m.body, nil })
			return b
		},
		"*http.Response": func(m *made) io.ReadCloser {
			r, _ := backstay.Do(context.Background(), observe(m), "op", func(context.Context) (*http.Response, error) { return &http.Response{Body: m.body}, nil })
			return r.Body
		},
		"io.ReadCloser, wrapped": func(m *made) io.ReadCloser {
			b, _ := backstay.Wrap(observe(m), "op", func(context.Context, int) (io.ReadCloser, error) { return m.body, nil })(context.Background(), 0)
			return b
		},
	}
	for name, call := range do {
		for _, how := range []string{"close", "read to the end"} {
			m := &made{body: &closeCounter{Reader: strings.NewReader("text")}}
			body := call(m)
			if m.over != 0 {
				t.Errorf("%s: the call was over before its body", name)
			}
			if how == "close" {
				body.Close()
			} else {
				_, _ = io.ReadAll(body)
			}
			if m.over != 1 {
				t.Errorf("%s, %s: OnDone ran %d times, want once", name, how, m.over)
			}
			body.Close()
			if m.over != 1 {
				t.Errorf("%s, %s, closed again: OnDone ran %d times, want once", name, how, m.over)
			}
		}
	}
}

func TestAResultWithoutABodyEndsTheCall(t *testing.T) {
	over := 0
	p := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.OnDone(func(error) { over++ })
		return next(ctx, call)
	}))
	for _, r := range []*http.Response{nil, {}, {Body: http.NoBody}} {
		got, err := backstay.Do(context.Background(), p, "op", func(context.Context) (*http.Response, error) { return r, nil })
		if got != r || err != nil || over != 1 {
			t.Errorf("Do(%v) = %v, %v, and OnDone ran %d times; want the same and once", r, got, err, over)
		}
		over = 0
	}
	body, err := backstay.Do(context.Background(), p, "op", func(context.Context) (io.ReadCloser, error) { return nil, nil })
	if body != nil || err != nil || over != 1 {
		t.Errorf("Do(nil body) = %v, %v, and OnDone ran %d times; want nil and once", body, err, over)
	}
}

func TestARefusedBodyIsClosed(t *testing.T) {
	refuse := backstay.New(around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		return errBoom
	}))
	for _, major := range []int{1, 2} {
		body := &closeCounter{Reader: strings.NewReader("text")}
		r, err := backstay.Do(context.Background(), refuse, "op", func(context.Context) (*http.Response, error) {
			return &http.Response{ProtoMajor: major, Body: body}, nil
		})
		left, _ := io.ReadAll(body)
		if r != nil || err != errBoom || body.closes != 1 || (len(left) == 0) != (major == 1) {
			t.Errorf("refused HTTP/%d response: %v, %v, closed %d times, %q left; want closed once, and read first on HTTP/1", major, r, err, body.closes, left)
		}
	}
	body := &closeCounter{Reader: strings.NewReader("text")}
	_, err := backstay.Do(context.Background(), refuse, "op", func(context.Context) (io.ReadCloser, error) { return body, nil })
	if err != errBoom || body.closes != 1 {
		t.Errorf("refused body: %v, closed %d times, want %v and once", err, body.closes, errBoom)
	}
	for _, r := range []*http.Response{nil, {}} {
		if _, err := backstay.Do(context.Background(), refuse, "op", func(context.Context) (*http.Response, error) { return r, nil }); err != errBoom {
			t.Errorf("refused response without a body: %v, want %v", err, errBoom)
		}
	}
	if _, err := backstay.Do(context.Background(), refuse, "op", func(context.Context) (io.ReadCloser, error) { return nil, nil }); err != errBoom {
		t.Errorf("refused nil body: %v, want %v", err, errBoom)
	}
}

// A body beside an error is not the policy's to close: by Go's convention there
// is none.
func TestABodyBesideAnErrorIsLeftAlone(t *testing.T) {
	body := &closeCounter{Reader: strings.NewReader("text")}
	got, err := backstay.Do(context.Background(), nil, "op", func(context.Context) (io.ReadCloser, error) { return body, errBoom })
	if !errors.Is(err, errBoom) || got != body || body.closes != 0 {
		t.Errorf("Do = %v, %v, closed %d times; want what was returned", got, err, body.closes)
	}
}

func TestPlainResultsAreNotHeld(t *testing.T) {
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Held() {
			t.Error("Held() of an int = true, want false")
		}
		return next(ctx, call)
	}))
}
