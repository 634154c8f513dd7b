package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/redisstore"
)

// Several processes serve the same accounts. Each order is placed once.
func Example() {
	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
	defer client.Close()

	store := redisstore.New(client, redisstore.Config{})
	if err := store.Check(context.Background()); err != nil {
		log.Println(err)
		return
	}
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store})

	placeOrder := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ordered")
	})
	account := func(r *http.Request) string { return "alice" } // as a handler above has found out
	once := guard.Handler(placeOrder, idempotency.HandlerConfig{Tenant: account})

	log.Println(http.ListenAndServe("localhost:8080", once))
}

// A Redis that others manage may not tell its settings.
func ExampleStore_Check() {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"redis-1:6379", "redis-2:6379"}})
	defer client.Close()

	store := redisstore.New(client, redisstore.Config{Prefix: "orders:"})
	switch err := store.Check(context.Background()); {
	case errors.Is(err, redisstore.ErrUnchecked):
		log.Println("see to it that maxmemory-policy is noeviction:", err)
	case err != nil:
		log.Println(err)
		return
	}
}
