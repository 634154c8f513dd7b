package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
)

// The shop places the order at once, but its first two answers are lost.
func Example() {
	requests, orders := 0, map[string]bool{}
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		orders[r.Header.Get("Idempotency-Key")] = true
		if requests < 3 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer shop.Close()

	policy := backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		retry.New(retry.Config{}),
	)
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}

	resp, err := client.Post(shop.URL+"/orders", "text/plain", strings.NewReader("tea"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Printf("%s: %d requests, %d order\n", resp.Status, requests, len(orders))
	// Output:
	// 200 OK: 3 requests, 1 order
}

// The answer of the first transfer is lost on its way back. The client sends it
// again, and the account is charged once.
func ExampleGuard_Handler() {
	balance, answers := 500, 0
	transfer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		balance -= 100
		fmt.Fprintln(w, "balance", balance)
	})

	account := func(r *http.Request) string { return "alice" } // as a handler above has found out

	guard := idempotency.NewGuard(idempotency.GuardConfig{})
	once := guard.Handler(transfer, idempotency.HandlerConfig{Tenant: account})

	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		once.ServeHTTP(w, r)
		if answers++; answers == 1 {
			panic(http.ErrAbortHandler) // cuts the connection
		}
	}))
	defer bank.Close()

	policy := backstay.New(idempotency.Keys(idempotency.KeysConfig{}), retry.New(retry.Config{}))
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	resp, err := client.Post(bank.URL+"/transfers", "text/plain", strings.NewReader("100"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s(replayed: %s)\n", body, resp.Header.Get("Idempotent-Replayed"))
	// Output:
	// balance 400
	// (replayed: true)
}

// A consumer of a queue that delivers a message twice. The number of the message
// is its key.
func ExampleGuard_Do() {
	guard := idempotency.NewGuard(idempotency.GuardConfig{Name: "invoices"})
	type message struct{ id, payload string }
	for _, m := range []message{{"17", "tea"}, {"18", "milk"}, {"17", "tea"}} {
		record, replayed, err := guard.Do(context.Background(), idempotency.Request{
			Tenant:      "shop",
			Key:         m.id,
			Fingerprint: idempotency.FingerprintOf([]byte(m.payload)),
		}, func(ctx context.Context) idempotency.Result {
			return idempotency.Result{Record: []byte("invoice for " + m.payload)}
		})
		fmt.Printf("%s, again: %v, error: %v\n", record, replayed, err)
	}
	// Output:
	// invoice for tea, again: false, error: <nil>
	// invoice for milk, again: false, error: <nil>
	// invoice for tea, again: true, error: <nil>
}

// A client without retries, whose application tries again by itself.
func ExampleNewContext() {
	keys := map[string]bool{}
	place := backstay.Bind(backstay.New(idempotency.Keys(idempotency.KeysConfig{})), backstay.Op[string, int]{
		Name:    "orders.Place",
		Prepare: func(call *backstay.Call, _ string) { call.Unsafe = true },
		Do: func(_ context.Context, call *backstay.Call, _ string) (int, error) {
			keys[call.IdempotencyKey] = true
			return 0, errors.New("connection reset")
		},
	})

	ctx := idempotency.NewContext(context.Background())
	for range 5 {
		if _, err := place(ctx, "tea"); err == nil {
			break
		}
	}
	fmt.Println(len(keys), "key")
	// Output:
	// 1 key
}

// A worker that was restarted derives the key it used before.
func ExampleDerive() {
	secret := []byte("from the configuration, 16 bytes or more")
	key, err := idempotency.Derive(secret, idempotency.Intent{
		Scope:  "tenant-7",
		Method: "POST",
		Route:  "/payments",
		Body:   []byte(`{"amount":1099,"currency":"EUR"}`),
		ID:     "invoice-2041",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := idempotency.WithKey(context.Background(), key)
	_ = ctx // for the call
	fmt.Println(key)
	// Output:
	// 8c0a065f-0e97-8910-a196-ff10f0b1d6aa
}

// A handler calls two services on behalf of a request that has a key.
func ExampleChild() {
	r := httptest.NewRequest("POST", "/orders", nil)
	r.Header.Set("Idempotency-Key", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`)

	parent, err := idempotency.Unquote(r.Header.Get("Idempotency-Key"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(idempotency.Child(parent, "charge"))
	fmt.Println(idempotency.Child(parent, "mail"))
	// Output:
	// fb2d53f9-d5db-8b9f-8b85-5087739a41fb
	// 16409cf9-b4a0-8330-b34e-88490d364b49
}
