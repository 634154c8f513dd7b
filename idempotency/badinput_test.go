package idempotency

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
)

// A spy is a Store that counts the claims.
type spy struct {
	Store
	claims atomic.Int64
}

func (s *spy) Claim(ctx context.Context, c Claim) (Answer, error) {
	s.claims.Add(1)
	return s.Store.Claim(ctx, c)
}

// A transcript is all that was said in logs and events.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) event(_ context.Context, e Event) {
	fmt.Fprintf(s, "%+v %v %#v\n", e, e.Err, e.Err)
	slog.New(slog.NewJSONHandler(s, nil)).Info("event", "event", e, "err", e.Err)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// What the bad requests are about, and must not be found anywhere else.
const (
	secretKey  = "SecretKey"
	secretBody = "SecretBody"
)

// badRequests are requests to a handler whose MaxBody is 20 bytes, and which
// has done POST /transfers?to=bob with the key "used" and the secret body as
// text/plain.
var badRequests = []struct {
	name   string
	format Format
	key    []string // the values of the header
	target string   // "" means POST /transfers?to=bob
	media  string   // "" means text/plain
	body   string   // "" means the secret body
	as     string   // how the body is sent: "" with its length
	want   int
	is     error // nil means a problem of no type
	notTCP bool  // net/http refuses it, or cannot be told
}{
	{name: "no key", want: 400, is: ErrMissing},
	{name: "empty quotes", key: []string{`""`}, want: 400, is: ErrMissing},
	{name: "blank", key: []string{""}, want: 400, is: ErrMissing},
	{name: "spaces", key: []string{"  \t "}, want: 400, is: ErrMissing},
	{name: "no quotes", key: []string{secretKey}, want: 400, is: ErrMissing},
	{name: "single quotes", key: []string{"'" + secretKey + "'"}, want: 400, is: ErrMissing},
	{name: "no closing quote", key: []string{`"` + secretKey}, want: 400, is: ErrMissing},
	{name: "no opening quote", key: []string{secretKey + `"`}, want: 400, is: ErrMissing},
	{name: "backslash before a letter", key: []string{`"` + secretKey + `\n"`}, want: 400, is: ErrMissing},
	{name: "backslash at the end", key: []string{`"` + secretKey + `\`}, want: 400, is: ErrMissing},
	{name: "bytes", key: []string{":U2VjcmV0S2V5:"}, want: 400, is: ErrMissing},
	{name: "parameter", key: []string{`"` + secretKey + `";b=1`}, want: 400, is: ErrMissing},
	{name: "list", key: []string{`"` + secretKey + `", "b"`}, want: 400, is: ErrMissing},
	{name: "list of equal keys", key: []string{`"` + secretKey + `","` + secretKey + `"`}, want: 400, is: ErrMissing},
	{name: "two lines", key: []string{`"` + secretKey + `"`, `"b"`}, want: 400, is: ErrMissing},
	{name: "two equal lines", key: []string{`"` + secretKey + `"`, `"` + secretKey + `"`}, want: 400, is: ErrMissing},
	{name: "a line and an empty one", key: []string{`"` + secretKey + `"`, ``}, want: 400, is: ErrMissing},
	{name: "1025 characters", key: []string{`"` + strings.Repeat("k", 1025) + `"`}, want: 400, is: ErrMissing},
	{name: "200,000 characters", key: []string{`"` + strings.Repeat(secretKey, 22223) + `"`}, want: 400, is: ErrMissing},
	{name: "UTF-8", key: []string{`"` + secretKey + `ü"`}, want: 400, is: ErrMissing},
	{name: "Latin-1", key: []string{"\"" + secretKey + "\xfc\""}, want: 400, is: ErrMissing},
	{name: "tab inside", key: []string{"\"" + secretKey + "\t\""}, want: 400, is: ErrMissing},
	{name: "NUL", key: []string{"\"" + secretKey + "\x00\""}, want: 400, is: ErrMissing, notTCP: true},
	{name: "line feed", key: []string{"\"" + secretKey + "\n\""}, want: 400, is: ErrMissing, notTCP: true},
	{name: "DEL", key: []string{"\"" + secretKey + "\x7f\""}, want: 400, is: ErrMissing, notTCP: true},

	{name: "unquoted: no key", format: Stripe, want: 400, is: ErrMissing},
	{name: "unquoted: blank", format: Stripe, key: []string{""}, want: 400, is: ErrMissing},
	{name: "unquoted: two lines", format: Stripe, key: []string{secretKey, secretKey}, want: 400, is: ErrMissing},
	{name: "unquoted: 256 characters", format: Stripe, key: []string{strings.Repeat("k", 256)}, want: 400, is: ErrMissing},
	{name: "unquoted: UTF-8", format: Stripe, key: []string{secretKey + "ü"}, want: 400, is: ErrMissing},
	{name: "unquoted: tab inside", format: Stripe, key: []string{secretKey + "\tk"}, want: 400, is: ErrMissing},
	{name: "unquoted: NUL", format: Stripe, key: []string{secretKey + "\x00"}, want: 400, is: ErrMissing, notTCP: true},
	{name: "PayPal: 109 characters", format: PayPal, key: []string{strings.Repeat("k", 109)}, want: 400, is: ErrMissing},

	{name: "body above the cap", key: []string{`"` + secretKey + `"`}, body: secretBody + "01234567890", want: 413, is: ErrTooLarge},
	{name: "chunked body above the cap", key: []string{`"` + secretKey + `"`}, body: secretBody + "01234567890", as: "chunked", want: 413, is: ErrTooLarge},
	{name: "endless chunked body", key: []string{`"` + secretKey + `"`}, body: strings.Repeat(secretBody, 1000), as: "chunked", want: 413, is: ErrTooLarge},
	{name: "body broken off", key: []string{`"` + secretKey + `"`}, as: "short", want: 400},
	{name: "chunked body broken off", key: []string{`"` + secretKey + `"`}, as: "short chunk", want: 400},
	{name: "no chunks", key: []string{`"` + secretKey + `"`}, as: "no chunks", want: 400},

	{name: "another method", key: []string{`"used"`}, target: "PATCH /transfers?to=bob", want: 422, is: ErrMismatch},
	{name: "another path", key: []string{`"used"`}, target: "POST /refunds?to=bob", want: 422, is: ErrMismatch},
	{name: "another encoding of the path", key: []string{`"used"`}, target: "POST /transfer%73?to=bob", want: 422, is: ErrMismatch},
	{name: "another query", key: []string{`"used"`}, target: "POST /transfers?to=eve", want: 422, is: ErrMismatch},
	{name: "one more parameter", key: []string{`"used"`}, target: "POST /transfers?to=bob&to=eve", want: 422, is: ErrMismatch},
	{name: "no query", key: []string{`"used"`}, target: "POST /transfers", want: 422, is: ErrMismatch},
	{name: "another content type", key: []string{`"used"`}, media: "application/json", want: 422, is: ErrMismatch},
	{name: "another body", key: []string{`"used"`}, body: secretBody + "!", want: 422, is: ErrMismatch},
	{name: "unquoted: another body", format: Stripe, key: []string{`used`}, body: secretBody + "!", want: 422, is: ErrMismatch},
}

// rawRequest writes a request as it goes over the wire, with the lines of the
// key, if there are any, before the others.
func rawRequest(target string, f Format, keys []string, media, body, as string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s HTTP/1.1\r\nHost: bank\r\nContent-Type: %s\r\n", cmp.Or(target, "POST /transfers?to=bob"), cmp.Or(media, "text/plain"))
	for _, k := range keys {
		// Names on the wire have no case.
		fmt.Fprintf(&s, "%s: %s\r\n", strings.ToLower(f.defaults().Header), k)
	}
	body = cmp.Or(body, secretBody)
	switch as {
	case "":
		fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n%s", len(body), body)
	case "short":
		fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n%s", len(body)+1, body)
	case "chunked":
		fmt.Fprintf(&s, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case "short chunk":
		fmt.Fprintf(&s, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(body)+1, body)
	case "no chunks":
		fmt.Fprintf(&s, "Transfer-Encoding: chunked\r\n\r\n%s\r\n", body)
	}
	return s.String()
}

// exchange sends raw bytes to the server and returns the response and all that
// came back.
func exchange(t *testing.T, s *httptest.Server, raw string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, raw)
		_ = conn.(*net.TCPConn).CloseWrite() // where a body is to be broken off
	}()
	all, _ := io.ReadAll(conn)
	return parse(t, all), string(all)
}

// parse reads a response, whose body can be read any number of times.
func parse(t *testing.T, raw []byte) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatalf("%q is no response: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body of %q: %v", raw, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// wantProblem checks that a response is the problem of is, and says how to mend
// it.
func wantProblem(t *testing.T, resp *http.Response, status int, is error) {
	t.Helper()
	body, _ := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	err := json.Unmarshal(body, &p)
	uri := "about:blank"
	if is != nil {
		uri = kindOf(func(k kind) bool { return k.is == is }).uri()
	}
	mends := strings.Contains(p.Detail, "send ") || strings.Contains(p.Detail, "use ") || strings.Contains(p.Detail, "again")
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/problem+json" ||
		err != nil || p.Status != status || p.Type != uri || p.Title == "" || !mends {
		t.Errorf("answer = %d %v %s, want the problem %s with status %d and how to mend it", resp.StatusCode, resp.Header, body, uri, status)
	}
	if is != nil && !errors.Is(ResponseError(resp), is) {
		t.Errorf("answer reads as %v, want %v", ResponseError(resp), is)
	}
}

// I-3, I-18: with each, nothing is done, nothing is stored, and nothing of the
// key or the body is told to anybody.
func TestBadInputIsRefusedWithAProblem(t *testing.T) {
	var said transcript
	defer log.SetOutput(log.Writer())
	log.SetOutput(&said)
	for _, c := range badRequests {
		t.Run(c.name, func(t *testing.T) {
			leak.Check(t)
			memory := NewMemory(MemoryConfig{})
			store := &spy{Store: memory}
			ran := 0
			h := NewGuard(GuardConfig{Store: store, OnEvent: said.event}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				ran++
			}), HandlerConfig{Tenant: OneTenant, Format: c.format, MaxBody: 20})
			s := httptest.NewUnstartedServer(h)
			s.Config.ErrorLog = log.New(&said, "", 0)
			s.Start()
			defer s.Close()
			used := `"used"`
			if c.format.Unquoted {
				used = "used"
			}
			first := rawRequest("", c.format, []string{used}, "", "", "")
			if resp, _ := exchange(t, s, strings.Replace(first, "\r\n", "\r\nConnection: close\r\n", 1)); resp.StatusCode != 200 {
				t.Fatalf("a good request = %d, want 200", resp.StatusCode)
			}
			ran = 0
			claims := store.claims.Load()

			raw := rawRequest(c.target, c.format, c.key, c.media, c.body, c.as)
			var resp *http.Response
			var answer string
			if c.notTCP {
				resp, answer = direct(t, h, c.format, c.key)
			} else {
				resp, answer = exchange(t, s, strings.Replace(raw, "\r\n", "\r\nConnection: close\r\n", 1))
			}
			wantProblem(t, resp, c.want, c.is)
			if ran != 0 || memory.Len() != 1 {
				t.Errorf("the handler ran %d times and %d keys are stored, want 0 and that of the first request", ran, memory.Len())
			}
			if c.is != ErrMismatch && store.claims.Load() != claims {
				t.Errorf("the store was asked, want it left alone")
			}
			for _, secret := range []string{secretKey, secretBody, strings.Repeat("k", 100)} {
				if strings.Contains(answer, secret) {
					t.Errorf("the answer %q repeats %q, want it to be silent about it", answer, secret)
				}
			}
		})
	}
	if strings.Count(said.String(), "refused") < len(badRequests) {
		t.Errorf("logs and events say %q, want each refusal", said.String())
	}
	for _, secret := range []string{secretKey, secretBody, "kkkkk"} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("logs and events contain %q:\n%s", secret, said.String())
		}
	}
}

// direct sends a request that net/http would not let through.
func direct(t *testing.T, h http.Handler, f Format, keys []string) (*http.Response, string) {
	r := httptest.NewRequest("POST", "/transfers", strings.NewReader(secretBody))
	r.Header[f.defaults().Header] = keys
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var raw bytes.Buffer
	_ = w.Result().Write(&raw)
	return parse(t, raw.Bytes()), raw.String()
}

// What is good may look odd.
func TestUnusualKeysAreServed(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		value  string
		key    string
	}{
		{"quoted quotes", Standard, `"a\"\\b"`, `a"\b`},
		{"space around", Standard, "  \"a\"\t", "a"},
		{"space inside", Standard, `" a "`, " a "},
		{"1024 characters", Standard, `"` + strings.Repeat("k", 1024) + `"`, strings.Repeat("k", 1024)},
		{"1024 characters, escaped", Standard, `"` + strings.Repeat(`\"`, 1024) + `"`, strings.Repeat(`"`, 1024)},
		{"unquoted", Stripe, "a", "a"},
		{"unquoted with quotes", Stripe, `"a"`, `"a"`},
		{"unquoted list", Stripe, "a, b", "a, b"},
		{"unquoted, 255 characters", Stripe, strings.Repeat("k", 255), strings.Repeat("k", 255)},
		{"PayPal, 108 characters", PayPal, strings.Repeat("k", 108), strings.Repeat("k", 108)},
	} {
		f := c.format.defaults()
		key, sent, fault := f.read(http.Header{f.Header: {c.value}})
		if key != c.key || !sent || fault != "" {
			t.Errorf("%s: read(%q) = %q, %v, %q, want %q", c.name, c.value, key, sent, fault, c.key)
		}
	}
}

// I-18
func TestABodyExactlyAtTheCapIsServed(t *testing.T) {
	var got string
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = string(b)
	}), HandlerConfig{Tenant: OneTenant, MaxBody: 5})
	s := httptest.NewServer(h)
	defer s.Close()
	for as, key := range map[string]string{"": `"a"`, "chunked": `"b"`} {
		raw := rawRequest("POST /", Standard, []string{key}, "", "12345", as)
		got = ""
		if resp, _ := exchange(t, s, raw); resp.StatusCode != 200 || got != "12345" {
			t.Errorf("%q body of 5 bytes = %d, and the handler got %q, want 200 and all of it", as, resp.StatusCode, got)
		}
	}
}

func TestOptionalKeys(t *testing.T) {
	ran := 0
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran++ }),
		HandlerConfig{Tenant: OneTenant, Optional: true})
	for _, c := range []struct {
		name  string
		lines []string
		want  int
		ran   int
	}{
		{"none", nil, 200, 2},
		{"a key", []string{`"k"`}, 200, 1},
		{"an empty one", []string{`""`}, 400, 0},
		{"a blank one", []string{""}, 400, 0},
		{"a bad one", []string{"k"}, 400, 0},
	} {
		ran = 0
		for range 2 {
			r := httptest.NewRequest("POST", "/", strings.NewReader("b"))
			if c.lines != nil {
				r.Header["Idempotency-Key"] = c.lines
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%s = %d, want %d", c.name, w.Code, c.want)
			}
		}
		if ran != c.ran {
			t.Errorf("%s sent twice ran the handler %d times, want %d", c.name, ran, c.ran)
		}
	}
}

func TestOtherMethodsArePassedOn(t *testing.T) {
	for _, c := range []struct {
		methods []string
		method  string
		ran     int
	}{
		{nil, "GET", 2}, {nil, "PUT", 2}, {nil, "DELETE", 2}, {nil, "POST", 1}, {nil, "PATCH", 1},
		{[]string{"PUT"}, "PUT", 1}, {[]string{"PUT"}, "POST", 2},
	} {
		ran := 0
		h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran++ }),
			HandlerConfig{Tenant: OneTenant, Methods: c.methods})
		for range 2 {
			r := httptest.NewRequest(c.method, "/", nil)
			r.Header.Set("Idempotency-Key", `"k"`)
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		if ran != c.ran {
			t.Errorf("Methods %v, %s sent twice ran the handler %d times, want %d", c.methods, c.method, ran, c.ran)
		}
	}
}

// A form that a handler above has parsed is gone: all such requests would look
// alike, and one be answered with the answer of another.
func TestABodyThatWasReadBeforeIsNotServed(t *testing.T) {
	for _, c := range []struct {
		name  string
		media string
		body  io.Reader
		want  int
	}{
		{"form", "application/x-www-form-urlencoded", strings.NewReader("to=bob"), 500},
		{"chunked form", "application/x-www-form-urlencoded", io.MultiReader(strings.NewReader("to=bob")), 500},
		{"multipart form", "multipart/form-data; boundary=x", strings.NewReader("--x\r\nContent-Disposition: form-data; name=to\r\n\r\nbob\r\n--x--\r\n"), 500},
		{"no form", "text/plain", strings.NewReader("to=bob"), 200},
		{"no body", "application/x-www-form-urlencoded", nil, 200},
	} {
		var told error
		ran := 0
		g := NewGuard(GuardConfig{OnEvent: func(_ context.Context, e Event) { told = e.Err }})
		h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran++ }), HandlerConfig{Tenant: OneTenant})
		r := httptest.NewRequest("POST", "/?a=b", c.body)
		r.Header.Set("Content-Type", c.media)
		r.Header.Set("Idempotency-Key", `"k"`)
		_ = r.ParseMultipartForm(1 << 20) // of a form, ParseForm
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want || (ran == 0) != (c.want == 500) || errors.Is(told, errConsumed) != (c.want == 500) {
			t.Errorf("%s = %d, ran %d, told %v, want %d", c.name, w.Code, ran, told, c.want)
		}
	}
}

func TestHandlerConfigThatCannotWorkIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  HandlerConfig
		want string // in the sentence; "" means that it is fine
	}{
		{"least", HandlerConfig{Tenant: OneTenant}, ""},
		{"no tenant", HandlerConfig{}, "OneTenant"},
		{"bad format", HandlerConfig{Tenant: OneTenant, Format: Format{Header: "a b"}}, "cannot be a header"},
		{"negative body", HandlerConfig{Tenant: OneTenant, MaxBody: -1}, "MaxBody is -1"},
		{"negative answer", HandlerConfig{Tenant: OneTenant, MaxAnswer: -1}, "MaxAnswer is -1"},
		{"no methods", HandlerConfig{Tenant: OneTenant, Methods: []string{}}, "no Methods"},
		{"no method", HandlerConfig{Tenant: OneTenant, Methods: []string{""}}, "cannot be a method"},
		{"lower case", HandlerConfig{Tenant: OneTenant, Methods: []string{"post"}}, "case counts"},
		{"bad method", HandlerConfig{Tenant: OneTenant, Methods: []string{"PO ST"}}, "cannot be a method"},
		{"no header", HandlerConfig{Tenant: OneTenant, Headers: []string{""}}, "cannot be a header"},
		{"bad header", HandlerConfig{Tenant: OneTenant, Headers: []string{"a:b"}}, "cannot be a header"},
		{"good header", HandlerConfig{Tenant: OneTenant, Headers: []string{"x-request-id"}}, ""},
	} {
		err := c.cfg.Validate()
		if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Validate() = %v, want %q", c.name, err, c.want)
		}
		if panics(func() { NewGuard(GuardConfig{}).Handler(http.NotFoundHandler(), c.cfg) }) != (c.want != "") {
			t.Errorf("%s: Handler panics differently from Validate() = %v", c.name, err)
		}
	}
	if !panics(func() { NewGuard(GuardConfig{}).Handler(nil, HandlerConfig{Tenant: OneTenant}) }) {
		t.Error("Handler(nil) did not panic")
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return
}
