package pgstore_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/services"
)

// A request is a claim and a record. The transaction adds its BEGIN and COMMIT.
func TestGuardedRequestSendsNoMoreThanItNeeds(t *testing.T) {
	var sent trace
	s, effects := newTransactional(t, open(t, services.Postgres(t), sent.into))
	for _, row := range []struct {
		name    string
		store   idempotency.Store
		handler http.HandlerFunc
		want    string
	}{
		{"plain", s.Store, func(http.ResponseWriter, *http.Request) {}, "WITH UPDATE"},
		{"transactional", s, func(_ http.ResponseWriter, r *http.Request) { effect(t, r.Context(), effects) }, "WITH BEGIN INSERT UPDATE COMMIT"},
		{"transactional, which asks for none", s, func(http.ResponseWriter, *http.Request) {}, "WITH UPDATE"},
	} {
		guard := idempotency.NewGuard(idempotency.GuardConfig{Store: row.store})
		h := guard.Handler(row.handler, idempotency.HandlerConfig{Tenant: idempotency.OneTenant})
		for _, attempt := range []struct{ name, want string }{{"first", row.want}, {"second", "WITH"}} {
			req := httptest.NewRequest("POST", "/", strings.NewReader("x"))
			req.Header.Set("Idempotency-Key", `"`+row.name+`"`)
			answer := httptest.NewRecorder()
			sent.take()
			h.ServeHTTP(answer, req)
			if got := sent.take(); got != attempt.want || answer.Code != http.StatusOK {
				t.Errorf("%s: the %s POST = %d and sent %q, want 200 and %q", row.name, attempt.name, answer.Code, got, attempt.want)
			}
		}
	}
}
