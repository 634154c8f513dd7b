package idempotency

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/problem"
)

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
		{409, inProgress, ErrInProgress, backstay.Pending, "idempotency_in_progress"},
		{422, mismatch, ErrMismatch, backstay.Permanent, "idempotency_mismatch"},
	} {
		resp := response(c.status, problem.MediaType+"; charset=utf-8", c.body)
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
		{"success", problem.MediaType, inProgress, 200},
		{"another status", problem.MediaType, inProgress, 500},
		{"another status of ours", problem.MediaType, inProgress, 503},
		{"a type of ours, another status", problem.MediaType, `{"type":"` + problem.Keys + `ErrInProgress"}`, 500},
		{"a type that is not yet ours", problem.MediaType, `{"type":"` + problem.Keys + `ErrNew"}`, 403},
		{"another type of body", "application/json", inProgress, 409},
		{"no type of body", "", inProgress, 409},
		{"another problem", problem.MediaType, `{"type":"about:blank","title":"Conflict"}`, 409},
		{"another problem's detail", problem.MediaType, `{"title":"Conflict","detail":"see idempotency"}`, 409},
		{"not JSON", problem.MediaType, `idempotency`, 409},
		{"cut off", problem.MediaType, inProgress[:len(inProgress)-1], 409},
		{"no object", problem.MediaType, `"idempotency"`, 409},
		{"wrong types", problem.MediaType, `{"type":1,"title":["idempotency"]}`, 409},
		{"empty", problem.MediaType, ``, 422},
		{"too long", problem.MediaType, `{"title":"Idempotency","x":"` + strings.Repeat("x", problem.Most) + `"}`, 409},
	} {
		resp := response(c.status, c.contentType, c.body)
		if err := ResponseError(resp); err != nil {
			t.Errorf("%s: ResponseError = %v, want nil", c.name, err)
		}
		if again, err := io.ReadAll(resp.Body); err != nil || string(again) != c.body {
			t.Errorf("%s: body of %d bytes, %v, want %d", c.name, len(again), err, len(c.body))
		}
	}
	if err := ResponseError(&http.Response{StatusCode: 409, Header: http.Header{"Content-Type": {problem.MediaType}}}); err != nil {
		t.Errorf("ResponseError(no body) = %v, want nil", err)
	}
}

// RFC 9457, section 3.1: members of the wrong type are ignored.
func TestAProblemsWrongMembersAreIgnored(t *testing.T) {
	err := ResponseError(response(409, problem.MediaType, `{"detail":7,"status":"x","type":"urn:Idempotency:busy"}`))
	if e, ok := errors.AsType[*Error](err); !ok || e.Detail != "" || e.Type != "urn:Idempotency:busy" {
		t.Errorf("ResponseError = %+v, want the type alone", e)
	}
}

// everyKind is what is said of each error, on the wire and to policies.
var everyKind = []struct {
	is         error
	name       string
	status     int
	class      backstay.Class
	errorType  string
	retryAfter bool // is heeded
}{
	{ErrMissing, "ErrMissing", 400, backstay.Permanent, "idempotency_missing", false},
	{ErrInProgress, "ErrInProgress", 409, backstay.Pending, "idempotency_in_progress", true},
	{ErrMismatch, "ErrMismatch", 422, backstay.Permanent, "idempotency_mismatch", false},
	{ErrOutcomeUnknown, "ErrOutcomeUnknown", 409, backstay.Permanent, "idempotency_outcome_unknown", false},
	{ErrNotKept, "ErrNotKept", 409, backstay.Permanent, "idempotency_not_kept", false},
	{ErrUnavailable, "ErrUnavailable", 503, backstay.Transient, "idempotency_unavailable", true},
	{ErrTooLarge, "ErrTooLarge", 413, backstay.Permanent, "idempotency_too_large", false},
	{ErrNoTenant, "ErrNoTenant", 403, backstay.Permanent, "idempotency_no_tenant", false},
}

// I-3, I-9
func TestWhatAServerWritesIsWhatAClientReads(t *testing.T) {
	if len(everyKind) != len(kinds) {
		t.Fatalf("%d kinds are tested, want all %d", len(everyKind), len(kinds))
	}
	for _, c := range everyKind {
		wrote := newError(c.is, "the detail", 3*time.Second)
		resp := written(wrote, http.MethodPost)
		err := ResponseError(resp)
		read, ok := errors.AsType[*Error](err)
		if !ok || *read != *wrote {
			t.Errorf("%s: wrote %+v, read %+v, want the same", c.name, wrote, read)
			continue
		}
		if read.Status != c.status || resp.StatusCode != c.status {
			t.Errorf("%s has the status %d, and answers %d, want %d", c.name, read.Status, resp.StatusCode, c.status)
		}
		if want := "https://pkg.go.dev/github.com/backstay-go/backstay/idempotency#" + c.name; read.Type != want {
			t.Errorf("%s has the type %s, want %s", c.name, read.Type, want)
		}
		if !strings.Contains(read.Title, "Idempotency") {
			t.Errorf("%s has the title %q, want one that speaks of Idempotency", c.name, read.Title)
		}
		for _, other := range everyKind {
			if errors.Is(err, other.is) != (other.is == c.is) {
				t.Errorf("%s is %v, want only %v", c.name, other.is, c.is)
			}
		}
		if class, kind := backstay.Classify(err), backstay.TypeOf(err); class != c.class || kind != c.errorType {
			t.Errorf("%s is %v, %q, want %v, %q", c.name, class, kind, c.class, c.errorType)
		}
		if _, heeded := backstay.RetryAfter(err); heeded != c.retryAfter {
			t.Errorf("%s asks policies to wait: %v, want %v", c.name, heeded, c.retryAfter)
		}
	}
}

// written returns what a client gets of e.
func written(e *Error, method string) *http.Response {
	rec := httptest.NewRecorder()
	e.answer(rec, httptest.NewRequest(method, "/", nil))
	return rec.Result()
}

// The titles of draft-ietf-httpapi-idempotency-key-header-07, section 2.7, for
// those who go by them.
func TestTheStandardsProblemsHaveItsTitles(t *testing.T) {
	for is, example := range map[error]string{ErrMissing: missing, ErrInProgress: inProgress, ErrMismatch: mismatch} {
		if title := newError(is, "", 0).Title; !strings.Contains(example, `"title":"`+title+`"`) {
			t.Errorf("%v has the title %q, want that in %s", is, title, example)
		}
	}
}

func TestTheTypeOfAProblemDecidesBeforeItsStatus(t *testing.T) {
	for _, c := range []struct {
		status int
		kind   string
		is     error
	}{
		{409, "urn:idempotency", ErrInProgress},
		{409, problem.Keys + "ErrNew", ErrInProgress},
		{409, problem.Keys + "ErrNotKept", ErrNotKept},
		{409, problem.Keys + "ErrMismatch", ErrMismatch},
		{422, problem.Keys + "ErrMissing", ErrMissing},
		{400, problem.Keys + "ErrTooLarge", ErrTooLarge},
		{503, problem.Keys + "ErrUnavailable", ErrUnavailable},
	} {
		err := ResponseError(response(c.status, problem.MediaType, `{"type":"`+c.kind+`"}`))
		if !errors.Is(err, c.is) {
			t.Errorf("ResponseError(%d of type %s) = %v, want %v", c.status, c.kind, err, c.is)
		}
	}
}

// RFC 9457, section 3
func TestAProblemAsItIsWritten(t *testing.T) {
	e := newError(ErrMismatch, `of "a" & <b>`, 0)
	for _, method := range []string{http.MethodPost, http.MethodHead} {
		rec := httptest.NewRecorder()
		stale := []string{"Content-Length", "Content-Range", "Content-Language", "Content-Disposition", "Etag", "Expires", "Last-Modified"}
		for _, name := range stale {
			rec.Header().Set(name, "of another body")
		}
		rec.Header().Set("X-Request-Id", "7")
		e.answer(rec, httptest.NewRequest(method, "/", nil))
		var got map[string]any
		want := map[string]any{"type": problem.Keys + "ErrMismatch", "title": e.Title, "status": 422.0, "detail": e.Detail}
		if method == http.MethodHead {
			if rec.Body.Len() != 0 {
				t.Errorf("HEAD has the body %q, want none", rec.Body)
			}
		} else if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || !maps.Equal(got, want) {
			t.Errorf("%s has the body %v, %v, want %v", method, got, err, want)
		}
		h := rec.Result().Header
		for name, want := range map[string]string{
			"Content-Type": problem.MediaType, "Cache-Control": "no-store", "X-Request-Id": "7", "Retry-After": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s has %s: %s, want %q", method, name, got, want)
			}
		}
		for _, name := range stale {
			if got, ok := h[name]; ok {
				t.Errorf("%s has %s: %s, want none", method, name, got)
			}
		}
	}
}

func TestRetryAfterIsWrittenInWholeSecondsRoundedUp(t *testing.T) {
	for after, want := range map[time.Duration]string{
		-time.Second: "", 0: "", 1: "1", time.Millisecond: "1", time.Second: "1", time.Second + 1: "2",
		90 * time.Second: "90", math.MaxInt64: "9223372037",
	} {
		if got := written(newError(ErrInProgress, "", after), http.MethodPost).Header.Get("Retry-After"); got != want {
			t.Errorf("to be left alone for %v is written as Retry-After: %s, want %q", after, got, want)
		}
	}
}

// I-9
func TestRetryAfterOfAProblem(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "2": 2 * time.Second, "-1": 0, "+1": 0, "1.5": 0, "1e3": 0,
		"Wed, 21 Oct 2015 07:28:00 GMT": 0,
		"99999999999999999999":          math.MaxInt64,
		"9223372037":                    math.MaxInt64,
		"9223372036":                    9223372036 * time.Second,
	} {
		resp := response(409, problem.MediaType, inProgress)
		resp.Header.Set("Retry-After", value)
		if e, _ := errors.AsType[*Error](ResponseError(resp)); e == nil || e.RetryAfter != want {
			t.Errorf("Retry-After %q = %+v, want %v", value, e, want)
		}
	}
}

// A server may repeat the key in what it writes, and errors are logged.
func TestTheTextOfAnErrorDoesNotHoldTheKey(t *testing.T) {
	const key = "8e03978e-40d5"
	err := ResponseError(response(409, problem.MediaType, `{"title":"Idempotency-Key `+key+` is in use","detail":"`+key+`"}`))
	if err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("Error() = %q, want no key in it", err)
	}
	if want := "idempotency: earlier attempt in progress (status 409)"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err, want)
	}
}
