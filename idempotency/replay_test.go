package idempotency

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// forbidden are headers that no replay may have: I-16, and RFC 9110, section
// 7.6.1, for those of a connection.
var forbidden = []string{
	"Set-Cookie", "Set-Cookie2", "Date", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding",
	"Upgrade", "Proxy-Authenticate", "Proxy-Authentication-Info", "Traceparent", "Tracestate", "Traceresponse", "Baggage", "B3",
	"X-B3-Traceid", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context", "Server-Timing",
}

// I-16
func TestHeadersOfOneAnswerAreNotRepeated(t *testing.T) {
	others := []string{"X-Request-Id", "Www-Authenticate", "Access-Control-Allow-Origin"}
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range slices.Concat(forbidden, others, kept) {
			w.Header().Set(name, "first")
		}
	}), HandlerConfig{Tenant: OneTenant, Headers: []string{"x-request-id"}})
	first, again := post(h, "k", ""), post(h, "k", "")
	for _, name := range slices.Concat(forbidden, others) {
		if first.Header().Get(name) != "first" {
			t.Errorf("the first answer has %s: %q, want first", name, first.Header()[name])
		}
	}
	want := append([]string{"X-Request-Id", "Idempotent-Replayed"}, kept...)
	if got := slices.Sorted(maps.Keys(again.Header())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("a replay has the headers %v, want %v", got, slices.Sorted(slices.Values(want)))
	}
}

// I-16
func TestHeadersThatBelongToOneAnswerCannotBeKept(t *testing.T) {
	for _, name := range append([]string{"set-cookie", "Content-Length", "Idempotent-Replayed", "Trailer:X-Sum"}, forbidden...) {
		err := HandlerConfig{Tenant: OneTenant, Headers: []string{"X-Request-Id", name}}.Validate()
		if err == nil || !strings.Contains(err.Error(), http.CanonicalHeaderKey(name)) {
			t.Errorf("Validate of Headers %s = %v, want that it cannot be kept", name, err)
		}
	}
	for _, name := range kept {
		if httpreq.OfOneAnswer(name) {
			t.Errorf("%s is kept and is never kept, want one of both", name)
		}
	}
}

// A tampering Store gives records that nobody has stored.
type tampering struct {
	Store
	record []byte
}

func (s *tampering) Claim(context.Context, Claim) (Answer, error) {
	return Answer{State: Done, Record: s.record}, nil
}

// I-16: whoever can write to the store cannot have cookies set.
func TestAReplayHasNoOtherHeadersThanThoseOfTheList(t *testing.T) {
	header := http.Header{"Location": {"/1\r\nSet-Cookie: a=b"}, "X-Evil": {"a"}, "set-cookie": {"a=b"}, "Content-Length": {"1"}, "": {"a"}, "a\r\nb": {"c"}}
	for _, name := range forbidden {
		header[name] = []string{"evil"}
	}
	store := &tampering{record: reply{Status: 201, Header: header, body: []byte("body")}.encode()}
	s := quietServer(NewGuard(GuardConfig{Store: store}).Handler(http.NotFoundHandler(), HandlerConfig{Tenant: OneTenant}))
	defer s.Close()
	resp, err := s.Client().Do(keyed(t, s, "k", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	resp.Header.Del("Date") // the server's own
	want := http.Header{"Location": {"/1  Set-Cookie: a=b"}, "Idempotent-Replayed": {"true"}, "Content-Length": {"4"}, "Content-Type": {"text/plain; charset=utf-8"}}
	if resp.StatusCode != 201 || string(body) != "body" || !reflect.DeepEqual(resp.Header, want) {
		t.Errorf("replay of a record that was tampered with = %d %v %q, want 201 %v body", resp.StatusCode, resp.Header, body, want)
	}
}

// What cannot be read was done all the same.
func TestARecordThatCannotBeReadIsNotReplayed(t *testing.T) {
	for _, record := range []string{
		"\n", "{}\n", "body", `{"status":200}`, `{"status":199}` + "\n", `{"status":1000}` + "\n", `{"status":-1}` + "\n",
		`{"status":"SecretBody"}` + "\n", `{"status":200,"header":{"Location":"SecretBody"}}` + "\n", `{"status":200}x` + "\nSecretBody",
		`{"status":2e99}` + "\nSecretBody", "\x00\n",
	} {
		var said transcript
		g := NewGuard(GuardConfig{Store: &tampering{record: []byte(record)}, OnEvent: said.event})
		w := post(g.Handler(http.NotFoundHandler(), HandlerConfig{Tenant: OneTenant}), "k", "")
		if w.Code != 409 || typeOf(t, w.Body.String()) != newError(ErrNotKept, "", 0).Type {
			t.Errorf("replay of %q = %d %q, want the problem of %v", record, w.Code, w.Body, ErrNotKept)
		}
		if strings.Contains(said.String()+w.Body.String(), secretBody) || !strings.Contains(said.String(), string(StoreFailed)) {
			t.Errorf("replay of %q told %q and %q, want that the store failed and nothing of the record", record, said.String(), w.Body)
		}
	}
}

func typeOf(t *testing.T, body string) string {
	t.Helper()
	var p struct{ Type string }
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Errorf("%q is no problem: %v", body, err)
	}
	return p.Type
}

// I-16
func TestARecordIsReadAsItWasWritten(t *testing.T) {
	for _, r := range []reply{
		{Status: 200},
		{Status: 204, Header: http.Header{}},
		{Status: 201, Header: http.Header{"Location": {"/1?a=<b>&c"}, "Link": {"a", "b"}, "Content-Type": nil}, body: []byte("a\nb\n")},
		{Status: 500, body: []byte(allBytes)},
		{Status: 999, body: []byte("\n")},
	} {
		got, err := decodeReply(r.encode())
		if err != nil || got.Status != r.Status || string(got.body) != string(r.body) || !reflect.DeepEqual(got.Header, r.Header) {
			t.Errorf("decode(encode(%+v)) = %+v, %v", r, got, err)
		}
	}
}

func FuzzDecodeReply(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\n"))
	f.Add(reply{Status: 200}.encode())
	f.Add(reply{Status: 204, Header: http.Header{"Content-Type": nil}, body: []byte("a")}.encode())
	f.Add(reply{Status: 999, Header: http.Header{"Location": {"a\r\nb", "\x00"}, "set-cookie": {"a"}}, body: []byte(allBytes)}.encode())
	f.Add([]byte(`{"status":200,"header":{"Content-Type":null,"content-type":["a"]}}` + "\n\n"))
	names := HandlerConfig{}.defaults().Headers
	s := httptest.NewUnstartedServer(nil)
	var current reply
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { current.replay(w, names) })
	s.Start()
	f.Cleanup(s.Close)
	client := &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	f.Cleanup(client.CloseIdleConnections)
	f.Fuzz(func(t *testing.T, record []byte) {
		r, err := decodeReply(record)
		if err != nil {
			return
		}
		again, err := decodeReply(r.encode())
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("decode(encode(%+v)) = %+v, %v", r, again, err)
		}
		current = r
		for _, name := range names {
			if strings.ContainsFunc(strings.Join(r.Header[name], ""), func(c rune) bool { return c < ' ' && c != '\r' && c != '\n' || c == 0x7f }) {
				return // net/http sends it as it is, the first time too
			}
		}
		resp, err := client.Get(s.URL)
		if err != nil {
			t.Fatalf("replay of %q failed: %v", record, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != r.Status || hasBody(r.Status) && string(body) != string(r.body) {
			t.Fatalf("replay of %q = %d %q, %v, want %d %q", record, resp.StatusCode, body, err, r.Status, r.body)
		}
		for name := range resp.Header {
			if !slices.Contains(names, name) && name != "Date" && name != "Content-Length" && name != replayedHeader {
				t.Fatalf("replay of %q has the header %s", record, name)
			}
		}
	})
}

// A caller that is gone when its answer is replayed may come back.
func TestAReplayCanBeRepeated(t *testing.T) {
	ran := 0
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		ran++
		fmt.Fprint(w, "done")
	}), HandlerConfig{Tenant: OneTenant})
	post(h, "k", "")
	h.ServeHTTP(gone{httptest.NewRecorder()}, keyedRequest("k", ""))
	if w := post(h, "k", ""); w.Body.String() != "done" || ran != 1 {
		t.Errorf("after a replay that broke off = %q, ran %d, want done, 1", w.Body, ran)
	}
}

// gone is a writer to a caller who has gone.
type gone struct{ http.ResponseWriter }

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
