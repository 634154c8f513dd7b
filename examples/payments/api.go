package main

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/backstay-go/backstay/idempotency"
)

// An api is what the server serves.
type api struct {
	ledger ledger
	die    func()
}

type payment struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Amount int64  `json:"amount"`
	For    string `json:"for"`
}

// lease is how long a process may be silent before another takes over its work.
// The usual 30 seconds are too long for a show.
const lease = 500 * time.Millisecond

// handler makes a payment once for each key.
func (a *api) handler(store idempotency.Store) http.Handler {
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store, Lease: lease})
	once := guard.Handler(http.HandlerFunc(a.pay), idempotency.HandlerConfig{
		Tenant:   account,
		Optional: true, // for the client that has no keys
	})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments", func(w http.ResponseWriter, r *http.Request) {
		once.ServeHTTP(w, r)
		a.dieAt(killAfter, r)
	})
	mux.HandleFunc("GET /ledger", a.list)
	return mux
}

// account returns whose request it is. A real API has a handler above the guard
// that finds out, and does not take the client's word for it.
func account(r *http.Request) string { return r.Header.Get("X-Account") }

func (a *api) pay(w http.ResponseWriter, r *http.Request) {
	var p payment
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil || p.Amount <= 0 || p.From != account(r) {
		http.Error(w, "not a payment from your account", http.StatusBadRequest)
		return
	}
	a.dieAt(killBefore, r)
	if err := a.ledger.add(r.Context(), p); err != nil {
		http.Error(w, "nothing was paid; try again", http.StatusServiceUnavailable)
		return
	}
	a.dieAt(killBetween, r)
	w.WriteHeader(http.StatusCreated)
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	all, err := a.ledger.from(r.Context(), account(r))
	if err != nil {
		http.Error(w, "the ledger cannot be read", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(all) // a client that has gone is nobody to tell
}

// dieAt ends the server here if that is the fate of the request.
func (a *api) dieAt(here fate, r *http.Request) {
	if r.Header.Get(fateHeader) == string(here) {
		a.die()
	}
}
