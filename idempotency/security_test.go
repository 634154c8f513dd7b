package idempotency

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// tenantOf is a Tenant for tests.
func tenantOf(r *http.Request) string { return r.Header.Get("Tenant") }

// I-18: what one tenant was answered, no other gets, and neither sees that the
// other's key exists.
func TestAKeyOfAnotherTenantIsAnotherKey(t *testing.T) {
	memory := NewMemory(MemoryConfig{})
	ran := 0
	h := NewGuard(GuardConfig{Store: memory}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ran++
		fmt.Fprintf(w, "account of %s", tenantOf(r))
	}), HandlerConfig{Tenant: tenantOf})
	send := func(tenant, body string) *httptest.ResponseRecorder {
		r := keyedRequest("k", body)
		r.Header.Set("Tenant", tenant)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		tenant, body string
		status, ran  int
		answer       string
	}{
		{"alice", "a", 200, 1, "account of alice"},
		{"bob", "a", 200, 2, "account of bob"},
		{"bob", "a", 200, 2, "account of bob"},
		{"carol", "b", 200, 3, "account of carol"}, // not 422
		{"alice", "a", 200, 3, "account of alice"},
		{"Alice", "a", 200, 4, "account of Alice"},
		{" alice", "a", 200, 5, "account of  alice"},
		{"", "a", 403, 5, ""},
	} {
		w := send(c.tenant, c.body)
		if w.Code != c.status || ran != c.ran || c.answer != "" && w.Body.String() != c.answer {
			t.Errorf("%q sends %q = %d %q, ran %d, want %d %q, %d", c.tenant, c.body, w.Code, w.Body, ran, c.status, c.answer, c.ran)
		}
	}
	wantProblem(t, send("", "a").Result(), 403, ErrNoTenant)
	if memory.Len() != 5 {
		t.Errorf("%d keys are stored, want those of 5 tenants", memory.Len())
	}
}

// I-18: names, tenants and keys that read alike when they stand side by side.
func TestNoTwoKeysOfDifferentOwnersAreAtOnePlace(t *testing.T) {
	length := func(n int) string { return string(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	parts := []string{
		"", "a", "b", "ab", "ba", "aa", "aab", "\x00", "a\x00", "\x00a", "a\x00b", "a:b", ":", "a/b", "/", "id", "http",
		length(1), length(1) + "a", "a" + length(1), "a" + length(1) + "b", length(0), length(0) + "a", "a" + length(0),
	}
	seen := map[ID][3]string{}
	for _, guard := range parts {
		for _, tenant := range parts {
			for _, key := range parts {
				id := idOf(guard, tenant, key)
				if other, ok := seen[id]; ok {
					t.Errorf("guard, tenant and key %q are at the place of %q", [3]string{guard, tenant, key}, other)
				}
				seen[id] = [3]string{guard, tenant, key}
				if id == ID(FingerprintOf([]byte(guard), []byte(tenant), []byte(key))) {
					t.Errorf("the place of %q is a fingerprint of them", [3]string{guard, tenant, key})
				}
			}
		}
	}
}

// I-18
func TestGuardsOfDifferentNamesAreApart(t *testing.T) {
	memory := NewMemory(MemoryConfig{})
	ran := 0
	handler := func(name string) http.Handler {
		return NewGuard(GuardConfig{Store: memory, Name: name}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			ran++
			io.WriteString(w, name)
		}), HandlerConfig{Tenant: OneTenant})
	}
	for i, c := range []struct {
		name string
		ran  int
	}{{"orders", 1}, {"payments", 2}, {"", 3}, {"orders", 3}, {"payments", 3}} {
		if w := post(handler(c.name), "k", ""); w.Body.String() != c.name || ran != c.ran {
			t.Errorf("request %d, to %q = %q, ran %d, want its own answer, %d", i, c.name, w.Body, ran, c.ran)
		}
	}
}

// I-18: who sends something else with a key learns nothing of how it stands
// with the key.
func TestAMismatchIsTheSameInEachState(t *testing.T) {
	working, release := make(chan struct{}), make(chan struct{})
	h := NewGuard(GuardConfig{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch string(body) {
		case "wait":
			close(working)
			<-release
		case "panic":
			panic(http.ErrAbortHandler)
		case "long":
			io.WriteString(w, strings.Repeat("a", 2<<20))
		case "fail":
			w.WriteHeader(500)
		}
	}), HandlerConfig{Tenant: OneTenant})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		post(h, "wait", "wait")
	}()
	<-working
	var answers []string
	for _, state := range []string{"wait", "panic", "long", "fail", "done"} {
		if state != "wait" {
			recovered(func() { post(h, state, state) })
		}
		w := post(h, state, "another")
		wantProblem(t, w.Result(), 422, ErrMismatch)
		answers = append(answers, fmt.Sprint(w.Code, w.Header(), w.Body))
	}
	for i, a := range answers {
		if a != answers[0] {
			t.Errorf("answer to another body in state %d = %s, want %s as in the first", i, a, answers[0])
		}
	}
	close(release)
	<-ended
}

// The key is a secret between its caller and the server: what is stored, and
// what others may read, does not have it.
func TestTheStoreDoesNotGetTheKeyOrTheBody(t *testing.T) {
	store := &keeping{Store: NewMemory(MemoryConfig{})}
	h := NewGuard(GuardConfig{Store: store}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "SecretCookie"})
		io.WriteString(w, "done")
	}), HandlerConfig{Tenant: OneTenant})
	post(h, secretKey, secretBody)
	if !strings.Contains(store.got.String(), "done") {
		t.Errorf("the store got %q, want the answer", store.got.String())
	}
	for _, secret := range []string{secretKey, secretBody, "SecretCookie"} {
		if strings.Contains(store.got.String(), secret) {
			t.Errorf("the store got %q, want it without %q", store.got.String(), secret)
		}
	}
}

// A keeping Store writes down what it gets.
type keeping struct {
	Store
	got transcript
}

func (s *keeping) Claim(ctx context.Context, c Claim) (Answer, error) {
	fmt.Fprintf(&s.got, "%s %q\n", c.ID[:], c.Fingerprint[:])
	return s.Store.Claim(ctx, c)
}

func (s *keeping) Complete(ctx context.Context, c Claim, record []byte) error {
	fmt.Fprintf(&s.got, "%s\n", record)
	return s.Store.Complete(ctx, c, record)
}
