package idempotency

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A form of a request, for the fingerprint.
type form struct{ method, target, media, body string }

func (f form) fingerprint() Fingerprint {
	r := httptest.NewRequest("POST", "/", nil)
	r.Method, r.RequestURI = f.method, f.target
	r.URL, _ = url.ParseRequestURI(f.target)
	if f.media != "" {
		r.Header.Set("Content-Type", f.media)
	}
	return fingerprint(r, []byte(f.body))
}

// I-18
func TestRequestsThatAreTheSame(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b form
		same bool
	}{
		{"equal", form{"POST", "/a?b=1", "text/plain", "c"}, form{"POST", "/a?b=1", "text/plain", "c"}, true},
		{"order of parameters", form{"POST", "/a?b=1&c=2&d", "", ""}, form{"POST", "/a?d&c=2&b=1", "", ""}, true},
		{"order of one parameter's values", form{"POST", "/a?b=1&b=2", "", ""}, form{"POST", "/a?b=2&b=1", "", ""}, false},
		{"that order, others between", form{"POST", "/a?b=1&c&b=2", "", ""}, form{"POST", "/a?c&b=1&b=2", "", ""}, true},
		{"host", form{"POST", "http://eu/a?b", "", ""}, form{"POST", "https://us:8443/a?b", "", ""}, true},
		{"absolute form", form{"POST", "http://eu/a?b", "", ""}, form{"POST", "/a?b", "", ""}, true},
		{"case of the type", form{"POST", "/a", "text/plain", ""}, form{"POST", "/a", "Text/Plain", ""}, true},
		{"spelling of the type", form{"POST", "/a", "text/plain;charset=x", ""}, form{"POST", "/a", `Text/Plain; Charset="x"`, ""}, true},

		{"method", form{"POST", "/a", "", ""}, form{"PATCH", "/a", "", ""}, false},
		{"path", form{"POST", "/a", "", ""}, form{"POST", "/b", "", ""}, false},
		{"slash at the end", form{"POST", "/a", "", ""}, form{"POST", "/a/", "", ""}, false},
		{"encoded slash", form{"POST", "/a/b", "", ""}, form{"POST", "/a%2Fb", "", ""}, false},
		{"case of the path", form{"POST", "/a", "", ""}, form{"POST", "/A", "", ""}, false},
		{"query", form{"POST", "/a?b=1", "", ""}, form{"POST", "/a?b=2", "", ""}, false},
		{"no query", form{"POST", "/a?b=1", "", ""}, form{"POST", "/a", "", ""}, false},
		{"query in the path", form{"POST", "/a?b", "", ""}, form{"POST", "/a%3Fb", "", ""}, false},
		{"semicolon", form{"POST", "/a?b=1;c=2", "", ""}, form{"POST", "/a?c=2;b=1", "", ""}, false},
		{"a parameter twice", form{"POST", "/a?b=1", "", ""}, form{"POST", "/a?b=1&b=1", "", ""}, false},
		{"type", form{"POST", "/a", "text/plain", ""}, form{"POST", "/a", "application/json", ""}, false},
		{"no type", form{"POST", "/a", "text/plain", ""}, form{"POST", "/a", "", ""}, false},
		{"types that are none", form{"POST", "/a", "text/", ""}, form{"POST", "/a", "json/", ""}, false},
		{"types that cannot be formatted", form{"POST", "/a", "a/b; *0=x", ""}, form{"POST", "/a", "a/b; *0=y", ""}, false},
		{"parameter of the type", form{"POST", "/a", "text/plain; charset=a", ""}, form{"POST", "/a", "text/plain; charset=b", ""}, false},
		{"body", form{"POST", "/a", "", "a"}, form{"POST", "/a", "", "b"}, false},
		{"no body", form{"POST", "/a", "", "a"}, form{"POST", "/a", "", ""}, false},
		{"space after the body", form{"POST", "/a", "", "a"}, form{"POST", "/a", "", "a\n"}, false},
		{"body as the type", form{"POST", "/a", "text/plain", ""}, form{"POST", "/a", "", "text/plain"}, false},
	} {
		if same := c.a.fingerprint() == c.b.fingerprint(); same != c.same {
			t.Errorf("%s: %v and %v have the same fingerprint: %v, want %v", c.name, c.a, c.b, same, c.same)
		}
	}
}

// I-18: http.StripPrefix makes the paths of two routes one.
func TestRoutesUnderAPrefixAreApart(t *testing.T) {
	ran := map[string]int{}
	g := NewGuard(GuardConfig{})
	mux := http.NewServeMux()
	for _, route := range []string{"/gifts", "/loans"} {
		mux.Handle(route+"/", http.StripPrefix(route, g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ran[route]++
		}), HandlerConfig{Tenant: OneTenant})))
	}
	for _, c := range []struct {
		path string
		want int
	}{{"/gifts/1", 200}, {"/loans/1", 422}, {"/gifts/1", 200}} {
		r := httptest.NewRequest("POST", c.path, nil)
		r.Header.Set("Idempotency-Key", `"k"`)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("POST %s = %d, want %d", c.path, w.Code, c.want)
		}
	}
	if ran["/gifts"] != 1 || ran["/loans"] != 0 {
		t.Errorf("handlers ran %v, want the first once", ran)
	}
}

// A handler above may move the request elsewhere by other means than the path.
func TestARewrittenPathIsAnotherRequest(t *testing.T) {
	at := func(path string) Fingerprint {
		r := httptest.NewRequest("POST", "/1", nil)
		r.URL.Path = path
		return fingerprint(r, nil)
	}
	if at("/eu/1") == at("/us/1") {
		t.Error("the same target rewritten to /eu/1 and /us/1 has the same fingerprint, want others")
	}
}

// The order of parameters of different names is that of no meaning.
func FuzzFingerprint(f *testing.F) {
	f.Add("b=1&c=2", "d=3", "text/plain", []byte("body"))
	f.Add("", "a", "", []byte{})
	f.Add("a=1&a=2", "a=3", "multipart/form-data; boundary=x", []byte("--x"))
	f.Add("a&b", "%61=&&", "a/b; c*=utf-8''%e4", []byte{0})
	f.Fuzz(func(t *testing.T, query, more, media string, body []byte) {
		at := func(query, media string, body []byte) Fingerprint {
			r := httptest.NewRequest("POST", "/a", nil)
			r.URL.RawQuery = query
			r.Header.Set("Content-Type", media)
			return fingerprint(r, body)
		}
		whole := query + "&" + more
		swapped := more + "&" + query
		if disjoint(query, more) && at(whole, media, body) != at(swapped, media, body) {
			t.Errorf("queries %q and %q have other fingerprints, want the same", whole, swapped)
		}
		if at(whole, media, body) == at(whole+"&x", media, body) {
			t.Errorf("query %q with one more parameter has the same fingerprint", whole)
		}
		if at(whole, media, body) == at(whole, media, append(bytes.Clone(body), 'x')) {
			t.Errorf("body %q with one more byte has the same fingerprint", body)
		}
		if strings.TrimSpace(media) != "" && at(whole, media, body) == at(whole, "", body) {
			t.Errorf("content type %q has the fingerprint of none", media)
		}
	})
}

// disjoint reports whether no parameter of one query is in the other.
func disjoint(a, b string) bool {
	names := map[string]bool{}
	for p := range strings.SplitSeq(a, "&") {
		name, _, _ := strings.Cut(p, "=")
		names[name] = true
	}
	for p := range strings.SplitSeq(b, "&") {
		if name, _, _ := strings.Cut(p, "="); names[name] {
			return false
		}
	}
	return true
}

// No two lists of parts are written alike: what is between two parts, and the
// lengths before them, can be in the parts.
func FuzzFingerprintOf(f *testing.F) {
	f.Add([]byte("ab"), uint8(1), uint8(2))
	f.Add(append(binary.BigEndian.AppendUint64([]byte("a"), 1), 'b'), uint8(1), uint8(9))
	f.Add([]byte{}, uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, text []byte, i, j uint8) {
		a, b := int(i)%(len(text)+1), int(j)%(len(text)+1)
		first := FingerprintOf(text[:a], text[a:])
		if second := FingerprintOf(text[:b], text[b:]); (first == second) != (a == b) {
			t.Errorf("%q cut at %d and at %d has the same fingerprint: %v", text, a, b, first == second)
		}
		for name, other := range map[string]Fingerprint{
			"whole":               FingerprintOf(text),
			"with an empty part":  FingerprintOf(text[:a], text[a:], nil),
			"with one in between": FingerprintOf(text[:a], nil, text[a:]),
			"as it is written":    FingerprintOf(append(binary.BigEndian.AppendUint64(bytes.Clone(text[:a]), uint64(len(text)-a)), text[a:]...)),
		} {
			if first == other && !(name == "with one in between" && a == len(text)) {
				t.Errorf("%q cut at %d has the fingerprint of it %s", text, a, name)
			}
		}
	})
}
