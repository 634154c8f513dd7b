package idempotency

import (
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
)

const problem = "application/problem+json"

func response(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(body)),
	}
}

// The titles of draft-ietf-httpapi-idempotency-key-header-07, section 2.7.
const (
	missing    = `{"type":"https://developer.example.com/idempotency","title":"Idempotency-Key is missing","detail":"d"}`
	inProgress = `{"type":"https://developer.example.com/idempotency","title":"A request is outstanding for this Idempotency-Key","detail":"d"}`
	mismatch   = `{"type":"https://developer.example.com/idempotency","title":"Idempotency-Key is already used","detail":"d"}`
)

// I-9
func TestResponseErrorTellsTheProblemsApart(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		is     error
		class  backstay.Class
		kind   string
	}{
		{400, missing, ErrMissing, backstay.Permanent, "idempotency_missing"},
		{409, inProgress, ErrInProgress, backstay.Throttled, "idempotency_in_progress"},
		{422, mismatch, ErrMismatch, backstay.Permanent, "idempotency_mismatch"},
	} {
		resp := response(c.status, problem+"; charset=utf-8", c.body)
		err := ResponseError(resp)
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, c.is) || e.Status != c.status || e.Detail != "d" || !strings.Contains(c.body, e.Title) || !strings.Contains(c.body, e.Type) {
			t.Errorf("ResponseError(%d) = %+v, want %v with the problem's fields", c.status, e, c.is)
		}
		for _, other := range []error{ErrMissing, ErrInProgress, ErrMismatch} {
			if errors.Is(err, other) != (other == c.is) {
				t.Errorf("ResponseError(%d) is %v, want only %v", c.status, other, c.is)
			}
		}
		if class, kind := backstay.Classify(err), backstay.TypeOf(err); class != c.class || kind != c.kind {
			t.Errorf("ResponseError(%d) is %v, %q, want %v, %q", c.status, class, kind, c.class, c.kind)
		}
		if again, err := io.ReadAll(resp.Body); err != nil || string(again) != c.body {
			t.Errorf("body after ResponseError(%d) = %q, %v, want it whole", c.status, again, err)
		}
	}
}

func TestOtherResponsesAreNoProblemOfKeys(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"success", problem, inProgress, 200},
		{"another status", problem, inProgress, 500},
		{"another type of body", "application/json", inProgress, 409},
		{"no type of body", "", inProgress, 409},
		{"another problem", problem, `{"type":"about:blank","title":"Conflict"}`, 409},
		{"another problem's detail", problem, `{"title":"Conflict","detail":"see idempotency"}`, 409},
		{"not JSON", problem, `idempotency`, 409},
		{"cut off", problem, inProgress[:len(inProgress)-1], 409},
		{"no object", problem, `"idempotency"`, 409},
		{"wrong types", problem, `{"type":1,"title":["idempotency"]}`, 409},
		{"empty", problem, ``, 422},
		{"too long", problem, `{"title":"Idempotency","x":"` + strings.Repeat("x", maxProblem) + `"}`, 409},
	} {
		resp := response(c.status, c.contentType, c.body)
		if err := ResponseError(resp); err != nil {
			t.Errorf("%s: ResponseError = %v, want nil", c.name, err)
		}
		if again, err := io.ReadAll(resp.Body); err != nil || string(again) != c.body {
			t.Errorf("%s: body of %d bytes, %v, want %d", c.name, len(again), err, len(c.body))
		}
	}
	if err := ResponseError(&http.Response{StatusCode: 409, Header: http.Header{"Content-Type": {problem}}}); err != nil {
		t.Errorf("ResponseError(no body) = %v, want nil", err)
	}
}

// RFC 9457, section 3.1: members of the wrong type are ignored.
func TestAProblemsWrongMembersAreIgnored(t *testing.T) {
	err := ResponseError(response(409, problem, `{"detail":7,"status":"x","type":"urn:Idempotency:busy"}`))
	if e, ok := errors.AsType[*Error](err); !ok || e.Detail != "" || e.Type != "urn:Idempotency:busy" {
		t.Errorf("ResponseError = %+v, want the type alone", e)
	}
}

func TestResponseErrorLeavesTheBodyAsItWas(t *testing.T) {
	broken := errors.New("reset") // told once
	closed := 0
	resp := response(409, problem, "")
	resp.Body = struct {
		io.Reader
		io.Closer
	}{&breaking{`{"title":`, broken}, closer(func() { closed++ })}
	if err := ResponseError(resp); err != nil {
		t.Errorf("ResponseError(body that breaks) = %v, want nil", err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != `{"title":` || !errors.Is(err, broken) {
		t.Errorf("body = %q, %v, want what came and the error", got, err)
	}
	if closed != 0 {
		t.Errorf("ResponseError closed the body %d times, want 0", closed)
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

// I-9
func TestRetryAfterOfAProblem(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "2": 2 * time.Second, "-1": 0, "+1": 0, "1.5": 0, "1e3": 0,
		"Wed, 21 Oct 2015 07:28:00 GMT": 0,
		"99999999999999999999":          math.MaxInt64,
		"9223372037":                    math.MaxInt64,
		"9223372036":                    9223372036 * time.Second,
	} {
		resp := response(409, problem, inProgress)
		resp.Header.Set("Retry-After", value)
		if e, _ := errors.AsType[*Error](ResponseError(resp)); e == nil || e.RetryAfter != want {
			t.Errorf("Retry-After %q = %+v, want %v", value, e, want)
		}
	}
}

// A server may repeat the key in what it writes, and errors are logged.
func TestTheTextOfAnErrorDoesNotHoldTheKey(t *testing.T) {
	const key = "8e03978e-40d5"
	err := ResponseError(response(409, problem, `{"title":"Idempotency-Key `+key+` is in use","detail":"`+key+`"}`))
	if err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("Error() = %q, want no key in it", err)
	}
	if want := "idempotency: earlier attempt in progress (status 409)"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err, want)
	}
}
