package idempotency

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Whatever is sent, the work of a key is done once for each tenant, and what is
// refused is refused with a problem that does not repeat the key.
func FuzzHandler(f *testing.F) {
	f.Add(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "POST", "/transfers?to=bob", "text/plain", []byte("100"), uint8(0))
	f.Add("8e03978e", "PATCH", "/a%2Fb", "", []byte{}, uint8(0x81))
	f.Add(`"k";b=1`, "POST", "/", "application/json", []byte("{}"), uint8(2))
	f.Add(`"a", "b"`, "PUT", "/?a&b=%zz;", "a/b; c", []byte("012345678901234567890123456789012"), uint8(0x43))
	f.Add("\"k\x00\"", "POST", "/", "\xff", []byte{0, 255}, uint8(0x80))
	f.Add("k\x00", "POST", "/", "\xff", []byte{0, 255}, uint8(0xc0))
	f.Add(`"k"`, "POST", "/", "", []byte("012345678901234567890123456789012"), uint8(4))
	f.Add("", "POST", "//", "", []byte("\n"), uint8(0x24))
	f.Fuzz(func(t *testing.T, value, method, target, media string, body []byte, choice uint8) {
		u, err := url.ParseRequestURI(target)
		if err != nil || method == "" || !isToken(method) {
			return // net/http does not let it through
		}
		if choice&0x80 != 0 {
			middle := len(value) / 2
			value = value[:middle] + secretKey + value[middle:]
		}
		status := []int{200, 204, 404, 500, 503}[int(choice&0x0f)%5]
		cfg := HandlerConfig{Tenant: tenantOf, MaxBody: 32, Optional: choice&0x20 != 0}
		if choice&0x40 != 0 {
			cfg.Format = PayPal
		}
		ran := map[string]int{}
		memory := NewMemory(MemoryConfig{})
		var said transcript
		h := NewGuard(GuardConfig{Store: memory, OnEvent: said.event}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ran[tenantOf(r)]++
			if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, body) {
				t.Errorf("the handler got the body %q, %v, want %q", got, err, body)
			}
			w.WriteHeader(status)
		}), cfg)
		send := func(tenant string, body []byte) *http.Response {
			r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
			r.Method, r.URL, r.RequestURI = method, u, target
			r.Header = http.Header{"Tenant": {tenant}, "Content-Type": {media}, cfg.Format.defaults().Header: {value}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		guarded := method == "POST" || method == "PATCH"
		for range 2 {
			for _, tenant := range []string{"a", "b", ""} {
				resp := send(tenant, body)
				switch {
				case guarded && resp.StatusCode == 400:
					wantProblem(t, resp, 400, ErrMissing)
				case guarded && tenant == "":
					wantProblem(t, resp, 403, ErrNoTenant)
				case guarded && len(body) > 32:
					wantProblem(t, resp, 413, ErrTooLarge)
				case resp.StatusCode != status:
					t.Errorf("%s of tenant %q = %d, want %d", method, tenant, resp.StatusCode, status)
				}
				if strings.Contains(bodyOf(resp), secretKey) {
					t.Errorf("the answer %q repeats the key", bodyOf(resp))
				}
			}
		}
		if !guarded {
			return
		}
		kept := ran["a"] > 0 && !Released(status)
		if ran["a"] != ran["b"] || ran[""] > 0 || kept && ran["a"] != 1 {
			t.Errorf("key %q ran %v, want once for each tenant, and not at all for %q", value, ran, "")
		}
		if n := memory.Len(); kept && n != 2 || !kept && n != 0 {
			t.Errorf("%d keys are stored of %v, want those whose work counts", n, ran)
		}
		if kept && len(body) < 32 {
			wantProblem(t, send("a", append([]byte("!"), body...)), 422, ErrMismatch)
		}
		if strings.Contains(said.String(), secretKey) {
			t.Errorf("events tell the key: %s", said.String())
		}
	})
}
