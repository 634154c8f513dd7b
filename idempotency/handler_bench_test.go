package idempotency

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/race"
)

// transfer is a small handler: it reads and writes a little JSON.
var transfer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"id":"8e03978e-40d5-43dd-bc93-6894a57f9324","amount":100}`)
})

// A null is a writer that costs as little as one can.
type null struct{ header http.Header }

func (w *null) Header() http.Header         { return w.header }
func (w *null) WriteHeader(int)             {}
func (w *null) Write(p []byte) (int, error) { return len(p), nil }

// serve sends requests to h with the keys, and a body of 100 bytes.
func serve(h http.Handler) func(key string) {
	body := strings.NewReader(strings.Repeat("x", 100))
	r := httptest.NewRequest("POST", "/transfers?to=bob", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(body), body.Size()
	w := &null{http.Header{}}
	return func(key string) {
		_, _ = body.Seek(0, io.SeekStart)
		clear(w.header)
		r.Header["Idempotency-Key"] = []string{key}
		h.ServeHTTP(w, r)
	}
}

func guarded(h http.Handler) http.Handler {
	return NewGuard(GuardConfig{}).Handler(h, HandlerConfig{Tenant: OneTenant})
}

// What a guard with a Memory costs beside the handler.
func BenchmarkHandler(b *testing.B) {
	keys := make([]string, 500_000)
	for i := range keys {
		keys[i] = `"8e03978e-40d5-43dd-bc93-` + strconv.Itoa(i) + `"`
	}
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		ask := serve(transfer)
		for b.Loop() {
			ask(keys[0])
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		var ask func(string)
		for n := 0; b.Loop(); n++ {
			if n%len(keys) == 0 {
				ask = serve(guarded(transfer))
			}
			ask(keys[n%len(keys)])
		}
	})
	b.Run("replay", func(b *testing.B) {
		b.ReportAllocs()
		ask := serve(guarded(transfer))
		ask(keys[0])
		for b.Loop() {
			ask(keys[0])
		}
	})
}

func TestHandlerAllocates(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name  string
		fresh bool
		most  float64
	}{
		{"first", true, 55},
		{"replay", false, 29},
	} {
		ask := serve(guarded(transfer))
		n := 0
		got := testing.AllocsPerRun(1000, func() {
			if c.fresh {
				n++
			}
			ask(keyNumber[n])
		})
		if got > c.most {
			t.Errorf("%s: a request allocated %v times, want at most %v", c.name, got, c.most)
		}
	}
}

// keyNumber are keys that cost nothing to make.
var keyNumber = func() (keys [1002]string) {
	for i := range keys {
		keys[i] = `"8e03978e-40d5-43dd-bc93-` + strconv.Itoa(i) + `"`
	}
	return
}()
