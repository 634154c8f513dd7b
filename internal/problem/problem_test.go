package problem

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func response(contentType string, body io.Reader) *http.Response {
	return &http.Response{
		StatusCode: http.StatusConflict,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(body),
	}
}

// RFC 9457, section 3.1
func TestReadReturnsTheProblem(t *testing.T) {
	const whole = `{"type":"urn:t","title":"T","detail":"D","status":409,"extra":[1]}`
	full := Problem{"urn:t", "T", "D"}
	for _, c := range []struct {
		name, contentType, body string
		want                    Problem
	}{
		{"a problem", MediaType, whole, full},
		{"parameters", MediaType + "; charset=utf-8", whole, full},
		{"another case", "Application/Problem+JSON", whole, full},
		{"members of the wrong type", MediaType, `{"type":1,"title":"T","detail":["D"]}`, Problem{Title: "T"}},
		{"as long as is read", MediaType, whole + strings.Repeat(" ", Most-len(whole)), full},
		{"longer", MediaType, whole + strings.Repeat(" ", Most-len(whole)) + "x", full},
		{"too long", MediaType, `{"title":"T","x":"` + strings.Repeat("x", Most) + `"}`, Problem{}},
		{"other JSON", "application/json", whole, Problem{}},
		{"no type of body", "", whole, Problem{}},
		{"a type of body that cannot be read", MediaType + "; =", whole, Problem{}},
		{"not JSON", MediaType, "conflict", Problem{}},
		{"cut off", MediaType, whole[:len(whole)-1], Problem{}},
		{"more after it", MediaType, whole + "x", Problem{}},
		{"no object", MediaType, `"T"`, Problem{}},
		{"empty", MediaType, "", Problem{}},
	} {
		resp := response(c.contentType, iotest.OneByteReader(strings.NewReader(c.body)))
		if got := Read(resp); got != c.want {
			t.Errorf("%s: Read() = %+v, want %+v", c.name, got, c.want)
		}
		if again, err := io.ReadAll(resp.Body); err != nil || string(again) != c.body {
			t.Errorf("%s: the body is %d bytes afterwards, %v, want the %d there were", c.name, len(again), err, len(c.body))
		}
	}
	if got := Read(&http.Response{Header: http.Header{"Content-Type": {MediaType}}}); got != (Problem{}) {
		t.Errorf("Read(no body) = %+v, want none", got)
	}
}

// A body may be of another's making, and never end.
func TestReadKeepsWithinItsBound(t *testing.T) {
	endless := &counted{}
	Read(response(MediaType, endless))
	if endless.n != Most {
		t.Errorf("Read() read %d bytes of a body without end, want %d", endless.n, Most)
	}
	other := &counted{}
	Read(response("text/plain", other))
	if other.n != 0 {
		t.Errorf("Read() read %d bytes of a text/plain, want 0", other.n)
	}
}

// counted is a body without end.
type counted struct{ n int }

func (c *counted) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func TestReadLeavesTheBodyAsItWas(t *testing.T) {
	broken := errors.New("reset") // told once
	closed := 0
	resp := response(MediaType, nil)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{&breaking{`{"title":"T"}`, broken}, closer(func() { closed++ })}
	Read(resp)
	if got, err := io.ReadAll(resp.Body); string(got) != `{"title":"T"}` || !errors.Is(err, broken) {
		t.Errorf("body = %q, %v, want what came and the error", got, err)
	}
	if closed != 0 {
		t.Errorf("Read() closed the body %d times, want 0", closed)
	}
	_ = resp.Body.Close()
	if closed != 1 {
		t.Errorf("Close closed the body %d times, want 1", closed)
	}
}

// breaking is a body that breaks off, and then looks as if it had ended.
type breaking struct {
	text string
	err  error
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := copy(p, b.text), b.err
	b.text, b.err = "", io.EOF
	return n, err
}

type closer func()

func (c closer) Close() error { c(); return nil }

func TestAboutKeys(t *testing.T) {
	for _, c := range []struct {
		p    Problem
		want bool
	}{
		{Problem{Type: NotKept}, true},
		{Problem{Type: "urn:IDEMPOTENCY:busy"}, true},
		{Problem{Title: "Idempotency-Key is already used"}, true},
		{Problem{Detail: "see idempotency"}, false},
		{Problem{Type: "about:blank", Title: "Conflict"}, false},
		{Problem{}, false},
	} {
		if got := c.p.AboutKeys(); got != c.want {
			t.Errorf("%+v: AboutKeys() = %v, want %v", c.p, got, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", `"idempotency"`, `{"type":"urn:t","title":"T","detail":"D"}`, `{"title":{}}`, `{"title":"\ud800"}`,
		`{"TITLE":"T","title":1}`, "[[[[[[[[", "\xff\xfe{}", strings.Repeat("[", 20_000),
	} {
		f.Add(MediaType, body, 0)
		f.Add(MediaType+"; charset=utf-8", body, Most-len(body))
	}
	f.Fuzz(func(t *testing.T, contentType, body string, pad int) {
		if pad > 0 && pad <= 2*Most {
			body += strings.Repeat(" ", pad)
		}
		resp := response(contentType, strings.NewReader(body))
		p := Read(resp)
		if len(p.Type)+len(p.Title)+len(p.Detail) > 3*Most { // a bad byte becomes three
			t.Errorf("Read() = %d, %d and %d bytes, want no more than are read", len(p.Type), len(p.Title), len(p.Detail))
		}
		if again, err := io.ReadAll(resp.Body); err != nil || string(again) != body {
			t.Errorf("the body is %d bytes afterwards, %v, want the %d there were", len(again), err, len(body))
		}
	})
}
