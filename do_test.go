package backstay_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
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

// A body beside an error is its caller's, and the policy's to close where its
// caller does not get it.
func TestBodiesBesideErrors(t *testing.T) {
	refusing := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		return io.EOF
	})
	mending := around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		_ = next(ctx, call)
		backstay.SetResult[io.ReadCloser](call, nil)
		backstay.SetResult[*http.Response](call, nil)
		return nil
	})
	for _, row := range []struct {
		stack backstay.Middleware
		want  []int // how often each body was closed
	}{
		{backstay.New(), []int{0}},
		{forking(3), []int{1, 1, 1}},
		{repeating(3), []int{1, 1, 0}},
		{retry.New(retry.Config{Backoff: retry.NoPause()}), []int{1, 1, 0}},
		{refusing, []int{0}},
		{mending, []int{1}},
	} {
		var bodies []*closeCounter
		fresh := func() *closeCounter {
			bodies = append(bodies, &closeCounter{Reader: strings.NewReader("text")})
			return bodies[len(bodies)-1]
		}
		check := func(kind string, got any, err error) {
			t.Helper()
			var closes []int
			for _, b := range bodies {
				closes = append(closes, b.closes)
			}
			if !slices.Equal(closes, row.want) {
				t.Errorf("%v: %ss beside errors were closed %v times, want %v", row.stack, kind, closes, row.want)
			}
			if last := len(closes) - 1; closes[last] == 0 && (got != any(bodies[last]) || err == nil) {
				t.Errorf("%v: Do = %v, %v, want the last %s and its error", row.stack, got, err, kind)
			}
			bodies = nil
		}
		policy := backstay.New(row.stack)
		body, err := backstay.Do(context.Background(), policy, "op", func(context.Context) (io.ReadCloser, error) { return fresh(), errBoom })
		check("body", body, err)
		resp, err := backstay.Do(context.Background(), policy, "op", func(context.Context) (*http.Response, error) {
			return &http.Response{Body: fresh()}, errBoom
		})
		if resp == nil {
			resp = &http.Response{}
		}
		check("response", resp.Body, err)
	}
}

// What is mostly beside an error: nothing, or a pointer that is nil.
func TestNoBodyBesideAnError(t *testing.T) {
	policy := backstay.New(forking(2))
	for _, body := range []io.ReadCloser{nil, (*closeCounter)(nil)} {
		if _, err := backstay.Do(context.Background(), policy, "op", func(context.Context) (io.ReadCloser, error) { return body, errBoom }); err != errBoom {
			t.Errorf("Do(%#v beside boom) = %v, want boom", body, err)
		}
	}
	for _, resp := range []*http.Response{nil, {}} {
		if _, err := backstay.Do(context.Background(), policy, "op", func(context.Context) (*http.Response, error) { return resp, errBoom }); err != errBoom {
			t.Errorf("Do(%v beside boom) = %v, want boom", resp, err)
		}
	}
}

// What an Op of Bind gets beside an error is its own affair: Discard is for
// results.
func TestBindLeavesWhatIsBesideAnErrorAlone(t *testing.T) {
	call := backstay.Bind(backstay.New(forking(2)), backstay.Op[int, int]{
		Do:      func(context.Context, *backstay.Call, int) (int, error) { return 1, errBoom },
		Discard: func(int) { t.Error("Discard was given what came beside an error") },
	})
	if _, err := call(context.Background(), 0); err != errBoom {
		t.Errorf("call = %v, want boom", err)
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
